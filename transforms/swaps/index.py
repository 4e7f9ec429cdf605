"""The vocabulary artefact as arrays: what may stand for what, and what is likely to be in the picture anyway."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from transforms.english.morphology import plural
from transforms.english.people import generic, incompatible
from transforms.english.wordnet import Lexicon
from transforms.graphs.vocabulary import Key
from transforms.swaps.vague import VAGUE

T = TypeVar("T")
OK, SYNONYM, HYPERNYM, HYPONYM = range(4)
_KEPT_ROWS = 3000
_ANCHORS = ("clothing", "conveyance", "room", "building", "furniture", "way")
_SMOOTH = 5.0  # images of the corpus' average that stand beside those counted
_NEXT_OF_KIN, _KIN = 5, 8  # steps up and down; next of kin need no proof that they go with the words around
# Hypernyms nearer to the root than this make no class: artifacts are too many things, so one step below "artifact".
_CLASS_DEPTH = {"noun.artifact": 5, "noun.animal": 5, "noun.person": 5, "noun.plant": 5}


@dataclass(slots=True)
class Candidates:
    """What may stand for one object: places in the vocabulary [n], closeness float32 [n], whether they
    are next of kin or further kin, bool [n] each, and each one's lexical verdict."""

    places: np.ndarray
    closeness: np.ndarray
    near: np.ndarray
    kin: np.ndarray
    verdicts: list[int]


class Index:
    """V objects in order of count; `presence[o, c]` is the share of images with o whose captions name c (float32 [V, V],
    smoothed)."""

    def __init__(self, counts: Mapping[Key, int], lexicon: Lexicon, reach: int = 80):
        self.lexicon = lexicon
        self._reach = reach
        by_kind: dict[str, list[tuple[str, str, str, int]]] = defaultdict(list)
        for (kind, first, second, third), count in counts.items():
            by_kind[kind].append((first, second, third, count))
        ranked = sorted((-count, lemma) for lemma, _, _, count in by_kind["object"])
        self.names = [lemma for _, lemma in ranked]
        self.place = {lemma: place for place, lemma in enumerate(self.names)}
        self.size = len(self.names)
        self.log_count = np.log(np.array([-count for count, _ in ranked] or [1], dtype=np.float32))
        self.presence = self._presence(by_kind)
        self._count_forms(by_kind)
        self.subject_of = Rows(by_kind["does"], self.place, 1, 0)
        self.object_of = Rows(by_kind["suffers"], self.place, 0, 1)
        self.has = Rows(by_kind["has"], self.place, 0, 1)
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
        # (object, what follows the verb) -> the relations that the corpus has so
        self.frames: dict[tuple[int, str], list[tuple[str, int]]] = defaultdict(list)
        for relation, row in self.object_of.items():
            for place, count in row.items():
                self.frames[place, relation.partition(" ")[2]].append((relation, count))
        self.attribute_count: dict[str, int] = defaultdict(int)
        for lemma, _, _, count in by_kind["attribute"]:
            self.attribute_count[lemma] += count
        self.both_do = _both(by_kind["both_do"])
        self.both_have = _both(by_kind["both_have"])
        self._taxonomy()
        self._add_kinds()
        self._by_head: dict[str, list[int]] = defaultdict(list)
        for place, name in enumerate(self.names):
            self._by_head[name.rsplit(" ", 1)[-1]].append(place)
        self._remembered: dict[tuple[str, Hashable], Any] = {}
        self._candidates: dict[str, Candidates] = {}
        self._related: dict[str, frozenset[int]] = {}

    def remembered(self, what: str, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, worked out once for a key: for answers that hang on the vocabulary alone."""
        found: T | None = self._remembered.get((what, key))
        if found is None:
            found = self._remembered[what, key] = make()
        return found

    def _presence(self, by_kind: Mapping[str, list[tuple[str, str, str, int]]]) -> np.ndarray:
        images = max(1, sum(row[3] for row in by_kind["image"]))
        seen = np.zeros(self.size, dtype=np.float32)
        for lemma, _, _, count in by_kind["seen"]:
            seen[self.place[lemma]] = count
        together = np.zeros((self.size, self.size), dtype=np.float32)
        for first, second, _, count in by_kind["together"]:
            one, other = self.place[first], self.place[second]
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
            shares[self.place[lemma], ("a", "bare", "other").index(kind)] = count
        self.determiners = (shares + 0.1) / (shares.sum(axis=1, keepdims=True) + 0.3)
        self.relation_forms: dict[tuple[str, str], tuple[int, str]] = {}
        for lemma, tag, form, count in by_kind["relation_form"]:
            self.relation_forms[lemma, tag] = max(self.relation_forms.get((lemma, tag), (0, "")), (count, form))

    def _taxonomy(self) -> None:
        """Which objects have a synset, and which lie below it."""
        lexicon = self.lexicon
        self._having: dict[str, list[int]] = defaultdict(list)
        self._below: dict[str, list[int]] = defaultdict(list)
        self._under: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self.usable = np.zeros(max(1, self.size), dtype=bool)
        self._anchors = [lexicon.senses(word)[0] for word in _ANCHORS if lexicon.senses(word)]
        self.lexnames = [self.broad(name) for name in self.names]
        for place, name in enumerate(self.names):
            common = lexicon.common(name, "n")
            for key in common:
                self._having[key].append(place)
            for key in {above for sense in common for above in lexicon.ancestors(sense)}:
                self._below[key].append(place)
            if (
                common
                and self.lexnames[place].partition("/")[0] in _CLASSES
                and name not in VAGUE
                and name.rsplit(" ", 1)[-1] not in VAGUE
            ):
                self.usable[place] = True
                for key, distance in lexicon.ancestors(common[0]).items():
                    self._under[key].append((distance, place))

    def _add_kinds(self) -> None:
        """Adds to each object's presence that of its kinds: where there is a bowl, there is a container."""
        having: dict[str, list[int]] = defaultdict(list)
        for place, name in enumerate(self.names):
            for key in self.lexicon.senses(name)[:2]:
                having[key].append(place)
        kinds: dict[int, set[int]] = defaultdict(set)
        for place, name in enumerate(self.names):
            for sense in self.lexicon.senses(name)[:1]:
                for key in self.lexicon.ancestors(sense):
                    for above in having.get(key, ()):
                        kinds[above].add(place)
        alone = self.presence.copy()
        for above, places in sorted(kinds.items()):
            listed = sorted(places | {above})
            if len(listed) > 1:
                self.presence[:, above] = np.minimum(1.0, alone[:, listed].sum(axis=1))

    def broad(self, lemma: str) -> str:
        """The broad class of an object: WordNet's, artifacts told apart further (clothing is worn, vehicles are ridden)."""
        lexicon = self.lexicon
        name = lexicon.lexname(lemma)
        if name == "noun.artifact":
            above = lexicon.ancestors(lexicon.common(lemma, "n")[0])
            return name + next(("/" + anchor for anchor in self._anchors if anchor in above), "")
        return name

    def related(self, lemma: str) -> frozenset[int]:
        """Objects that name, or may name, what `lemma` names: synonyms, hypernyms, hyponyms."""
        found = self._related.get(lemma)
        if found is None:
            lexicon = self.lexicon
            common = lexicon.common(lemma, "n")
            places = {place for key in common for above in lexicon.ancestors(key) for place in self._having.get(above, ())}
            places.update(place for key in common for place in self._below.get(key, ()))
            places.update(self.place[word] for word in lexicon.all_synonyms(lemma) if word in self.place)
            places.update(self._by_head.get(lemma.rsplit(" ", 1)[-1], ()))
            if lemma in self.place:
                places.add(self.place[lemma])
            found = self._related[lemma] = frozenset(places)
        return found

    def candidates(self, lemma: str) -> Candidates:
        """The nearest objects of the same class, near the ones that taxonomy and frequency make alike."""
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
                for down, place in self._under.get(key, ()):
                    if self.lexnames[place] == broad:
                        steps[place] = min(steps.get(place, 99), up + down)
        if generic(lemma):
            steps.update(
                {
                    place: 8
                    for place, name in enumerate(self.names)
                    if self.usable[place] and self.lexnames[place] == "noun.animal"
                }
            )
        own = self.place.get(lemma)
        if own is not None:
            steps.pop(own, None)
        head = lemma.rsplit(" ", 1)[-1]
        if broad == "noun.person":
            steps = {place: step for place, step in steps.items() if not incompatible(head, self.names[place].rsplit(" ", 1)[-1])}
        count = float(self.log_count[own]) if own is not None else float(np.median(self.log_count))
        scored = sorted((-0.25 * step - 0.3 * abs(float(self.log_count[place]) - count), place) for place, step in steps.items())
        scored = scored[::-1][: self._reach]
        places = np.array([place for _, place in scored], dtype=np.int64)
        closeness = np.array([score for score, _ in scored], dtype=np.float32)
        apart = np.array([steps[int(place)] for place in places], dtype=np.int64)
        return Candidates(
            places,
            closeness,
            apart <= _NEXT_OF_KIN,
            apart <= _KIN,
            [self._verdict(lemma, self.names[place]) for place in places.tolist()],
        )

    def _verdict(self, lemma: str, other: str) -> int:
        lexicon = self.lexicon
        if lexicon.synonyms(other, lemma):
            return SYNONYM
        if lexicon.hypernym(other, lemma):
            return HYPERNYM
        return HYPONYM if lexicon.hypernym(lemma, other) else OK

    def presence_given(self, lemmas: Iterable[str]) -> np.ndarray:
        """For each object the highest share with which it is seen beside one of these, float32 [V]."""
        rows = sorted({self.place[lemma] for lemma in lemmas if lemma in self.place})
        if not rows:
            return self.presence.mean(axis=0) if self.size else np.zeros(1, dtype=np.float32)
        return self.presence[rows].max(axis=0)

    def mentions(self, place: int) -> float:
        """How often the corpus names an object; 0 for place -1."""
        return float(np.exp(self.log_count[place])) if place >= 0 else 0.0

    def form(self, place: int, number: str) -> str:
        """How an object is written in the singular or plural."""
        key = self.names[place], number
        found = self.forms.get(key)
        if not found:
            found = self.forms[key] = plural(key[0]) if number == "plural" else key[0]
        return found


_CLASSES = frozenset({"noun.animal", "noun.artifact", "noun.food", "noun.object", "noun.person", "noun.plant", "noun.location"})


class Rows(dict[str, dict[int, int]]):
    """Counts by word and place of an object: `key` and `column` tell which of a row's words is which."""

    def __init__(self, rows: Iterable[tuple[str, str, str, int]], place: Mapping[str, int], key: int, column: int):
        super().__init__()
        for row in rows:
            self.setdefault(str(row[key]), {})[place[str(row[column])]] = row[3]
        self._size = len(place)
        self._dense: dict[str, np.ndarray] = {}

    def logs(self, word: str) -> np.ndarray | None:
        """log(1 + count) of every object, float32 [V]; None for a word without counts. The commonest rows are kept."""
        found = self._dense.get(word)
        if found is None:
            row = self.get(word)
            if row is None:
                return None
            found = np.zeros(self._size, dtype=np.float32)
            found[list(row)] = np.log1p(np.array(list(row.values()), dtype=np.float32))
            if len(self._dense) < _KEPT_ROWS:
                self._dense[word] = found
        return found


def _both(rows: Iterable[tuple[str, str, str, int]]) -> dict[tuple[str, str], int]:
    found = {}
    for first, second, _, count in rows:
        found[first, second] = found[second, first] = count
    return found
