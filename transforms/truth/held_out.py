"""Whether a swap is true of a photo, as far as captions that its generator has not seen, and boxes, tell.

A negative counts as true if the evidence supports it:

- object: a held-out caption or box names the new object or, by WordNet, a kind of it, anywhere (this errs towards "true");
- attribute: a held-out caption gives that object the new attribute or a synonym;
- relation: a held-out caption states it of the two objects; for a new phrase, its new object is there;
- count: a held-out caption states the new number, or the number of boxes equals it;
- order: a held-out caption has the reversed relation.

Negations cannot be judged this way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from transforms.english.wordnet import lexicon
from transforms.scene_graph.nodes import Graph
from transforms.swaps.contrasts import same
from transforms.swaps.draft import Negative


class HeldOut:
    """Evidence about one photo: held-out captions, and boxes."""

    def __init__(self, graphs: list[Graph], captions: list[str], boxes: Mapping[str, int] | None):
        self.lexicon = lexicon()
        self.words = {word.strip(".,!?\"'") for caption in captions for word in caption.lower().split()}
        self.names = {thing.lemma for graph in graphs for thing in graph.objects} | {
            thing.head for graph in graphs for thing in graph.objects
        }
        self.boxes = boxes or {}
        self.attributes: dict[str, set[str]] = defaultdict(set)
        self.relations: set[tuple[str, str, str]] = set()
        self.counts: dict[str, set[int]] = defaultdict(set)
        for graph in graphs:
            for attribute in graph.attributes:
                self.attributes[graph.objects[attribute.object].head].add(attribute.lemma)
            for r in graph.relations:
                self.relations.add((graph.objects[r.subject].head, r.lemma, graph.objects[r.object].head))
            for thing in graph.objects:
                self.counts[thing.head].add(thing.count)
        self._held: dict[str, bool] = {}

    def holds(self, name: str) -> bool:
        """Whether the evidence names this object or a kind of it."""
        if name not in self._held:
            found = name in self.names or (" " not in name and name in self.words)
            for other in (*self.names, *self.boxes):
                found = found or self.lexicon.is_a(other, name)
            self._held[name] = bool(found)
        return self._held[name]

    def true(self, kind: str, level: str, head: str, new: str, ends: tuple[str, str]) -> bool:
        """Whether the evidence supports a swap; `head` is the object concerned, `ends` are the ends of a relation."""
        if kind == "object" or (kind == "relation" and level == "phrase"):
            return self.holds(new)
        if kind == "attribute":
            return any(same(new, other) for other in self.attributes.get(head, ()))
        if kind == "relation":
            # A bare preposition is a claim whatever verb precedes it; a verb with its preposition is a separate claim.
            return any(
                subject == ends[0] and thing == ends[1] and (stated == new or stated.endswith(" " + new))
                for subject, stated, thing in self.relations
            )
        if kind == "count":
            value = int(new)
            return value in self.counts.get(head, ()) or any(
                count == value and self.lexicon.is_a(head, label) for label, count in self.boxes.items()
            )
        return (ends[1], new, ends[0]) in self.relations


def subject_of(negative: Negative, graph: Graph) -> tuple[str, str, tuple[str, str]] | None:
    """A negative's claim: the head of its object, the new word, the ends of its relation. None for kinds not judged."""
    old, _, new = negative.origin.partition(" > ")
    spans = [(start, end) for start, end, _ in negative.edits]
    if negative.kind == "object":
        return "", (new.split(" ", 1)[1] if negative.level == "phrase" else new), ("", "")
    if negative.kind == "attribute":
        found = [graph.objects[a.object].head for a in graph.attributes if (a.start, a.end) in spans]
        return (found[0], new, ("", "")) if found else None
    if negative.kind == "count":
        found = [graph.objects[c.object].head for c in graph.counts if (c.start, c.end) in spans]
        return (found[0], new, ("", "")) if found else None
    if negative.kind in ("relation", "order"):
        for r in graph.relations:
            ends = graph.objects[r.subject].head, graph.objects[r.object].head
            if negative.kind == "relation" and any(r.start <= start < r.end for start, _ in spans):
                last = new.split(" ")
                name = next((" ".join(last[at:]) for at in range(len(last)) if lexicon().knows(" ".join(last[at:]))), last[-1])
                return "", (name if negative.level == "phrase" else new), ends
            if negative.kind == "order" and f" {r.lemma} " in f" {old} ":
                return "", r.lemma, ends
    return None
