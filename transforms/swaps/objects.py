"""Object swaps: a noun, or a noun with its adjectives, replaced by another of its class."""

from __future__ import annotations

import re
from functools import partial

import numpy as np

from schemas.rejects import Reason
from transforms.english.words import FRAMES, PLACES
from transforms.scene_graph.nodes import ObjectNode
from transforms.swaps.contrasts import attribute_class
from transforms.swaps.draft import Draft
from transforms.swaps.edits import Edit
from transforms.swaps.evidence import of_object
from transforms.swaps.index import HYPERNYM, OK, SYNONYM, Index

_VERDICTS = {SYNONYM: Reason.SYNONYM, HYPERNYM: Reason.HYPERNYM}
_LEAST_SHARE = {"a": 0.25, "bare": 0.3, "other": 0.02}
_SEVERAL = re.compile(r"\b(?:few|couple|dozen|pair|number|lot)\b", re.IGNORECASE)  # "a few dogs"
_COLUMN = {"a": 0, "bare": 1, "other": 2}


def fits(index: Index, positions: np.ndarray, thing: ObjectNode, determiner: str) -> np.ndarray:
    """Which objects can replace `thing` with the same number and determiner; bool [n]."""
    if thing.number == "plural":
        return (index.plural_count[positions] >= 2) & (index.plural_count[positions] >= 0.05 * index.singular_count[positions])
    column = index.determiners[positions, _COLUMN[determiner]]
    return (index.singular_count[positions] >= 2) & (column >= _LEAST_SHARE[determiner])


def slot_scores(draft: Draft, node: int, positions: np.ndarray) -> np.ndarray:
    """How well objects fit the relations and attributes of a node, float32 [n]: sums of log co-occurrence counts."""
    index, graph = draft.index, draft.graph
    total = np.zeros(len(positions), dtype=np.float32)
    for relation in graph.relations:
        row = (
            index.object_of.logs(relation.lemma)
            if relation.object == node
            else (index.subject_of.logs(relation.lemma) if relation.subject == node else None)
        )
        if row is not None:
            # Anything is "on" something: a bare preposition carries little information.
            total += row[positions] * (0.4 if relation.tag == "IN" else 1.0)
    for attribute in graph.attributes:
        if attribute.object == node and attribute.place in ("before", "predicate"):
            row = index.has.logs(attribute.lemma)
            if row is not None:
                total += row[positions]
    return total


def refused(draft: Draft, position: int, thing: ObjectNode) -> bool:
    """Whether a guard refuses the object at `position`; records the reason."""
    context, index = draft.context, draft.index
    name = index.names[position]
    if position in context.blocked or name in context.words or index.form(position, "plural") in context.words:
        draft.refuse(Reason.IN_SIBLING, f"{thing.lemma} > {name}")
        return True
    if " " in name and name.rsplit(" ", 1)[1] in context.words:
        draft.refuse(Reason.IN_SIBLING, f"{thing.lemma} > {name}")
        return True
    if position in context.labelled:
        draft.refuse(Reason.IN_LABELS, f"{thing.lemma} > {name}")
        return True
    if context.presence[position] > draft.settings.presence:
        draft.refuse(Reason.LIKELY_TRUE, f"{thing.lemma} > {name}")
        return True
    return False


def draw(draft: Draft, node: int) -> list[tuple[int, float]]:
    """Replacements for a node in sampled order, hardest likeliest, leaving out those that do not fit grammatically."""
    thing = draft.graph.objects[node]
    found = draft.index.candidates(thing.lemma)
    if not len(found.positions):
        return []
    slots = slot_scores(draft, node, found.positions)
    scores = found.closeness + 0.6 * slots
    writable = fits(draft.index, found.positions, thing, draft.determiner(thing)) & (found.near | (found.related & (slots > 1.0)))
    keys = np.where(writable, scores + draft.gumbel(len(scores)), -np.inf)
    order = np.argsort(-keys, kind="stable")[: int(writable.sum())]
    drawn = []
    verdicts, names = found.verdicts, draft.index.names
    for at, position, score in zip(order.tolist(), found.positions[order].tolist(), scores[order].tolist(), strict=True):
        verdict = verdicts[at]
        if verdict != OK:
            draft.refuse(_VERDICTS.get(verdict, Reason.HYPONYM), f"{thing.lemma} > {names[position]}")
        else:
            drawn.append((position, score))
    return drawn


def object_edits(draft: Draft, thing: ObjectNode, position: int) -> tuple[Edit, ...]:
    """The edits that replace `thing` with the object at `position`, article included."""
    form = draft.index.form(position, thing.number)
    return (*draft.article_edit(thing.start, form), draft.words(thing.start, thing.end, form))


def swap_objects(draft: Draft) -> None:
    """Object swaps, round-robin over the nodes: words first, then one phrase per three words."""
    queues = [(node, iter(draw(draft, node))) for node in range(len(draft.graph.objects)) if _replaceable(draft, node)]
    turn = 0
    while queues and draft.wants("object"):
        for entry in list(queues):
            if not draft.wants("object"):
                break
            node, queue = entry
            thing = draft.graph.objects[node]
            found = next(((position, score) for position, score in queue if not refused(draft, position, thing)), None)
            if found is None:
                queues.remove(entry)
                continue
            position, score = found
            if turn % 4 == 3 and _phrase(draft, node, position, score):
                continue
            name = draft.index.names[position]
            draft.add(
                "object",
                "word",
                object_edits(draft, thing, position),
                f"{thing.lemma} > {name}",
                score,
                float(draft.context.presence[position]),
                _why(draft),
                partial(of_object, draft, thing, position, score, 0),
            )
        turn += 1


def _why(draft: Draft) -> str:
    return "absent_from_labels" if draft.context.labels is not None else "absent_from_captions"


def _replaceable(draft: Draft, node: int) -> bool:
    thing = draft.graph.objects[node]
    if thing.phrase_start > thing.start or thing.head in FRAMES or thing.head in PLACES or thing.text.lower() in ("one", "other", "others"):
        return False
    if thing.number == "plural" and likely_a_verb(draft, node):
        return False
    if thing.number == "singular" and thing.count > 1:
        return False  # "three zebra": another noun would require the plural
    if any(a.object == node and a.place == "before" and a.tag == "NN" and not attribute_class(a.lemma) for a in draft.graph.attributes):
        return False  # "baseball player" parsed as two words
    if draft.caption[thing.end : thing.end + 4].lower() == " of ":
        return False  # "a bowl of soup": few other nouns fit before "of soup"
    # A measured object ("slices of pizza") is not replaced: the measure would rarely fit another.
    return not any(
        attribute.object == node and attribute.place == "measure" and attribute.lemma != "group of" for attribute in draft.graph.attributes
    )


def likely_a_verb(draft: Draft, node: int) -> bool:
    """Whether a plural is likely a verb that the parser took for a noun: "a bus pulls", "a man in shorts skateboards", "a hat talks"."""
    thing = draft.graph.objects[node]
    if draft.determiner(thing) == "a" and not _SEVERAL.search(draft.caption[thing.phrase_start : thing.start]):
        return True
    if any(one.object == node and one.place == "before" and one.number == "plural" for one in draft.graph.attributes):
        return True
    return any(one.end == thing.phrase_start - 1 and draft.caption[one.end] == " " for one in draft.graph.objects)


def _phrase(draft: Draft, node: int, position: int, score: float) -> bool:
    """ "A small brown dog" for "a large brown cat": the noun and the one adjective before it are replaced together."""
    thing = draft.graph.objects[node]
    before = [a for a in draft.graph.attributes if a.object == node and a.place == "before" and a.tag == "JJ" and a.end <= thing.start]
    if len(before) != 1 or draft.caption[before[0].end : thing.start] != " ":
        return False
    own = before[0]
    if draft.caption[: own.start].rstrip(" ").endswith(("ly", "very", "and", ",")):
        return False
    name = draft.index.names[position]
    choices = [
        word
        for word, count in draft.index.attributes_of.get(name, ())
        if count >= 2
        and word != own.lemma
        and attribute_class(word) in ("colour", "material", "pattern")
        and word not in draft.context.words
    ]
    if not choices:
        return False
    word = choices[int(draft.rng.random() * min(5, len(choices)))]
    words = f"{word} {draft.index.form(position, thing.number)}"
    edits = (*draft.article_edit(own.start, words), draft.words(own.start, thing.end, words))
    return draft.add(
        "object",
        "phrase",
        edits,
        f"{own.lemma} {thing.lemma} > {word} {name}",
        score,
        float(draft.context.presence[position]),
        _why(draft),
        partial(of_object, draft, thing, position, score, 1),
    )
