"""Reads FACTUAL (Li et al. 2023), Visual Genome captions with scene graphs, and compares graphs with it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from spacy.language import Language

from transforms.english.words import NUMBERS


def gold(text: str) -> tuple[set[tuple[str, ...]], set[tuple[str, ...]]]:
    """Pairs and triples of one FACTUAL graph; tuples that are not triples denote single objects and are left out."""
    pairs: set[tuple[str, ...]] = set()
    triples: set[tuple[str, ...]] = set()
    for start in text.split(")")[:-1]:
        inner = start.partition("(")[2].strip()
        parts = [re.sub(r":\d+$", "", part.strip()) for part in inner.split(" , ")]
        if len(parts) != 3:
            continue
        if parts[1] == "is":
            pairs.add((parts[0], parts[2]))
        else:
            triples.add((parts[0], re.sub(r"^p?v:", "", parts[1]), parts[2]))
    return pairs, triples


class Normaliser:
    """Lemmatises both sides the same way, word by word: verb forms in relations, noun forms elsewhere."""

    def __init__(self, nlp: Language):
        lookups = nlp.get_pipe("lemmatizer").lookups
        self._exceptions = lookups.get_table("lemma_exc")
        self._index = {pos: set(lookups.get_table("lemma_index")[pos]) for pos in ("noun", "verb")}
        self._rules = lookups.get_table("lemma_rules")

    def word(self, word: str, pos: str) -> str:
        """The lemma of a word as a noun or a verb."""
        if word in NUMBERS:
            return str(NUMBERS[word])
        if word in self._exceptions[pos]:
            return str(self._exceptions[pos][word][0])
        if word in self._index[pos]:
            return word
        for old, new in self._rules[pos]:
            stem = word[: len(word) - len(old)] + new if word.endswith(old) else ""
            if stem in self._index[pos]:
                return stem
        return word

    def __call__(self, found: Iterable[tuple[str, ...]]) -> set[tuple[str, ...]]:
        """Normalised tuples: nouns at both ends, a verb or preposition in the middle."""
        made = set()
        for parts in found:
            clean = []
            for index, part in enumerate(parts):
                pos = "verb" if len(parts) == 3 and index == 1 else "noun"
                clean.append(" ".join(self.word(word, pos) for word in part.lower().replace("-", " ").split()))
            made.add(tuple(clean))
        return made
