"""The vocabulary as arrays: possible replacements of each object, and what is likely to be in the picture anyway."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from transforms.core.logarithms import log, log1p
from transforms.english.morphology import plural
from transforms.english.people import generic, incompatible, may_be
from transforms.english.wordnet import Lexicon
from transforms.graphs.vocabulary import Key
from transforms.swaps.vague import VAGUE

T = TypeVar("T")
OK, SYNONYM, HYPERNYM, HYPONYM = range(4)
_KEPT_ROWS = 3000
_ANCHORS = ("clothing", "conveyance", "room", "building", "furniture", "way")
_SMOOTH = 5.0  # pseudo-count: images with the corpus average, added to those counted
_CLOSE, _RELATED = 5, 8  # WordNet steps up and down; close ones need no evidence that they fit the context
# Hypernyms nearer to the root than this are too broad for a class; "artifact" is very broad, so its classes start one step below.
_CLASS_DEPTH = {"noun.artifact": 5, "noun.animal": 5, "noun.person": 5, "noun.plant": 5}


@dataclass(slots=True)
class Candidates:
    """Possible replacements of one object: positions in the vocabulary [n], closeness float32 [n], whether each is near or more
    distantly related in WordNet, bool [n] each, each one's lexical verdict, and the steps to it in WordNet, by position."""

    positions: np.ndarray
    closeness: np.ndarray
    near: np.ndarray
    related: np.ndarray
    verdicts: list[int]
    steps: dict[int, int]


class Index:
    """Statistics of the V objects of the vocabulary, most frequent first. `position` maps an object to its index;
    `presence[o, c]` is the share of images with o whose captions name c (float32 [V, V], smoothed)."""

    def __init__(self, counts: Mapping[Key, int], lexicon: Lexicon, reach: int = 80):
        self.lexicon = lexicon
        self._reach = reach
        by_kind: dict[str, list[tuple[str, str, str, int]]] = defaultdict(list)
        for (kind, first, second, third), count in counts.items():
            by_kind[kind].append((first, second, third, count))
        ranked = sorted((-count, lemma) for lemma, _, _, count in by_kind["object"])
        self.names = [lemma for _, lemma in ranked]
        self.position = {lemma: position for position, lemma in enumerate(self.names)}
        self.size = len(self.names)
        self.log_count = log(np.array([-count for count, _ in ranked] or [1])).astype(np.float32)
        self.presence = self._presence(by_kind)
        self._count_forms(by_kind)
        # "does" and "suffers" are stored kinds: (subject, relation) and (relation, object) counts, see `vocabulary`.
        self.subject_of = Rows(by_kind["does"], self.position, 1, 0)
        self.object_of = Rows(by_kind["suffers"], self.position, 0, 1)
        self.has = Rows(by_kind["has"], self.position, 0, 1)
        self.attributes_of: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for attribute, lemma, _, count in sorted(by_kind["has"], key=lambda row: (-row[3], row[0])):
            self.attributes_of[lemma].append((attribute, count))
        self.relations_of: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for subject, relation, _, count in sorted(by_kind["does"], key=lambda row: (-row[3], row[1])):
            self.relations_of[subject].append((relation, count))
        self.objects_of: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for relation, lemma, _, count in sorted(by_kind["suffers"], key=lambda row: (-row[3], row[1])):
            self.objects_of[relation].append((lemma, count))
        self.relation_count = {lemma: count for lemma, _, _, count in by_kind["relation"]}
        # (object, rest of the relation after its verb) -> the corpus' relations of that form
        self.frames: dict[tuple[int, str], list[tuple[str, int]]] = defaultdict(list)
        for relation, row in self.object_of.items():
            for position, count in row.items():
                self.frames[position, relation.partition(" ")[2]].append((relation, count))
        self.attribute_count: dict[str, int] = defaultdict(int)
        for lemma, _, _, count in by_kind["attribute"]:
            self.attribute_count[lemma] += count
        self.both_do = _both(by_kind["both_do"])
        self.both_have = _both(by_kind["both_have"])
        self._disputed = {(lemma, kind): count for lemma, kind, _, count in by_kind["disputed"]}
        self._described = {(lemma, kind): count for lemma, kind, _, count in by_kind["described"]}
        self._taxonomy()
        self._add_kinds()
        self._by_head: dict[str, list[int]] = defaultdict(list)
        for position, name in enumerate(self.names):
            head = name.rsplit(" ", 1)[-1]
            for kind in (head, *self._endings(head)):
                self._by_head[kind].append(position)
        self._remembered: dict[tuple[str, Hashable], Any] = {}
        self._candidates: dict[str, Candidates] = {}
        self._related: dict[str, frozenset[int]] = {}

    def remembered(self, what: str, key: Hashable, make: Callable[[], T]) -> T:
        """The result of `make`, cached by key; only for results that depend on nothing but the vocabulary."""
        found: T | None = self._remembered.get((what, key))
        if found is None:
            found = self._remembered[what, key] = make()
        return found

    def _presence(self, by_kind: Mapping[str, list[tuple[str, str, str, int]]]) -> np.ndarray:
        images = max(1, sum(row[3] for row in by_kind["image"]))
        seen = np.zeros(self.size, dtype=np.float32)
        for lemma, _, _, count in by_kind["seen"]:
            seen[self.position[lemma]] = count
        together = np.zeros((self.size, self.size), dtype=np.float32)
        for first, second, _, count in by_kind["together"]:
            one, other = self.position[first], self.position[second]
            together[one, other] = together[other, one] = count
        together += _SMOOTH * (seen / images)
        together /= (seen + _SMOOTH)[:, None]
        np.fill_diagonal(together, 1.0)
        return together

    def _count_forms(self, by_kind: Mapping[str, list[tuple[str, str, str, int]]]) -> None:
        forms: dict[tuple[str, str], tuple[int, str]] = {}
        numbers: dict[tuple[str, str], int] = defaultdict(int)
        for lemma, number, form, count in by_kind["object_form"]:
            numbers[lemma, number] += count
            forms[lemma, number] = max(forms.get((lemma, number), (0, "")), (count, form))
        self.forms = {key: form for key, (_, form) in forms.items()}
        self.plural_count = np.array([numbers[name, "plural"] for name in self.names] or [0], dtype=np.float32)
        self.singular_count = np.array([numbers[name, "singular"] for name in self.names] or [0], dtype=np.float32)
        shares = np.zeros((max(1, self.size), 3), dtype=np.float32)
        for lemma, kind, _, count in by_kind["determiner"]:
            shares[self.position[lemma], ("a", "bare", "other").index(kind)] = count
        self.determiners = (shares + 0.1) / (shares.sum(axis=1, keepdims=True) + 0.3)
        self.relation_forms: dict[tuple[str, str], tuple[int, str]] = {}
        for lemma, tag, form, count in by_kind["relation_form"]:
            self.relation_forms[lemma, tag] = max(self.relation_forms.get((lemma, tag), (0, "")), (count, form))

    def _taxonomy(self) -> None:
        """Indexes the objects by their synsets and by those synsets' ancestors."""
        lexicon = self.lexicon
        self._having: dict[str, list[int]] = defaultdict(list)
        self._below: dict[str, list[int]] = defaultdict(list)
        self._under: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self.usable = np.zeros(max(1, self.size), dtype=bool)
        self._anchors = [lexicon.senses(word)[0] for word in _ANCHORS if lexicon.senses(word)]
        self.lexnames = [self.broad(name) for name in self.names]
        for position, name in enumerate(self.names):
            common = lexicon.common(name, "n")
            for key in common:
                self._having[key].append(position)
            for key in {above for sense in common for above in lexicon.ancestors(sense)}:
                self._below[key].append(position)
            if (
                common
                and self.lexnames[position].partition("/")[0] in _CLASSES
                and name not in VAGUE
                and name.rsplit(" ", 1)[-1] not in VAGUE
            ):
                self.usable[position] = True
                for key, distance in lexicon.ancestors(common[0]).items():
                    self._under[key].append((distance, position))

    def _add_kinds(self) -> None:
        """Adds the presence of an object's hyponyms to its own: where there is a bowl, there is a container."""
        having: dict[str, list[int]] = defaultdict(list)
        for position, name in enumerate(self.names):
            for key in self.lexicon.senses(name)[:2]:
                having[key].append(position)
        kinds: dict[int, set[int]] = defaultdict(set)
        for position, name in enumerate(self.names):
            for sense in self.lexicon.senses(name)[:1]:
                for key in self.lexicon.ancestors(sense):
                    for above in having.get(key, ()):
                        kinds[above].add(position)
        alone = self.presence.copy()
        for above, positions in sorted(kinds.items()):
            listed = sorted(positions | {above})
            if len(listed) > 1:
                self.presence[:, above] = np.minimum(1.0, alone[:, listed].sum(axis=1))

    def broad(self, lemma: str) -> str:
        """The broad class of an object: WordNet's, with artifacts subdivided (clothing is worn, vehicles are ridden)."""
        lexicon = self.lexicon
        name = lexicon.lexname(lemma)
        if name == "noun.artifact":
            above = lexicon.ancestors(lexicon.common(lemma, "n")[0])
            return name + next(("/" + anchor for anchor in self._anchors if anchor in above), "")
        return name

    def related(self, lemma: str) -> frozenset[int]:
        """Positions of the objects that may denote the same thing as `lemma`: synonyms, hypernyms, hyponyms, compounds."""
        found = self._related.get(lemma)
        if found is None:
            lexicon = self.lexicon
            common = lexicon.common(lemma, "n")
            positions = {position for key in common for above in lexicon.ancestors(key) for position in self._having.get(above, ())}
            positions.update(position for key in common for position in self._below.get(key, ()))
            positions.update(self.position[word] for word in lexicon.all_synonyms(lemma) if word in self.position)
            head = lemma.rsplit(" ", 1)[-1]
            positions.update(self._by_head.get(head, ()))
            positions.update(self.position[word] for word in self._endings(head) if word in self.position)
            if lemma in self.position:
                positions.add(self.position[lemma])
            found = self._related[lemma] = frozenset(positions)
        return found

    def _endings(self, word: str) -> list[str]:
        """The nouns that a closed compound ends with: a sailboat is a boat, although WordNet puts it elsewhere."""
        cuts = range(3, len(word) - 2)
        return [word[at:] for at in cuts if self.lexicon.lists(word[at:]) and self.lexicon.lists(word[:at])]

    def may_be(self, one: str, other: str) -> bool:
        """Whether something that a caption calls `one` may also be called `other`: a car is a vehicle, a girl one of the people."""
        lexicon = self.lexicon
        if lexicon.synonyms(one, other) or lexicon.hypernym(other, one) or other in self._endings(one):
            return True
        return lexicon.lexname(one) == "noun.person" and may_be(one, other)

    def candidates(self, lemma: str) -> Candidates:
        """The nearest objects of the same class by taxonomy and frequency."""
        found = self._candidates.get(lemma)
        if found is None:
            found = self._candidates[lemma] = self._nearest(lemma)
        return found

    def _nearest(self, lemma: str) -> Candidates:
        lexicon = self.lexicon
        steps: dict[int, int] = {}
        broad = self.broad(lemma)
        for sense in lexicon.common(lemma, "n")[:1]:
            chain = lexicon.ancestors(sense)
            deepest = max(chain.values())
            for key, up in sorted(chain.items(), key=lambda item: (item[1], item[0])):
                if deepest - up < _CLASS_DEPTH.get(broad.partition("/")[0], 3):
                    continue
                for down, position in self._under.get(key, ()):
                    if self.lexnames[position] == broad:
                        steps[position] = min(steps.get(position, 99), up + down)
        if generic(lemma):
            steps.update(
                {
                    position: 8
                    for position, name in enumerate(self.names)
                    if self.usable[position] and self.lexnames[position] == "noun.animal"
                }
            )
        own = self.position.get(lemma)
        if own is not None:
            steps.pop(own, None)
        head = lemma.rsplit(" ", 1)[-1]
        if broad == "noun.person":
            steps = {at: step for at, step in steps.items() if not incompatible(head, self.names[at].rsplit(" ", 1)[-1])}
        count = float(self.log_count[own]) if own is not None else float(np.median(self.log_count))
        scored = sorted((-0.25 * step - 0.3 * abs(float(self.log_count[at]) - count), at) for at, step in steps.items())
        scored = scored[::-1][: self._reach]
        positions = np.array([position for _, position in scored], dtype=np.int64)
        closeness = np.array([score for score, _ in scored], dtype=np.float32)
        apart = np.array([steps[int(position)] for position in positions], dtype=np.int64)
        return Candidates(
            positions,
            closeness,
            apart <= _CLOSE,
            apart <= _RELATED,
            [self._verdict(lemma, self.names[position]) for position in positions.tolist()],
            dict(zip(positions.tolist(), apart.tolist(), strict=True)),
        )

    def _verdict(self, lemma: str, other: str) -> int:
        lexicon = self.lexicon
        if lexicon.synonyms(other, lemma):
            return SYNONYM
        if lexicon.hypernym(other, lemma):
            return HYPERNYM
        return HYPONYM if lexicon.hypernym(lemma, other) else OK

    def presence_given(self, lemmas: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """For each object, its highest presence given any one of these, and the mean, float32 [V] each."""
        rows = sorted({self.position[lemma] for lemma in lemmas if lemma in self.position})
        if not rows:
            everywhere = self.remembered("presence", (), lambda: self.presence.mean(axis=0) if self.size else np.zeros(1, dtype=np.float32))
            return everywhere, everywhere
        chosen = self.presence[rows]
        return chosen.max(axis=0), chosen.mean(axis=0)

    def disputed(self, lemma: str, kind: str) -> float:
        """The share of images in which captions disagree about an object's attribute of this class, smoothed towards all objects'."""

        def everywhere() -> float:
            numbers = [sum(count for (_, other), count in table.items() if other == kind) for table in (self._disputed, self._described)]
            return (numbers[0] + 1) / (numbers[1] + 2)

        usual = self.remembered("disputed", kind, everywhere)
        known = self._described.get((lemma, kind), 0)
        return (self._disputed.get((lemma, kind), 0) + _SMOOTH * usual) / (known + _SMOOTH)

    def mentions(self, position: int) -> float:
        """How often the corpus mentions an object; 0 for position -1."""
        return math.exp(self.log_count[position]) if position >= 0 else 0.0

    def form(self, position: int, number: str) -> str:
        """The singular or plural form of an object."""
        key = self.names[position], number
        found = self.forms.get(key)
        if not found:
            found = self.forms[key] = plural(key[0]) if number == "plural" else key[0]
        return found


_CLASSES = frozenset({"noun.animal", "noun.artifact", "noun.food", "noun.object", "noun.person", "noun.plant", "noun.location"})


class Rows(dict[str, dict[int, int]]):
    """Counts by word and object position; `key` and `column` are the indices of the word and the object in a row."""

    def __init__(self, rows: Iterable[tuple[str, str, str, int]], position: Mapping[str, int], key: int, column: int):
        super().__init__()
        for row in rows:
            self.setdefault(str(row[key]), {})[position[str(row[column])]] = row[3]
        self._size = len(position)
        self._dense: dict[str, np.ndarray] = {}

    def logs(self, word: str) -> np.ndarray | None:
        """log(1 + count) of every object, float32 [V]; None for a word without counts. The first `_KEPT_ROWS` rows are cached."""
        found = self._dense.get(word)
        if found is None:
            row = self.get(word)
            if row is None:
                return None
            found = np.zeros(self._size, dtype=np.float32)
            found[list(row)] = log1p(np.array(list(row.values())))
            if len(self._dense) < _KEPT_ROWS:
                self._dense[word] = found
        return found


def _both(rows: Iterable[tuple[str, str, str, int]]) -> dict[tuple[str, str], int]:
    found = {}
    for first, second, _, count in rows:
        found[first, second] = found[second, first] = count
    return found
