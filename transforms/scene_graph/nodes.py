"""The nodes of a caption's scene graph. All spans count characters (code points) of the caption, end exclusive.

`number` is "singular", "plural" or "" (not applicable).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class ObjectNode(NamedTuple):
    """A thing: its words without determiner and attributes, and the noun phrase that contains them.

    `head` is the lemma of the head noun ("fire hydrant": "hydrant"). `count` is the number that the caption gives, 0 if none.
    The phrase extends from the determiner or first modifier to the object's last word.
    """

    text: str
    lemma: str
    start: int
    end: int
    number: str
    head: str
    count: int  # type: ignore[assignment]
    phrase_start: int
    phrase_end: int


class AttributeNode(NamedTuple):
    """A property of the object with index `object`. `tag` is the Penn tag of its word: JJ, VBG (smiling), VBN (parked), NN
    (metal).

    `place` is its syntactic position: "before" the noun, "predicate" after a verb, "clause" for a verb, "measure" (group of).
    """

    object: int
    text: str
    lemma: str
    start: int
    end: int
    number: str
    tag: str
    place: str


class RelationNode(NamedTuple):
    """`subject` and `object` are indices of objects. `head` is the lemma of its first verb or preposition, `tag` that word's tag.

    `lemma` follows the graph's direction, not the caption's: "the leg of a man" and "a man's leg" are both (man, have, leg).
    `voice` is "active", "passive" (attached to) or "inverse" if the caption names the graph's object first.
    """

    subject: int
    object: int
    text: str
    lemma: str
    start: int
    end: int
    number: str
    head: str
    tag: str
    voice: str


class CountNode(NamedTuple):
    """The count of the object with index `object`; `value` is 0 if it is not an exact number (several)."""

    object: int
    text: str
    lemma: str
    start: int
    end: int
    value: int


@dataclass(slots=True)
class Graph:
    """The scene graph of one caption, nodes in caption order. Empty if the caption names no objects."""

    objects: list[ObjectNode] = field(default_factory=list)
    attributes: list[AttributeNode] = field(default_factory=list)
    relations: list[RelationNode] = field(default_factory=list)
    counts: list[CountNode] = field(default_factory=list)

    def triples(self) -> set[tuple[str, str, str]]:
        """(subject, relation, object) lemmas."""
        objects = self.objects
        return {(objects[r.subject].lemma, r.lemma, objects[r.object].lemma) for r in self.relations}

    def pairs(self) -> set[tuple[str, str]]:
        """(object, attribute) lemmas, including exact counts as decimal numbers."""
        found = {(self.objects[a.object].lemma, a.lemma) for a in self.attributes}
        return found | {(self.objects[c.object].lemma, str(c.value)) for c in self.counts if c.value}
