"""What the judge of truth is told about a swap, as `transforms.truth.swaps.FAMILIES` names it: whole numbers.

A swap repeats most of its caption, so the judge's evidence about texts says nothing of it; this evidence is about what the swap changes.
"""

from __future__ import annotations

from transforms.scene_graph.nodes import AttributeNode, ObjectNode, RelationNode
from transforms.swaps.contrasts import attribute_class, contrasting_attributes
from transforms.swaps.draft import Draft

_GROUPS = ("", "colour", "material", "pattern", "weather", "ground", "shape", "posture", "season", "taste", "stage", "animal")
_KINDS = ("animal", "artifact", "food", "object", "person", "plant", "location")
_FORMS = {"not": 0, "do": 1, "without": 2, "attribute": 3}
_MOST, _FAR = 5, 20


def grade(share: float) -> int:
    """A share as twice the binary logarithm of its millionths, rounded up: 0 for none, 40 for all."""
    return (int(1_000_000 * min(share, 1.0)) ** 2).bit_length()


def _common(draft: Draft) -> tuple[int, int, int]:
    context = draft.context
    return draft.index.size.bit_length(), min(context.given, _MOST), int(context.labels is not None)


def of_object(draft: Draft, thing: ObjectNode, position: int, fit: float, phrase: int) -> tuple[int, ...]:
    """A new object in the place of `thing`. labels: 1: known, but the detector could not find it, 2: it could. fit: how well it suits the
    caption (the swap's score). steps: to it in WordNet. phrase: 0: a noun, 1: with an adjective, 2: with a verb."""
    words, captions, labels = _common(draft)
    context, index = draft.context, draft.index
    seen = labels + int(bool(labels) and position in context.detectable)
    presence, usual = grade(float(context.presence[position])), grade(float(context.usual[position]))
    steps = index.candidates(thing.lemma).steps.get(position, _FAR)
    kind = _KINDS.index(index.lexnames[position].partition("/")[0].removeprefix("noun."))
    common, plural = int(2 * index.log_count[position]), int(thing.number == "plural")
    return words, captions, seen, presence, usual, common, int(4 * fit), steps, kind, plural, phrase


def of_attribute(draft: Draft, attribute: AttributeNode, word: str) -> tuple[int, ...]:
    """A new attribute. given: how many attributes captions give the object; against: how many captions give it one that excludes the new
    one, and one more if regions do. beside: how many more of its class the caption itself has. disputed: how often captions disagree about
    such an object's."""
    index, context, thing = draft.index, draft.context, draft.graph.objects[attribute.object]
    position = index.position.get(thing.lemma, -1)
    mentions = max(index.mentions(position), 1.0)
    usual, own = (index.has.get(one, {}).get(position, 0) / mentions for one in (word, attribute.lemma))
    both, least = _both(index.both_have, index.attribute_count, attribute.lemma, word)
    given = context.attributes.get(thing.head, set())
    against = votes_against(draft, thing, word) + shown_against(draft, thing, word)
    kind = attribute_class(attribute.lemma)
    beside = sum(one.object == attribute.object and attribute_class(one.lemma) == kind for one in draft.graph.attributes) - 1
    several = int(context.several(index, thing.lemma, thing.head))
    numbers = min(against, _MOST), min(len(given), _MOST), min(beside, _MOST), grade(index.disputed(thing.lemma, kind))
    common = index.attribute_count.get(word, 0).bit_length()
    group = _GROUPS.index(kind)
    return *_common(draft), grade(usual), grade(own), grade(both / max(least, 1)), common, group, several, *numbers


def votes_against(draft: Draft, thing: ObjectNode, word: str) -> int:
    """How many captions give the object an attribute that excludes this one."""
    given = (own.get(thing.head, ()) for own in draft.context.described)
    return sum(any(word in contrasting_attributes(one) for one in own) for own in given)


def shown_against(draft: Draft, thing: ObjectNode, word: str) -> bool:
    """Whether regions show the object with an attribute that excludes this one."""
    return any(word in contrasting_attributes(one) for one in draft.context.shown(draft.index, thing.lemma))


def of_relation(draft: Draft, relation: RelationNode, other: str, verb: int) -> tuple[int, ...]:
    """A new relation. verb: 0: another preposition, 1: another verb, 2: "far from". known: how many captions state of the two objects."""
    index, graph = draft.index, draft.graph
    subject, thing = graph.objects[relation.subject], graph.objects[relation.object]
    agent, position = (index.position.get(one.lemma, index.position.get(one.head, -1)) for one in (subject, thing))
    with_object = index.object_of.get(other, {}).get(position, 0) / max(index.mentions(position), 1.0)
    with_subject = index.subject_of.get(other, {}).get(agent, 0) / max(index.mentions(agent), 1.0)
    both, least = _both(index.both_do, index.relation_count, relation.lemma, other)
    known = len(draft.context.relations.get((subject.head, thing.head), ()))
    common = index.relation_count.get(other, 0).bit_length()
    return *_common(draft), grade(with_object), grade(with_subject), grade(both / max(least, 1)), common, verb, min(known, _MOST)


def of_count(draft: Draft, thing: ObjectNode, old: int, new: int) -> tuple[int, ...]:
    """A new number. known: how many numbers captions give the object. labelled: the number of labelled instances beyond the new number,
    from -5 to 5; 9: no labels."""
    index, context = draft.index, draft.context
    held = context.instances(index, thing.lemma)
    labelled = 9 if held < 0 else max(-_MOST, min(held - new, _MOST))
    position = index.position.get(thing.lemma, -1)
    plural = float(index.plural_count[position]) / max(index.mentions(position), 1.0) if position >= 0 else 0.0
    return *_common(draft), new - old, new, len(context.counts.get(thing.head, ())), labelled, grade(plural)


def of_order(draft: Draft, form: int, subject: ObjectNode, relation: str, thing: ObjectNode) -> tuple[int, ...]:
    """An exchange. form: 0: of adjectives, 1: of a relation's ends. reverse_subject, reverse_object: how usual the relation is with its
    ends exchanged."""
    index = draft.index
    agent, position = (index.position.get(one.lemma, index.position.get(one.head, -1)) for one in (thing, subject))
    first = index.subject_of.get(relation, {}).get(agent, 0) / max(index.mentions(agent), 1.0)
    second = index.object_of.get(relation, {}).get(position, 0) / max(index.mentions(position), 1.0)
    known = len(draft.context.relations.get((thing.head, subject.head), ()))
    return *_common(draft), form, grade(first), grade(second), min(known, _MOST)


def of_negation(draft: Draft, form: str, subject: ObjectNode, thing: ObjectNode | None) -> tuple[int, ...]:
    """A denial. several, several_objects: whether the picture may show more such subjects, or objects."""
    context, index = draft.context, draft.index
    more = [int(one is not None and context.several(index, one.lemma, one.head)) for one in (subject, thing)]
    return *_common(draft), _FORMS[form], *more


def of_known(draft: Draft, kind: int) -> tuple[int, ...]:
    """What another caption or the labels say of the image. kind: 0: a number, by labels alone, 1: a number, by a caption, 2: a position."""
    return *_common(draft), kind


def _both(table: dict[tuple[str, str], int], counts: dict[str, int], one: str, other: str) -> tuple[int, int]:
    """How often the same things have both, and the rarer one's mentions."""
    return table.get((one, other), 0), min(counts.get(one, 0), counts.get(other, 0))
