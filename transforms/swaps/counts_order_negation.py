"""Swaps of counts, swaps of order, and negation."""

from __future__ import annotations

import re
from functools import partial

from schemas.rejects import Reason
from transforms.english.words import NUMBERS
from transforms.scene_graph.nodes import ObjectNode, RelationNode
from transforms.swaps.attributes import may_be_true, never_swapped
from transforms.swaps.contrasts import compatible, contrasting_attributes
from transforms.swaps.draft import Draft
from transforms.swaps.edits import Edit
from transforms.swaps.evidence import of_count, of_negation, of_order
from transforms.swaps.relations import alike

_WORDS = {value: word for word, value in NUMBERS.items()}
_PASSIVE = re.compile(r"\b(?:being|been|getting|becoming|looking|seeming|remaining|staying) $", re.IGNORECASE)
_LINKING = re.compile(r"\b(?:gets?|got|becomes?|became|looks?|looked|seems?|seemed|appears?|appeared|remains?|stays?|to) $", re.IGNORECASE)
# Symmetric or nearly symmetric relations.
_MUTUAL = frozenset(
    {
        "and",
        "with",
        "next to",
        "near",
        "beside",
        "by",
        "close to",
        "alongside",
        "between",
        "among",
        "of",
        "have",
        "like",
        "to",
        "at",
        "around",
        "along",
        "across from",
        "adjacent to",
        "opposite",
        "against",
        "touch",
        "face",
        "play with",
        "look at",
        "stare at",
        "gaze at",
        "watch",
        "observe",
        "sit next to",
        "stand next to",
        "walk with",
        "stand with",
        "sit with",
        "stand near",
        "sit near",
        "from",
        "for",
        "as",
    }
)
_UNDENIABLE = frozenset(
    {"some", "something", "several", "many", "lots", "both", "all", "multiple", "various", "few", "it", "only", "one"}
)  # fmt: skip
_LOOSE = frozenset({"with", "to", "near", "beside", "by", "at", "for", "of", "as"})
_FINITE = frozenset({"is", "are", "was", "were", "has", "have", "had", "does", "do", "can", "will", "that", "which", "who"})


def swap_counts(draft: Draft) -> None:
    """ "Four dogs" for "two dogs"; where the labels show a single one, also "three dogs" for "a dog"."""
    context = draft.context
    for count in draft.graph.counts:
        thing = draft.graph.objects[count.object]
        known = context.counts.get(thing.head, set())
        if (
            thing.number != "plural"
            or not 2 <= count.value <= 10
            or count.end > thing.start
            or not (count.lemma in NUMBERS or count.lemma.isdecimal())
        ):
            continue
        around = [value for value in range(2, 11) if value != count.value and abs(value - count.value) <= 4]
        noise = draft.gumbel(len(around)).tolist()
        for _, value in sorted(zip(noise, around, strict=True), key=lambda pair: abs(pair[1] - count.value) - pair[0]):
            origin = f"{count.lemma} {thing.lemma} > {value}"
            if not draft.wants("count"):
                return
            if value in known:
                draft.refuse(Reason.IN_SIBLING, origin)
            elif context.labels is not None and labelled_instances(draft, thing) == value:
                draft.refuse(Reason.IN_LABELS, origin)
            else:
                word = str(value) if count.text.isdecimal() else _WORDS[value]
                draft.add(
                    "count",
                    "word",
                    (draft.words(count.start, count.end, word),),
                    origin,
                    1.0 / abs(value - count.value),
                    0.0,
                    "contradicts_original",
                    partial(of_count, draft, thing, count.value, value),
                )
    if context.labels is not None:
        for thing in draft.graph.objects:
            _multiplied(draft, thing)


def labelled_instances(draft: Draft, thing: ObjectNode) -> int:
    """How many labelled instances the object's word may denote; -1 without labels."""
    return draft.context.instances(draft.index, thing.lemma)


def _multiplied(draft: Draft, thing: ObjectNode) -> None:
    """ "Three dogs" for "a dog", where the labels show one dog and no verb has to change."""
    if thing.number != "singular" or draft.determiner(thing) != "a" or labelled_instances(draft, thing) != 1:
        return
    if thing.head in draft.context.plurals:
        draft.refuse(Reason.AMBIGUOUS, thing.lemma)
        return
    graph = draft.graph
    node = graph.objects.index(thing)
    following = draft.caption[thing.end :].split(" ")[:3]
    finite = any(relation.subject == node and relation.tag in ("VBZ", "VBP", "VBD") for relation in graph.relations)
    if (
        finite
        or any(word.strip(".,").lower() in _FINITE for word in following)
        or any(a.object == node and a.place == "predicate" for a in graph.attributes)
    ):
        return
    if any(word.lower() in _FINITE for word in draft.caption[: thing.phrase_start].split(" ")[-1:]):
        return
    if any(word in ("and", "or", "one") for word in draft.caption[thing.phrase_start : thing.start].lower().replace(",", " and ").split()):
        return
    position = draft.index.position.get(thing.lemma, -1)
    if position < 0 or draft.index.plural_count[position] < 2:
        return
    end = thing.phrase_start + len(draft.caption[thing.phrase_start :].split(" ", 1)[0])
    for value in (2, 3, 4):
        if not draft.wants("count"):
            return
        edits = (
            draft.words(thing.phrase_start, end, _WORDS[value]),
            draft.words(thing.start, thing.end, draft.index.form(position, "plural")),
        )
        evidence = partial(of_count, draft, thing, 1, value)
        draft.add("count", "phrase", edits, f"a {thing.lemma} > {value}", 1.0 / value, 0.0, "absent_from_labels", evidence)


def swap_order(draft: Draft) -> None:
    """Exchanges the two ends of a relation, or the adjectives of two objects."""
    graph = draft.graph
    for relation in graph.relations:
        if not draft.wants("order"):
            return
        one, other = graph.objects[relation.subject], graph.objects[relation.object]
        if relation.lemma in _MUTUAL or relation.lemma.rsplit(" ", 1)[-1] in _LOOSE or relation.voice == "inverse":
            continue
        if relation.head in ("in", "wear", "have"):
            continue  # "a coat wearing a woman" is false but implausible
        if alike(draft, one, other) or one.number != other.number or not _exchangeable(draft, relation):
            continue
        if draft.caption[other.end :].lstrip().lower().startswith(("of ", "'s", "and ")) or _order_refused(draft, relation):
            continue
        # Exchanged along with articles and adjectives, and only where both have the same determiner: "man" and "a cake" are not.
        kinds = draft.determiner(one), draft.determiner(other)
        if kinds[0] != kinds[1] or (kinds[0] == "bare" and one.number == "singular"):
            continue
        modified = kinds[0] != "a" or any(a.place == "before" and a.object in (relation.subject, relation.object) for a in graph.attributes)
        spans = [(thing.phrase_start if modified else thing.start, thing.end) for thing in (one, other)]
        origin = f"{one.lemma} {relation.lemma} {other.lemma}"
        edits = _exchange(draft, spans[0], spans[1])
        evidence = partial(of_order, draft, 1, one, relation.lemma, other)
        draft.add("order", "phrase" if modified else "word", edits, origin, 1.0, 0.0, "order_matters", evidence)
    _exchange_attributes(draft)


def _order_refused(draft: Draft, relation: RelationNode) -> bool:
    """Whether the exchanged relation may also hold; records the reason."""
    context, index = draft.context, draft.index
    one, other = draft.graph.objects[relation.subject], draft.graph.objects[relation.object]
    origin = f"{one.lemma} {relation.lemma} {other.lemma}"
    if any(context.unclear(index, thing) for thing in (one, other)):
        draft.refuse(Reason.AMBIGUOUS, origin)
        return True
    if relation.lemma in context.relations.get((other.head, one.head), ()):
        draft.refuse(Reason.IN_SIBLING, origin)
        return True
    return False


def _exchangeable(draft: Draft, relation: RelationNode) -> bool:
    """Whether subject, relation and object are adjacent, each is the only one there, and the two ends are interchangeable."""
    graph, index = draft.graph, draft.index
    one, other = graph.objects[relation.subject], graph.objects[relation.object]
    between = draft.caption[one.end : relation.start].strip().lower()
    if one.end > relation.start or between not in ("", "is", "are", "that is", "who is", "that are", "who are"):
        return False
    if draft.caption[relation.end : other.phrase_start].strip() or sum(r.start == relation.start for r in graph.relations) > 1:
        return False
    before = draft.caption[: one.phrase_start].lower().split(" ")[-2:-1]  # the graph may lack it
    outer = [r.lemma for r in graph.relations if r.object == relation.subject] + before
    if any(compatible(lemma, relation.lemma) for lemma in outer):
        return False  # "on a bike on a street", "underneath a fruit is beneath a book": one may be on, or beneath, both
    if any(a.place == "measure" and a.object in (relation.subject, relation.object) for a in graph.attributes):
        return False
    if "noun.body" in (index.lexicon.lexname(one.lemma), index.lexicon.lexname(other.lemma)):
        return False
    living = [index.lexicon.lexname(thing.lemma) in ("noun.person", "noun.animal") or thing.head == "people" for thing in (one, other)]
    return living[0] == living[1] or (relation.tag not in ("IN", "VBN") and " " not in relation.lemma)


def _exchange(draft: Draft, one: tuple[int, int], other: tuple[int, int]) -> tuple[Edit, ...]:
    first, second = sorted((one, other))
    caption = draft.caption
    into_first, into_second = caption[slice(*second)], caption[slice(*first)]
    if not caption[: first[0]].strip():
        into_second = into_second[:1].lower() + into_second[1:] if not into_second[1:2].isupper() else into_second
    edits = (
        *draft.article_edit(first[0], into_first),
        draft.words(*first, into_first),
        *draft.article_edit(second[0], into_second),
        (second[0], second[1], into_second),
    )
    return edits


def _exchange_attributes(draft: Draft) -> None:
    graph, context = draft.graph, draft.context
    before = [a for a in graph.attributes if a.place == "before" and a.tag == "JJ"]
    for at, one in enumerate(before):
        for other in before[at + 1 :]:
            if not draft.wants("order"):
                return
            first, second = graph.objects[one.object], graph.objects[other.object]
            if one.object == other.object or one.lemma == other.lemma or first.head == second.head or other.start < one.end:
                continue
            origin = f"{one.lemma} {first.lemma}, {other.lemma} {second.lemma}"
            given = context.attributes.get(first.head, set()), context.attributes.get(second.head, set())
            if other.lemma in given[0] or one.lemma in given[1]:
                draft.refuse(Reason.IN_SIBLING, origin)
                continue
            if other.lemma not in contrasting_attributes(one.lemma):
                draft.refuse(Reason.LIKELY_TRUE, origin)
                continue
            if context.several(draft.index, first.lemma, first.head) or context.several(draft.index, second.lemma, second.head):
                draft.refuse(Reason.AMBIGUOUS, origin)
                continue
            pairs = (one, other.lemma), (other, one.lemma)
            if never_swapped(draft, one) or never_swapped(draft, other) or all(may_be_true(draft, *pair) for pair in pairs):
                continue  # one of the two that is false makes the text false
            edits = _exchange(draft, (one.start, one.end), (other.start, other.end))
            evidence = partial(of_order, draft, 0, first, one.lemma, second)
            draft.add("order", "word", edits, origin, 1.0, 0.0, "order_matters", evidence)


def swap_negation(draft: Draft) -> None:
    """ "Not" before a participle or a predicate, "does not" before a finite verb, "without" for "with"."""
    caption, graph, context, index = draft.caption, draft.graph, draft.context, draft.index
    if draft.denied_from < len(caption):
        return
    done: set[int] = set()
    for relation in graph.relations:
        if not draft.wants("negation"):
            return
        if relation.start in done or relation.voice == "inverse":
            continue
        done.add(relation.start)
        subject, thing = graph.objects[relation.subject], graph.objects[relation.object]
        edits = _negated(draft, relation, thing)
        if not edits:
            continue
        if context.labels is not None and (
            context.several(index, subject.lemma, subject.head)
            or (relation.tag == "IN" and context.several(index, thing.lemma, thing.head))
        ):
            draft.refuse(Reason.AMBIGUOUS, f"not {relation.lemma}")
            continue
        level = "phrase" if len(edits) > 1 or relation.lemma == "with" else "word"
        words = edits[0][2].lower()
        form = "not" if words.startswith("not ") else words if words == "without" else "do"
        evidence = partial(of_negation, draft, form, subject, thing)
        draft.add("negation", level, edits, f"not {relation.lemma}", 1.0, 0.0, "denies_original", evidence)
    for attribute in graph.attributes:
        thing = graph.objects[attribute.object]
        participle = attribute.place == "clause" and attribute.tag == "VBG" and attribute.start > thing.end
        if not draft.wants("negation") or not (participle or (attribute.place == "predicate" and attribute.start > thing.end)):
            continue
        if _LINKING.search(caption, 0, attribute.start):
            continue  # "gets not ready"
        if context.labels is not None and context.several(index, thing.lemma, thing.head):
            draft.refuse(Reason.AMBIGUOUS, f"not {attribute.lemma}")
            continue
        draft.add(
            "negation",
            "word",
            (_not_before(caption, attribute.start),),
            f"not {attribute.lemma}",
            1.0,
            0.0,
            "denies_original",
            partial(of_negation, draft, "attribute", thing, None),
        )


def _not_before(caption: str, start: int) -> Edit:
    """Inserts "not" before a participle or a predicate: "is not being flown", "has not been parked"."""
    auxiliary = _PASSIVE.search(caption, 0, start)
    at = auxiliary.start() if auxiliary else start
    return at, start, f"not {caption[at:start]}"


def _negated(draft: Draft, relation: RelationNode, thing: ObjectNode) -> tuple[Edit, ...]:
    caption = draft.caption
    start = relation.start
    if start == 0:
        return ()
    if relation.tag in ("VBG", "VBN"):
        mistagged = relation.text.split(" ", 1)[0].lower().endswith("s")  # "a man lays on a bed"
        return () if mistagged else (_not_before(caption, start),)
    if relation.tag in ("VBZ", "VBP"):
        verb = relation.text.split(" ", 1)[0]
        base = relation.head
        helper = "does not" if relation.tag == "VBZ" else "do not"
        return ((start, start + len(verb), f"{helper} {base}"),)
    following = caption[relation.end :].split(" ", 2)[1:2]
    if relation.lemma == "with" and relation.text.lower() == "with" and following and following[0].lower() not in _UNDENIABLE:
        return ((start, relation.end, "without"),)
    before = caption[:start].rstrip(" ").rsplit(" ", 1)[-1].lower()
    if relation.tag == "IN" and before in ("is", "are"):
        return ((start, start, "not "),)
    return ()
