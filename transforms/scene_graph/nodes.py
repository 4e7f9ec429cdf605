"""What a caption's scene graph is made of. All spans count characters (code points) of the caption, end exclusive.

`number` is "singular", "plural" or "" (the word has none).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class ObjectNode(NamedTuple):
    """A thing: its words without determiner and attributes, and the phrase that they stand in.

    `head` is the lemma of the head noun ("fire hydrant": "hydrant"). `count` is how many the caption says there are, 0 when it
    does not say. The phrase runs from the determiner or first modifier to the last word of the object.
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

    `place` tells how it stands there: "before" the noun, "predicate" after a verb, "clause" for a verb, "measure" (group of).
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

    `lemma` follows the graph's direction, not the caption's: "the leg of a man" and "a man's leg" both are (man, have, leg).
    `voice` is "active", "passive" (attached to) or "inverse" when the caption names the graph's object first.
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
    """How many there are of the object with index `object`; `value` is 0 when it is no exact number (several)."""

    object: int
    text: str
    lemma: str
    start: int
    end: int
    value: int


@dataclass(slots=True)
class Graph:
    """The scene graph of one caption, nodes in the order of the caption. Empty when there is nothing to name."""

    objects: list[ObjectNode] = field(default_factory=list)
    attributes: list[AttributeNode] = field(default_factory=list)
    relations: list[RelationNode] = field(default_factory=list)
    counts: list[CountNode] = field(default_factory=list)

    def triples(self) -> set[tuple[str, str, str]]:
        """(subject, relation, object) lemmas."""
        objects = self.objects
        return {(objects[r.subject].lemma, r.lemma, objects[r.object].lemma) for r in self.relations}

    def pairs(self) -> set[tuple[str, str]]:
        """(object, attribute) lemmas; exact counts as decimal numbers among them."""
        found = {(self.objects[a.object].lemma, a.lemma) for a in self.attributes}
        return found | {(self.objects[c.object].lemma, str(c.value)) for c in self.counts if c.value}
