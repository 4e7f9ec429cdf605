"""Converts sng-parser's output to our scene graph, recovering spans from the document that it parsed."""

from __future__ import annotations

from typing import Any

from spacy.tokens import Doc, Token

from transforms.english.words import NUMBERS, PLURAL_TAGS
from transforms.scene_graph.nodes import AttributeNode, CountNode, Graph, ObjectNode, RelationNode


def to_graph(doc: Doc, parsed: dict[str, Any]) -> Graph:
    """Entities become objects, modifiers attributes (including determiners, as published) or counts; relations keep their words.

    sng-parser returns words without positions; they are searched for in and around the entity's phrase.
    """
    graph = Graph()
    for entity in parsed["entities"]:
        start, end = entity["span_bounds"]
        root = doc[start:end].root
        first = root
        for kid in root.lefts:
            if kid.dep_ == "compound" and kid.text in entity["head"].split(" "):
                first = min(first, kid, key=lambda token: token.i)
        node = len(graph.objects)
        stop = root.idx + len(root)
        count = 0
        for modifier in entity["modifiers"]:
            word = _find(doc, modifier["span"], range(start, len(doc)))
            if word is None:
                continue
            span = word.idx, word.idx + len(word)
            if modifier["dep"] == "nummod":
                count = NUMBERS.get(word.lower_, 0)
                graph.counts.append(CountNode(node, word.text, word.lower_, *span, count))
            else:
                graph.attributes.append(AttributeNode(node, word.text, modifier["lemma_span"].lower(), *span, "", word.tag_, "before"))
        number = "plural" if root.tag_ in PLURAL_TAGS else "singular"
        graph.objects.append(
            ObjectNode(
                doc.text[first.idx : stop],
                entity["lemma_head"].lower(),
                first.idx,
                stop,
                number,
                root.lemma_.lower(),
                count,
                doc[start].idx,
                stop,
            )
        )
    for relation in parsed["relations"]:
        words = relation["relation"].split(" ")
        near = parsed["entities"][relation["object"]]["span_bounds"][0]
        last = _find(doc, words[-1], range(near - 1, -1, -1)) or _find(doc, words[-1], range(len(doc)))
        if last is None:
            continue
        first = doc[max(0, last.i - len(words) + 1)]
        start, stop = first.idx, last.idx + len(last)
        graph.relations.append(
            RelationNode(
                relation["subject"],
                relation["object"],
                doc.text[start:stop],
                relation["lemma_relation"].lower(),
                start,
                stop,
                "",
                first.lemma_.lower(),
                first.tag_,
                "active",
            )
        )
    return graph


def _find(doc: Doc, text: str, candidates: range) -> Token | None:
    return next((doc[index] for index in candidates if doc[index].text == text), None)
