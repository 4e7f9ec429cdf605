"""Relation swaps: prepositions and verbs replaced by mutually exclusive ones, and whole relation phrases ("riding a horse")."""

from __future__ import annotations

import math
import re
from functools import partial

import numpy as np

from schemas.rejects import Reason
from transforms.core.logarithms import log1p
from transforms.english.morphology import article, inflect, inflections
from transforms.scene_graph.nodes import ObjectNode, RelationNode
from transforms.swaps.contrasts import PREPOSITIONS, WEAK, exclusive_for
from transforms.swaps.draft import Draft
from transforms.swaps.edits import Edit
from transforms.swaps.evidence import of_object, of_relation
from transforms.swaps.index import Index
from transforms.swaps.objects import refused as object_refused

_SPELT = {
    "left of": "to the left of",
    "right of": "to the right of",
    "to left of": "to the left of",
    "to right of": "to the right of",
    "on left of": "on the left of",
    "on right of": "on the right of",
    "on left side of": "on the left side of",
    "on right side of": "on the right side of",
}
_SIDE = re.compile(r"\b(?:left|right|front|back|top)\b")  # the same relation is written in many ways
_BODILY = frozenset("sit stand lie lay sleep kneel crouch walk run jump ride swim fly ski surf lean drive skate".split())
_VOID = WEAK - {"hold", "carry", "wear", "watch", "use"}
_TRIES = 12  # phrases tried per relation
# A phrase is replaced only where nothing after it modifies its old object.
_ENDS = re.compile(r"\s*(?:$|[.,;!]|and\b|while\b|as\b)", re.IGNORECASE)
_VERBS = frozenset({"VBG", "VBZ", "VBP", "VBD", "VB"})


def prepositions_for(draft: Draft, relation: RelationNode, preposition: str) -> list[tuple[str, float]]:
    """Prepositions that exclude `preposition` and precede this object in the corpus, with scores, in sampled order."""
    index = draft.index
    position = index.position.get(draft.graph.objects[relation.object].lemma, -1)
    head = index.position.get(draft.graph.objects[relation.object].head, -1)
    found = []
    for other in PREPOSITIONS.get(preposition, ()):
        row = index.object_of.get(other, {})
        count = row.get(position, 0) + row.get(head, 0)
        if count >= 2 or other == "far from":
            found.append((other, math.log1p(count)))
    noise = draft.gumbel(len(found)).tolist()
    return [pair for _, pair in sorted(zip(noise, found, strict=True), key=lambda item: -(item[0] + item[1][1]))]


def swap_relations(draft: Draft) -> None:
    """Relation swaps, node by node: the preposition, the verb, then the whole phrase."""
    if not draft.wants("relation"):
        return
    done: set[tuple[int, int]] = set()
    for relation in draft.graph.relations:
        span = relation.start, relation.end
        if span in done or relation.voice == "inverse":
            continue
        done.add(span)
        if not _ambiguous(draft, relation):
            _preposition(draft, relation)
            if relation.tag in _VERBS and relation.voice == "active":
                _verb(draft, relation)
        if relation.tag in _VERBS and relation.voice == "active":
            _phrase(draft, relation)


def _ambiguous(draft: Draft, relation: RelationNode) -> bool:
    """Whether the picture may show another such pair related differently; records the reason."""
    ends = [draft.graph.objects[node] for node in (relation.subject, relation.object)]
    if alike(draft, *ends):  # "a bird left of a bird": the other is to its right
        draft.refuse(Reason.AMBIGUOUS, f"{ends[0].lemma} {relation.lemma} {ends[1].lemma}")
        return True
    for thing in ends:
        if draft.context.unclear(draft.index, thing):
            draft.refuse(Reason.AMBIGUOUS, f"{thing.lemma} in {relation.lemma}")
            return True
    return False


def alike(draft: Draft, one: ObjectNode, other: ObjectNode) -> bool:
    """Whether two objects may have each other's name: two birds, or a car and a vehicle."""
    return draft.index.may_be(one.head, other.head) or draft.index.may_be(other.head, one.head)


def _in_sibling(draft: Draft, relation: RelationNode, lemma: str) -> bool:
    """Whether a caption states this relation of the two objects; records the reason."""
    subject, thing = draft.graph.objects[relation.subject], draft.graph.objects[relation.object]
    known = draft.context.relations.get((subject.head, thing.head), ())
    last, side = lemma.rsplit(" ", 1)[-1], _SIDE.search(lemma)
    if (
        lemma in known
        or any(other.rsplit(" ", 1)[-1] == last and last not in ("of", "on", "in") for other in known)
        or (side and any(found[0] == side[0] for found in map(_SIDE.search, known) if found))
    ):
        draft.refuse(Reason.IN_SIBLING, f"{relation.lemma} > {lemma}")
        return True
    return False


def _preposition(draft: Draft, relation: RelationNode) -> None:
    verbal = relation.tag in _VERBS or relation.tag == "VBN"
    preposition = relation.lemma.partition(" ")[2] if verbal else relation.lemma
    if preposition not in PREPOSITIONS:
        return
    spelt = _SPELT.get(preposition, preposition)
    offset = relation.text.lower().rfind(spelt)
    if offset < 0 or (not verbal and offset > 0):
        return
    start = relation.start + offset
    end = start + len(spelt)
    if end != relation.end:
        return
    verb = relation.lemma.partition(" ")[0] if verbal else ""
    for other, score in prepositions_for(draft, relation, preposition):
        if not draft.wants("relation"):
            return
        if verb in ("ride", "wear", "fly", "swim", "hang", "look", "cover", "fill", "stare", "point") or _in_sibling(
            draft, relation, other
        ):
            continue
        if verb and other == "far from" and verb not in ("sit", "stand", "park", "walk", "lie", "lay", "run", "play", "wait"):
            continue
        words = _SPELT.get(other, other)
        draft.add(
            "relation",
            "word",
            (draft.words(start, end, words),),
            f"{relation.lemma} > {other}",
            score,
            0.0,
            "contradicts_original",
            partial(of_relation, draft, relation, f"{verb} {other}".strip(), 2 if other == "far from" else 0),
        )


def verbs_for(index: Index, verb: str, rest: str, subject: ObjectNode, thing: ObjectNode) -> list[tuple[str, float]]:
    """Relations that exclude `verb`, take the same preposition and occur in the corpus with both ends; with scores."""
    position = index.position.get(thing.lemma, index.position.get(thing.head, -1))
    agent = index.position.get(subject.lemma, index.position.get(subject.head, -1))

    def make() -> list[tuple[str, float]]:
        found, broad = [], index.lexnames[agent] if agent >= 0 else ""
        for other, with_object in index.frames.get((position, rest), ()):
            with_subject = index.subject_of.get(other, {}).get(agent, 0)
            if with_subject and exclusive_for(broad, verb, other.partition(" ")[0]):
                found.append((other, math.log1p(with_object) + 0.5 * math.log1p(with_subject)))
        return found

    return index.remembered("verbs", (verb, rest, agent, position), make)


def _verb(draft: Draft, relation: RelationNode) -> None:
    """Swaps the verb for another in the same form, before the same preposition or object."""
    index = draft.index
    verb, _, rest = relation.lemma.partition(" ")
    written, _, tail = relation.text.partition(" ")
    if (rest and not tail) or written.lower() not in inflections(verb, relation.tag) and relation.head != verb:
        return
    thing, subject = draft.graph.objects[relation.object], draft.graph.objects[relation.subject]
    found = verbs_for(index, verb, rest, subject, thing)
    noise = draft.gumbel(len(found)).tolist()
    for _, (other, score) in sorted(zip(noise, found, strict=True), key=lambda item: (-(item[0] + item[1][1]), item[1][0])):
        if not draft.wants("relation"):
            return
        if _in_sibling(draft, relation, other) or any(word.startswith(other.partition(" ")[0][:5]) for word in draft.context.words):
            continue
        if draft.index.both_do.get((relation.lemma, other), 0) >= 2:
            draft.refuse(Reason.LIKELY_TRUE, f"{relation.lemma} > {other}")
            continue
        form = inflect(other.partition(" ")[0], relation.tag)
        edit = draft.words(relation.start, relation.start + len(written), form)
        origin = f"{relation.lemma} > {other}"
        evidence = partial(of_relation, draft, relation, other, 1)
        draft.add("relation", "word", (edit,), origin, score, 0.0, "contradicts_original", evidence)


def _only_verb(draft: Draft, relation: RelationNode) -> bool:
    """Whether the caption gives the subject no other action: nobody stands while sitting on a chair."""
    graph = draft.graph
    others = any(r.subject == relation.subject and r.start != relation.start and r.tag in _VERBS for r in graph.relations)
    return not others and not any(a.object == relation.subject and a.place == "clause" for a in graph.attributes)


def phrases_of(index: Index, subject: str, tag: str) -> list[tuple[str, int, int]]:
    """Verbs in this form that the corpus has with a subject, each with the verb's usual objects: (relation, position, count)."""

    def make() -> list[tuple[str, int, int]]:
        found = []
        for relation, count in index.relations_of.get(subject, ())[:60]:
            verb = relation.partition(" ")[0]
            if count < 2 or (relation, tag) not in index.relation_forms or len(relation.split()) > 3 or verb in _VOID:
                continue
            for lemma, many in index.objects_of.get(relation, ())[:8]:
                position = index.position.get(lemma, -1)
                if many >= 2 and position >= 0 and index.usable[position]:
                    found.append((relation, position, count + many))
        return found

    return index.remembered("phrases", (subject, tag), make)


def _phrase(draft: Draft, relation: RelationNode) -> None:
    """ "Riding a horse" for "holding an umbrella": another verb with another object, as the corpus has them for the subject."""
    index, graph = draft.index, draft.graph
    subject, thing = graph.objects[relation.subject], graph.objects[relation.object]
    if (
        not _ENDS.match(draft.caption, thing.phrase_end)
        or not 0 < thing.phrase_start - relation.end <= 1
        or sum(r.start == relation.start for r in graph.relations) > 1
    ):
        return
    alone = _only_verb(draft, relation)
    found = [
        phrase
        for phrase in phrases_of(index, subject.lemma, relation.tag)
        if phrase[0] != relation.lemma and (alone or phrase[0].partition(" ")[0] not in _BODILY)
    ]
    if not found:
        return
    scores = log1p(np.array([count for _, _, count in found]))
    order = np.argsort(-(scores + draft.gumbel(len(found))), kind="stable").tolist()
    for at in order[:_TRIES]:
        if not draft.wants("relation"):
            return
        other, position, _ = found[at]
        lemma = index.names[position]
        if object_refused(draft, position, thing):
            continue
        edit = _written(draft, relation, other, position)
        if edit:
            draft.add(
                "relation",
                "phrase",
                (edit,),
                f"{relation.lemma} {thing.lemma} > {other} {lemma}",
                float(scores[at]),
                float(draft.context.presence[position]),
                "absent_from_captions" if draft.context.labels is None else "absent_from_labels",
                partial(of_object, draft, thing, position, float(scores[at]), 2),
            )


def _written(draft: Draft, relation: RelationNode, other: str, position: int) -> Edit | None:
    index = draft.index
    thing = draft.graph.objects[relation.object]
    words = index.relation_forms[other, relation.tag][1]
    shares = index.determiners[position]
    if index.plural_count[position] > 2 * index.singular_count[position]:
        noun = index.form(position, "plural")
    else:
        noun = index.form(position, "singular")
        if shares[0] >= 0.3:
            noun = f"{article(noun)} {noun}"
        elif shares[1] < 0.5:
            noun = f"the {noun}"
    return draft.words(relation.start, thing.phrase_end, f"{words} {noun}")
