"""Attribute swaps: a colour for another colour, small for large, sleeping for walking."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from schemas.rejects import Reason
from transforms.english.words import FRAMES
from transforms.scene_graph.nodes import AttributeNode, ObjectNode
from transforms.swaps.contrasts import alike, attribute_class, contrasting_attributes, gradable
from transforms.swaps.draft import Draft
from transforms.swaps.evidence import of_attribute, shown_against, votes_against
from transforms.swaps.index import Index

_TAGS = frozenset({"JJ", "NN", "VBG", "VBN"})

_USUAL = 0.04  # share of an object's mentions with an attribute above which it may well have it in addition to the one named
_PLAIN_COLOURS = frozenset("red blue green yellow orange purple pink brown black white gray".split())
_DISPUTED = 0.09  # share of images whose captions disagree about an object's attribute of this class, above which it is doubtful
_VOTES = 2  # captions that contradict an attribute beyond doubt
_HAVING = frozenset({"wear", "have", "with", "in", "hold", "carry"})
_BOTH = 0.12  # co-mentions, as a share of the rarer attribute's mentions, above which two attributes are not exclusive


def scored(index: Index, attribute: str, lemma: str) -> tuple[list[str], np.ndarray]:
    """Attributes that contradict `attribute` and suit the object, with scores float32 [n]."""
    return index.remembered("contrasts", (attribute, lemma), lambda: _scored(index, attribute, lemma))


def _scored(index: Index, attribute: str, lemma: str) -> tuple[list[str], np.ndarray]:
    position = index.position.get(lemma, -1)
    words, scores = [], []
    for word in contrasting_attributes(attribute, tuple(word for word, _ in index.attributes_of.get(lemma, ()))):
        seen, common = index.has.get(word, {}).get(position, 0), index.attribute_count.get(word, 0)
        # An adjective that the corpus never uses for this object reads oddly, unless it is a plain colour.
        if (seen or (common and word in _PLAIN_COLOURS)) and not alike(word, attribute):
            words.append(word)
            scores.append(math.log1p(seen) + 0.3 * math.log1p(common))
    return words, np.array(scores, dtype=np.float32)


def choices(draft: Draft, attribute: AttributeNode) -> list[tuple[str, float]]:
    """Attributes that contradict `attribute` and suit its object, with scores, in sampled order."""
    words, scores = scored(draft.index, attribute.lemma, draft.graph.objects[attribute.object].lemma)
    if not words:
        return []
    order = np.argsort(-(scores + draft.gumbel(len(words))), kind="stable")
    return [(words[at], score) for at, score in zip(order.tolist(), scores[order].tolist(), strict=True)]


def swap_attributes(draft: Draft) -> None:
    """Attribute swaps, round-robin over the attribute nodes."""
    queues = []
    for attribute in draft.graph.attributes:
        if attribute.tag not in _TAGS or attribute.place == "measure":
            continue
        found = choices(draft, attribute)
        if not found:
            continue
        thing = draft.graph.objects[attribute.object]
        if never_swapped(draft, attribute):
            continue
        if draft.context.unclear(draft.index, thing) or any(
            draft.context.unclear(draft.index, one) for one in owners(draft, attribute.object)
        ):
            draft.refuse(Reason.AMBIGUOUS, f"{attribute.lemma} {thing.lemma}")
            continue
        queues.append((attribute, iter(found)))
    while queues and draft.wants("attribute"):
        for entry in list(queues):
            attribute, queue = entry
            found_one = next(((word, score) for word, score in queue if not refused(draft, attribute, word)), None)
            if found_one is None:
                queues.remove(entry)
            elif draft.wants("attribute"):
                word, score = found_one
                edits = (*draft.article_edit(attribute.start, word), draft.words(attribute.start, attribute.end, word))
                thing = draft.graph.objects[attribute.object]
                draft.add(
                    "attribute",
                    "word",
                    edits,
                    f"{attribute.lemma} {thing.lemma} > {word}",
                    score,
                    0.0,
                    "contradicts_original",
                    partial(of_attribute, draft, attribute, word),
                )


def owners(draft: Draft, node: int) -> list[ObjectNode]:
    """The objects that a node is worn, held or had by, or part of: where there are more of these, there may be more of it."""
    graph = draft.graph
    had = [r.subject for r in graph.relations if r.object == node and r.head in _HAVING]
    return [graph.objects[one] for one in (*had, *(r.object for r in graph.relations if r.subject == node and r.lemma == "of"))]


def never_swapped(draft: Draft, attribute: AttributeNode) -> bool:
    """Whether it is a colour of a picture ("a black and white photo") or of people, whose skin's is never swapped."""
    thing = draft.graph.objects[attribute.object]
    return attribute_class(attribute.lemma) == "colour" and (thing.head in FRAMES or _human(draft.index, thing.lemma))


def _human(index: Index, lemma: str) -> bool:
    """Whether the word denotes people."""
    return index.broad(lemma) == "noun.person" or lemma.rsplit(" ", 1)[-1] in ("people", "crowd", "group", "family", "couple")


def refused(draft: Draft, attribute: AttributeNode, word: str) -> bool:
    """Whether the new attribute may be true of the object, or is in a caption at all; records the reason."""
    if word in draft.context.words:
        draft.refuse(Reason.IN_SIBLING, f"{attribute.lemma} {draft.graph.objects[attribute.object].lemma} > {word}")
        return True
    return may_be_true(draft, attribute, word)


def may_be_true(draft: Draft, attribute: AttributeNode, word: str) -> bool:
    """Whether the new attribute may be true of the object, by captions, regions or the vocabulary; records the reason."""
    thing = draft.graph.objects[attribute.object]
    if any(alike(word, other) for other in draft.context.attributes.get(thing.head, ())):
        draft.refuse(Reason.IN_SIBLING, f"{attribute.lemma} {thing.lemma} > {word}")
        return True
    if any(alike(word, other) for other in draft.context.shown(draft.index, thing.lemma)):
        draft.refuse(Reason.IN_LABELS, f"{attribute.lemma} {thing.lemma} > {word}")
        return True
    if votes_against(draft, thing, word) < _VOTES and (
        _mixed(draft, attribute) or (_doubtful(draft, attribute) and not shown_against(draft, thing, word))
    ):
        draft.refuse(Reason.LIKELY_TRUE, f"{attribute.lemma} {thing.lemma} > {word}")
        return True
    both = draft.index.both_have.get((attribute.lemma, word), 0)
    count = min(draft.index.attribute_count.get(attribute.lemma, 0), draft.index.attribute_count.get(word, 0))
    if both >= 3 and both > _BOTH * count:
        draft.refuse(Reason.LIKELY_TRUE, f"{attribute.lemma} {thing.lemma} > {word}")
        return True
    position = draft.index.position.get(thing.lemma, -1)
    if draft.index.has.get(word, {}).get(position, 0) > _USUAL * draft.index.mentions(position):
        draft.refuse(Reason.LIKELY_TRUE, f"{attribute.lemma} {thing.lemma} > {word}")  # most buses have some white
        return True
    return False


def _doubtful(draft: Draft, attribute: AttributeNode) -> bool:
    """Whether people see this attribute, or such objects' attributes of its class, differently."""
    thing = draft.graph.objects[attribute.object]
    return gradable(attribute.lemma) or draft.index.disputed(thing.lemma, attribute_class(attribute.lemma)) > _DISPUTED


def _mixed(draft: Draft, attribute: AttributeNode) -> bool:
    """Whether the object has several attributes of this class (a black and white bird): one region's attribute rules out no more."""
    kind = attribute_class(attribute.lemma)
    return any(
        other.object == attribute.object and other.start != attribute.start and attribute_class(other.lemma) == kind
        for other in draft.graph.attributes
    )
