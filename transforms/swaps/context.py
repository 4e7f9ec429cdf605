"""What is known about an image: all its captions and its labels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from transforms.english.denials import asserted_until
from transforms.scene_graph.nodes import Graph, ObjectNode, RelationNode
from transforms.swaps.affirmed import affirmed, exact_counts
from transforms.swaps.index import Index
from transforms.swaps.settings import SwapSettings

_WORD = re.compile(r"[a-z]+(?:['’-][a-z]+)*")


class ImageContext:
    """What the guards know about one image.

    blocked: positions of the objects that a caption names, and of their synonyms, hypernyms and hyponyms; labelled: likewise for
    labels. words: every word of every caption. presence: estimated probability that each object is present but unmentioned,
    float32 [V]; usual: likewise, given an average one of the objects. labels: label -> number of instances. detectable: positions of the
    objects that the detector could find. given: the number of captions. plurals: heads of which a caption has several. together: each
    caption's heads. attributes, relations, counts: all that captions mention, by head or heads, denied or not. What they assert:
    described: each caption's attributes by head; related: relations by heads; counted: exact numbers by head.
    """

    __slots__ = (
        "captions",
        "words",
        "blocked",
        "named",
        "presence",
        "usual",
        "detectable",
        "given",
        "described",
        "attributes",
        "relations",
        "counts",
        "related",
        "counted",
        "plurals",
        "together",
        "labels",
        "labelled",
        "_shown",
        "_label_cache",
        "_several_cache",
    )

    def __init__(
        self,
        index: Index,
        settings: SwapSettings,
        captions: Sequence[str],
        graphs: Sequence[Graph],
        labels: Mapping[str, int] | None = None,
        known_labels: Sequence[str] = (),
        shown: Mapping[str, Collection[str]] | None = None,
    ):
        """`labels`: None if unknown. known_labels: those that the detector knows. shown: label -> attributes of its regions."""
        self.captions = {" ".join(caption.lower().rstrip(" .").split()) for caption in captions}
        self.words: set[str] = set()
        for caption in captions:
            self.words.update(_WORD.findall(caption.lower()))
        self.attributes: dict[str, set[str]] = {}
        self.described: list[dict[str, set[str]]] = []
        self.relations: dict[tuple[str, str], set[str]] = {}
        self.counts: dict[str, set[int]] = {}
        self.related: dict[tuple[str, str], set[str]] = {}
        self.counted: dict[str, set[int]] = {}
        self.plurals: set[str] = set()
        self.together: list[Counter[str]] = []
        self.named: set[str] = set()
        for caption, graph in zip(captions, graphs, strict=True):
            self._read(graph)
            self._believe(caption, graph)
        self.labels = labels
        self._shown = shown or {}
        self._label_cache: dict[str, tuple[str, ...]] = {}
        self._several_cache: dict[str, bool] = {}
        self.blocked: set[int] = set()
        for name in self.named:
            self.blocked |= index.related(name)
        self.labelled: set[int] = set()
        for label in labels or ():
            self.labelled |= index.related(label)
        share = settings.missed ** max(0, len(captions) - 1)
        self.given = len(captions)
        self.presence, self.usual = (one * np.float32(share) for one in index.presence_given([*self.named, *(labels or ())]))
        self.detectable: frozenset[int] = frozenset()
        if labels is not None and known_labels:
            positions, self.detectable = _detectable(index, tuple(known_labels))
            self.presence[positions] *= settings.undetected

    def _read(self, graph: Graph) -> None:
        objects = graph.objects
        heads = Counter(thing.head for thing in objects)
        self.together.append(heads)
        for thing in objects:
            self.named.add(thing.lemma)
            if thing.number == "plural" or heads[thing.head] > 1 or thing.count > 1:
                self.plurals.add(thing.head)
            if thing.count:
                self.counts.setdefault(thing.head, set()).add(thing.count)
        for attribute in graph.attributes:
            self.attributes.setdefault(objects[attribute.object].head, set()).add(attribute.lemma)
        for relation in graph.relations:
            self.relations.setdefault(_ends(graph, relation), set()).add(relation.lemma)

    def _believe(self, caption: str, graph: Graph) -> None:
        end = asserted_until(caption)
        graph = affirmed(graph, end) if end < len(caption) else graph
        described: dict[str, set[str]] = {}
        for attribute in graph.attributes:
            described.setdefault(graph.objects[attribute.object].head, set()).add(attribute.lemma)
        self.described.append(described)
        for relation in graph.relations:
            self.related.setdefault(_ends(graph, relation), set()).add(relation.lemma)
        for head, value in exact_counts(caption, graph).items():
            self.counted.setdefault(head, set()).add(value)

    def instances(self, index: Index, lemma: str) -> int:
        """How many labelled instances the word may denote; -1 without labels."""
        if self.labels is None:
            return -1
        return sum(self.labels[label] for label in self._denoting(index, lemma))

    def shown(self, index: Index, lemma: str) -> set[str]:
        """The attributes of the regions that the word may denote."""
        return {one for label in self._denoting(index, lemma) for one in self._shown.get(label, ())} if self._shown else set()

    def _denoting(self, index: Index, lemma: str) -> tuple[str, ...]:
        """The image's labels that the word may denote."""
        found = self._label_cache.get(lemma)
        if found is None:
            lexicon = index.lexicon
            found = self._label_cache[lemma] = tuple(
                label
                for label in self.labels or ()
                if lexicon.synonyms(label, lemma) or lexicon.hypernym(label, lemma) or lexicon.hypernym(lemma, label)
            )
        return found

    def several(self, index: Index, lemma: str, head: str) -> bool:
        """Whether the picture may show more of these than the one in the caption."""
        return self._mentions_several(index, head) or self.instances(index, lemma) > 1

    def _mentions_several(self, index: Index, head: str) -> bool:
        """Whether a caption has several of these, under this name, a broader one ("people") or narrower ones ("a boy and a girl")."""
        found = self._several_cache.get(head)
        if found is None:
            found = self._several_cache[head] = any(index.may_be(head, one) or index.may_be(one, head) for one in self.plurals) or any(
                sum(count for other, count in heads.items() if index.may_be(other, head)) > 1 for heads in self.together
            )
        return found

    def unclear(self, index: Index, thing: ObjectNode) -> bool:
        """Whether the caption says something of one such object while the picture may show others, of which it need not be true."""
        return self.several(index, thing.lemma, thing.head) and (self.labels is not None or thing.number == "singular")


def _ends(graph: Graph, relation: RelationNode) -> tuple[str, str]:
    return graph.objects[relation.subject].head, graph.objects[relation.object].head


def _detectable(index: Index, labels: tuple[str, ...]) -> tuple[np.ndarray, frozenset[int]]:
    """Positions of the objects that a detector with these labels could find, as an array int64 [n] and as a set."""

    def make() -> tuple[np.ndarray, frozenset[int]]:
        lexicon = index.lexicon
        positions = [
            position
            for position, name in enumerate(index.names)
            if any(lexicon.synonyms(label, name) or lexicon.hypernym(label, name) for label in labels)
        ]
        return np.array(positions, dtype=np.int64), frozenset(positions)

    return index.remembered("detectable", labels, make)
