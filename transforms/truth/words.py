"""The words of a corpus's scene graphs as numbers, and words for things with the same, a broader or a narrower meaning."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property

import numpy as np
import pyarrow as pa

from transforms.english.people import female, generic, male
from transforms.english.wordnet import lexicon
from transforms.swaps.contrasts import contrasting_attributes

ABSENT, NARROWER, BROADER, SAME = range(4)
_PERSON = "person"


class Words:
    """Distinct words, numbered in order of arrival: objects, attributes and relations share the numbers.

    Everything else is computed on demand and cached: from an object's word to the words of its kin, and their grades.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._number: dict[str, int] = {}
        self._kin: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._attributes: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        """The number of words."""
        return len(self.names)

    def number(self, name: str) -> int:
        """The number of a word, which is added if it is new (only possible before the first call of `kin`)."""
        found = self._number.get(name)
        if found is None:
            found = self._number[name] = len(self.names)
            self.names.append(name)
        return found

    def numbers(self, column: pa.Array) -> np.ndarray:
        """The numbers int64 [n] of a string column."""
        coded = column.dictionary_encode() if not pa.types.is_dictionary(column.type) else column
        known = np.array([self.number(name) for name in coded.dictionary.to_pylist()], np.int64)
        return known[coded.indices.to_numpy()] if len(known) else np.zeros(0, np.int64)

    def known(self, names: Iterable[str]) -> list[int]:
        """The numbers of those of `names` that occur, ascending."""
        return sorted(self._number[name] for name in names if name in self._number)

    @cached_property
    def _senses(self) -> tuple[dict[str, list[int]], dict[str, list[int]], dict[str, list[int]]]:
        """Words by a frequent sense, by an ancestor of the first sense, and by the last word of a compound."""
        having, below, heads = defaultdict(list), defaultdict(list), defaultdict(list)
        for number, name in enumerate(self.names):
            senses = lexicon().senses(name)
            for key in senses[:2]:
                having[key].append(number)
            for key in lexicon().ancestors(senses[0]) if senses else ():
                below[key].append(number)
            if " " in name:
                heads[name.rsplit(" ", 1)[1]].append(number)
        return having, below, heads

    def kin(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The words that a mention of this one supports, int64 [m], and how well, uint8 [m].

        `SAME`: the word itself and its synonyms; `BROADER`: its hypernyms, which are true of it; `NARROWER`: its hyponyms, which
        may be.
        """
        found = self._kin.get(number)
        if found is None:
            name, words = self.names[number], lexicon()
            having, below, heads = self._senses
            senses = words.senses(name)
            grades: dict[int, int] = {}
            for key in senses[:2]:
                grades.update(dict.fromkeys(below.get(key, ()), NARROWER))
            grades.update(dict.fromkeys(heads.get(name, ()), NARROWER))
            for key in words.ancestors(senses[0]) if senses else ():
                grades.update(dict.fromkeys(having.get(key, ()), BROADER))
            grades.update(dict.fromkeys(self.known([name.rsplit(" ", 1)[-1]]), BROADER))
            grades.update(dict.fromkeys(self.known(words.all_synonyms(name)), SAME))
            grades[number] = SAME
            found = self._kin[number] = np.array(list(grades), np.int64), np.array(list(grades.values()), np.uint8)
        return found

    def shades(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The attributes that mean the same as this one, and those that exclude it, int64 [.] each."""
        found = self._attributes.get(number)
        if found is None:
            name = self.names[number]
            same = self.known({name, *lexicon().all_synonyms(name, "a")})
            other = set(self.known(contrasting_attributes(name))) - set(same)
            found = self._attributes[number] = np.array(same, np.int64), np.array(sorted(other), np.int64)
        return found

    @cached_property
    def canonical(self) -> np.ndarray:
        """For each word, one that stands for it in attributes and relations, int64 [words]: people of one sex are the same."""
        first: dict[str, int] = {}
        found = np.arange(len(self.names))
        for number, name in enumerate(self.names):
            head = name.rsplit(" ", 1)[-1]
            senses = lexicon().senses(head)
            key = senses[0] if senses else head
            if male(head) or female(head):
                key = "male" if male(head) else "female"
            elif generic(head) or lexicon().lexname(head) == "noun.person":
                key = _PERSON
            found[number] = first.setdefault(key, number)
        return found

    def detectable(self, labels: Iterable[str]) -> np.ndarray:
        """Whether a detector with these labels could find an object: its word is a label or a kind of it; bool [words]."""
        found = np.zeros(len(self.names), bool)
        for label in sorted(set(labels)):
            numbers, grades = self.kin(self._number[label])
            found[numbers[(grades == SAME) | (grades == NARROWER)]] = True
        return found
