"""The claims of a caption as data: its objects with their words and the relations between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transforms.scenes.world import ATTRIBUTES, BACKDROPS, NOUNS, PREDICATES

PLACES = tuple(BACKDROPS)


class GraphError(ValueError):
    """A caption graph with an unknown word or a reference to an object that it does not have."""


@dataclass(frozen=True, slots=True)
class Mention:
    """One noun phrase: "two small dogs" is Mention("dog", ("small",), 2).

    `noun` and `attributes` (sorted) are canonical words of the world. `count` is an exact number or None, which means
    at least one, or at least two if `plural`. `negated` claims that there is none ("no dog").
    """

    noun: str
    attributes: tuple[str, ...] = ()
    count: int | None = None
    plural: bool = False
    negated: bool = False


@dataclass(frozen=True, slots=True)
class CaptionGraph:
    """The claims of a caption: mentions in text order, sorted (subject, predicate, object) triples, sorted place words."""

    objects: tuple[Mention, ...]
    relations: tuple[tuple[int, str, int], ...] = ()
    places: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises GraphError if a word or an index is unknown, or a relation joins two negated mentions."""
        for mention in self.objects:
            if mention.noun not in NOUNS or not set(mention.attributes) <= set(ATTRIBUTES):
                raise GraphError(f"{mention} uses a word outside the world's vocabulary")
        for place in self.places:
            if place not in PLACES:
                raise GraphError(f"unknown place {place!r}: expected one of {', '.join(PLACES)}")
        ends = range(len(self.objects))
        for subject, predicate, thing in self.relations:
            if predicate not in PREDICATES or subject not in ends or thing not in ends or subject == thing:
                raise GraphError(f"relation {(subject, predicate, thing)} has an unknown predicate or object")
            if self.objects[subject].negated and self.objects[thing].negated:
                raise GraphError(f"relation {(subject, predicate, thing)} joins two negated mentions, which is ambiguous")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, from which `from_json` restores an equal graph."""
        return {
            "objects": [
                {"noun": m.noun, "attributes": list(m.attributes), "count": m.count, "plural": m.plural, "negated": m.negated}
                for m in self.objects
            ],
            "relations": [list(relation) for relation in self.relations],
            "places": list(self.places),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> CaptionGraph:
        """The graph that `to_json` wrote. Raises GraphError if it is malformed."""
        try:
            objects = tuple(
                Mention(m["noun"], tuple(m["attributes"]), m["count"], bool(m["plural"]), bool(m["negated"])) for m in data["objects"]
            )
            relations = tuple((int(s), str(p), int(o)) for s, p, o in data["relations"])
            places = tuple(data["places"])
        except (KeyError, TypeError, ValueError) as error:
            raise GraphError(f"not a valid caption graph: {error!r}") from error
        return cls(objects, relations, places)
