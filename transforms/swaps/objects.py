"""Object swaps: a noun, or a noun with its adjectives, for another of its class."""

from __future__ import annotations

import numpy as np

from schemas.rejects import Reason
from transforms.english.words import FRAMES, PLACES
from transforms.scene_graph.nodes import ObjectNode
from transforms.swaps.contrasts import attribute_class
from transforms.swaps.draft import Draft
from transforms.swaps.edits import Edit
from transforms.swaps.index import HYPERNYM, OK, SYNONYM, Index

_VERDICTS = {SYNONYM: Reason.SYNONYM, HYPERNYM: Reason.HYPERNYM}
_LEAST_SHARE = {"a": 0.25, "bare": 0.3, "other": 0.02}
_COLUMN = {"a": 0, "bare": 1, "other": 2}


def fits(index: Index, places: np.ndarray, thing: ObjectNode, determiner: str) -> np.ndarray:
    """Which objects can be written in the place of one: in the same number, with the same determiner; bool [n]."""
    if thing.number == "plural":
        return (index.plural_count[places] >= 2) & (index.plural_count[places] >= 0.05 * index.singular_count[places])
    column = index.determiners[places, _COLUMN[determiner]]
    return (index.singular_count[places] >= 2) & (column >= _LEAST_SHARE[determiner])


def slot_scores(draft: Draft, node: int, places: np.ndarray) -> np.ndarray:
    """How well objects go with the relations and attributes of a node, float32 [n]: log counts of having been seen so."""
    index, graph = draft.index, draft.graph
    total = np.zeros(len(places), dtype=np.float32)
    for relation in graph.relations:
        row = (
            index.object_of.logs(relation.lemma)
            if relation.object == node
            else (index.subject_of.logs(relation.lemma) if relation.subject == node else None)
        )
        if row is not None:
            # Anything is "on" something: a bare preposition says little.
            total += row[places] * (0.4 if relation.tag == "IN" else 1.0)
    for attribute in graph.attributes:
        if attribute.object == node and attribute.place in ("before", "predicate"):
            row = index.has.logs(attribute.lemma)
            if row is not None:
                total += row[places]
    return total


def refused(draft: Draft, place: int, thing: ObjectNode) -> bool:
    """Whether a guard refuses an object; records the reason."""
    context, index = draft.context, draft.index
    name = index.names[place]
    if place in context.blocked or name in context.words or index.form(place, "plural") in context.words:
        draft.refuse(Reason.IN_SIBLING, f"{thing.lemma} > {name}")
        return True
    if " " in name and name.rsplit(" ", 1)[1] in context.words:
        draft.refuse(Reason.IN_SIBLING, f"{thing.lemma} > {name}")
        return True
    if place in context.labelled:
        draft.refuse(Reason.IN_LABELS, f"{thing.lemma} > {name}")
        return True
    if context.presence[place] > draft.settings.presence:
        draft.refuse(Reason.LIKELY_TRUE, f"{thing.lemma} > {name}")
        return True
    return False


def draw(draft: Draft, node: int) -> list[tuple[int, float]]:
    """Objects for a node in the order of the draw, hardest likeliest, those that cannot be written there left out."""
    thing = draft.graph.objects[node]
    found = draft.index.candidates(thing.lemma)
    if not len(found.places):
        return []
    slots = slot_scores(draft, node, found.places)
    scores = found.closeness + 0.6 * slots
    writable = fits(draft.index, found.places, thing, draft.determiner(thing)) & (found.near | (found.kin & (slots > 1.0)))
    keys = np.where(writable, scores + draft.gumbel(len(scores)), -np.inf)
    order = np.argsort(-keys, kind="stable")[: int(writable.sum())]
    drawn = []
    verdicts, names = found.verdicts, draft.index.names
    for at, place, score in zip(order.tolist(), found.places[order].tolist(), scores[order].tolist(), strict=True):
        verdict = verdicts[at]
        if verdict != OK:
            draft.refuse(_VERDICTS.get(verdict, Reason.HYPONYM), f"{thing.lemma} > {names[place]}")
        else:
            drawn.append((place, score))
    return drawn


def object_edits(draft: Draft, thing: ObjectNode, place: int) -> tuple[Edit, ...]:
    """The edits that put an object in the place of another, article included."""
    form = draft.index.form(place, thing.number)
    return (*draft.article_edit(thing.start, form), draft.words(thing.start, thing.end, form))


def swap_objects(draft: Draft) -> None:
    """Object swaps of every node in turn: words first, one phrase for each three words."""
    queues = [(node, iter(draw(draft, node))) for node in range(len(draft.graph.objects)) if _replaceable(draft, node)]
    turn = 0
    while queues and draft.wants("object"):
        for entry in list(queues):
            if not draft.wants("object"):
                break
            node, queue = entry
            thing = draft.graph.objects[node]
            found = next(((place, score) for place, score in queue if not refused(draft, place, thing)), None)
            if found is None:
                queues.remove(entry)
                continue
            place, score = found
            if turn % 4 == 3 and _phrase(draft, node, place, score):
                continue
            name = draft.index.names[place]
            draft.add(
                "object",
                "word",
                object_edits(draft, thing, place),
                f"{thing.lemma} > {name}",
                score,
                float(draft.context.presence[place]),
                _why(draft),
            )
        turn += 1


def _why(draft: Draft) -> str:
    return "absent_from_labels" if draft.context.labels is not None else "absent_from_captions"


def _replaceable(draft: Draft, node: int) -> bool:
    thing = draft.graph.objects[node]
    if (
        thing.phrase_start > thing.start
        or thing.head in FRAMES
        or thing.head in PLACES
        or thing.text.lower() in ("one", "other", "others")
    ):
        return False
    if thing.number == "singular" and thing.count > 1:
        return False  # "three zebra": another noun would need its plural
    if any(
        a.object == node and a.place == "before" and a.tag == "NN" and not attribute_class(a.lemma)
        for a in draft.graph.attributes
    ):
        return False  # "baseball player" read as two words
    if draft.caption[thing.end:thing.end + 4].lower() == " of ":
        return False  # "a bowl of soup": little else is of soup
    # Measures stand before what they measure ("slices of pizza"): another object would not be sliced.
    return not any(
        attribute.object == node and attribute.place == "measure" and attribute.lemma != "group of"
        for attribute in draft.graph.attributes
    )


def _phrase(draft: Draft, node: int, place: int, score: float) -> bool:
    """ "A small brown dog" for "a large white cat": one adjective before the noun is replaced with it."""
    thing = draft.graph.objects[node]
    before = [
        a for a in draft.graph.attributes if a.object == node and a.place == "before" and a.tag == "JJ" and a.end <= thing.start
    ]
    if len(before) != 1 or draft.caption[before[0].end : thing.start] != " ":
        return False
    own = before[0]
    if draft.caption[: own.start].rstrip(" ").endswith(("ly", "very", "and", ",")):
        return False
    name = draft.index.names[place]
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
    words = f"{word} {draft.index.form(place, thing.number)}"
    edits = (*draft.article_edit(own.start, words), draft.words(own.start, thing.end, words))
    return draft.add(
        "object",
        "phrase",
        edits,
        f"{own.lemma} {thing.lemma} > {word} {name}",
        score,
        float(draft.context.presence[place]),
        _why(draft),
    )
