"""True texts beside swaps: denials, and the counts and positions that other captions, or labels, give.

Selection alone balances words that captions have as well. What only swaps put in has to stand in true texts just as often: "two dogs on a
couch" beside "three dogs on a couch", where the caption says "dogs" and another says "two dogs".
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from schemas.rejects import Reason
from transforms.english.words import FRAMES, NUMBERS, PLACES
from transforms.scene_graph.nodes import Graph, ObjectNode, RelationNode
from transforms.swaps.context import ImageContext
from transforms.swaps.contrasts import PREPOSITIONS
from transforms.swaps.draft import Draft, Negative
from transforms.swaps.edits import Edit, apply_edits
from transforms.swaps.evidence import of_count, of_known, of_relation
from transforms.swaps.index import Index
from transforms.swaps.settings import SwapSettings
from transforms.swaps.vague import VAGUE
from transforms.truth.swaps import SwapJudge

_WORDS = {value: word for word, value in NUMBERS.items()}
_MOST = 6  # a count that captions do not merely estimate
# Words before an object whose number is another's, or none.
_NO_NUMBER = frozenset({"of", "no", "or", "like", "than", "couple", "pair", "few"})
_NEAR = frozenset({"near", "next to", "beside", "by", "close to", "alongside"})
_PLACED = frozenset({"on", "on top of", "under", "below", "beneath", "above", "behind", "in front of", "inside", "left of", "right of"})


class Counterpart(NamedTuple):
    """A true text of the caption's image, and the swap whose form it has. truth: the judge's probability that it is, in millionths."""

    negative: Negative
    text: str
    edits: tuple[Edit, ...]
    origin: str
    truth: int | None = None


def counterparts(
    caption: str,
    graph: Graph,
    index: Index,
    context: ImageContext,
    settings: SwapSettings,
    rng: np.random.Generator,
    judge: SwapJudge | None,
) -> list[Counterpart]:
    """Swaps of true counts and positions that the caption does not state, at most `settings.per_kind` of each, with the true texts."""

    def ignore(reason: Reason, detail: str) -> None:
        """The swaps of the caption itself have reported what is refused."""

    draft = Draft(caption, graph, index, context, settings, rng, ignore, judge)
    if draft.denied_from < len(caption):
        return []
    found: list[Counterpart] = []
    for thing in graph.objects:
        value = _known_count(draft, thing)
        if value:
            found += _counted(draft, thing, value)
    for relation in graph.relations:
        place = _known_place(draft, relation)
        if place:
            found += _placed(draft, relation, place)
    return found


def _known_count(draft: Draft, thing: ObjectNode) -> int:
    """The one number of these that other captions, or labels, give; 0: the caption gives one, or it is not known."""
    context, graph = draft.context, draft.graph
    if thing.number != "plural" or thing.count or thing.head in PLACES or thing.head in VAGUE:
        return 0
    node = graph.objects.index(thing)
    if sum(other.head == thing.head for other in graph.objects) > 1 or any(
        a.object == node and a.place == "measure" for a in graph.attributes
    ):
        return 0
    before = draft.caption[: thing.phrase_start].rstrip(" ").rsplit(" ", 1)[-1].lower()
    inside = draft.caption[thing.phrase_start : thing.start].lower().replace(",", " , ").split()
    if draft.determiner(thing) != "bare" or before in _NO_NUMBER or {",", "and", "or"} & set(inside):
        return 0  # in a list, the number would stand before another thing: "a TV, chandelier and glass sinks"
    if any(other.end == len(draft.caption[: thing.phrase_start].rstrip()) for other in graph.objects):
        return 0  # "a couple of people guys walking"
    stated, mentioned = context.counted.get(thing.head, set()), context.counts.get(thing.head, set())
    if not mentioned <= stated:
        return 0  # another caption denies the number, or does not give it exactly
    held = context.instances(draft.index, thing.lemma)
    if len(stated) > 1 or (stated and held > 0 and held not in stated):
        return 0
    value = next(iter(stated), max(held, 0))
    return value if 2 <= value <= _MOST else 0


def _chance(draft: Draft, kind: int) -> int | None:
    return None if draft.judge is None else draft.judge.millionths("known", of_known(draft, kind))


def _counted(draft: Draft, thing: ObjectNode, value: int) -> list[Counterpart]:
    start = thing.phrase_start
    end = start + len(draft.caption[start:].split(" ", 1)[0])
    first = draft.caption[start:end]
    first = first.lower() if draft.starts_sentence(start) and first[1:].islower() else first
    true, found = (draft.words(start, end, f"{_WORDS[value]} {first}"),), []
    chance = _chance(draft, int(value in draft.context.counted.get(thing.head, ())))
    for other in range(2, _MOST + 1):
        if other != value and draft.wants("count"):
            edits, origin = (draft.words(start, end, f"{_WORDS[other]} {first}"),), f"{value} {thing.lemma} > {other}"
            evidence = partial(of_count, draft, thing, value, other)
            found.append(_paired(draft, "count", edits, true, origin, f"{value} {thing.lemma}", chance, evidence))
    return [one for one in found if one]


def _known_place(draft: Draft, relation: RelationNode) -> str:
    """Where another caption says that the one is, if the caption only says that it is near the other; "": it is not known."""
    context, graph = draft.context, draft.graph
    if relation.lemma not in _NEAR or relation.voice == "inverse" or draft.caption[relation.start : relation.end].lower() != relation.lemma:
        return ""
    one, other = graph.objects[relation.subject], graph.objects[relation.object]
    if one.head == other.head or any(
        thing.head in FRAMES or context.several(draft.index, thing.lemma, thing.head) for thing in (one, other)
    ):
        return ""
    if any(r.lemma != relation.lemma and {r.subject, r.object} == {relation.subject, relation.object} for r in graph.relations):
        return ""  # the caption itself says more, of what one cannot tell
    ends = one.head, other.head
    stated = context.related.get(ends, set())
    if not context.relations.get(ends, set()) <= stated:
        return ""  # another caption denies it
    places = {place for lemma in stated for place in (lemma, lemma.partition(" ")[2]) if place in _PLACED}
    return places.pop() if len(places) == 1 else ""


def _placed(draft: Draft, relation: RelationNode, place: str) -> list[Counterpart]:
    true, chance, found = (draft.words(relation.start, relation.end, _spelt(place)),), _chance(draft, 2), []
    for other in PREPOSITIONS[place]:
        if draft.wants("relation"):
            edits, origin = (draft.words(relation.start, relation.end, _spelt(other)),), f"{place} > {other}"
            evidence = partial(of_relation, draft, relation, other, 0)
            found.append(_paired(draft, "relation", edits, true, origin, place, chance, evidence))
    return [one for one in found if one]


def _spelt(place: str) -> str:
    return f"to the {place}" if place in ("left of", "right of") else place


def _paired(
    draft: Draft,
    kind: str,
    edits: tuple[Edit, ...],
    true: tuple[Edit, ...],
    origin: str,
    known: str,
    chance: int | None,
    evidence: partial[tuple[int, ...]],
) -> Counterpart | None:
    """The swap beside its true text; None where the swap is refused."""
    if not draft.add(kind, "word", edits, origin, 1.0, 0.0, "contradicts_original", evidence):
        return None
    negative = draft.negatives[-1]
    return Counterpart(negative, apply_edits(draft.caption, true), true, known, chance)
