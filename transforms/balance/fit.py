"""How well the words that a swap inserts and removes fit the rest of their caption, as features whose flows can be balanced.

A word inserted at random fits its scene less well than the original, which a language model notices even if every word is in balance. For
each inserted or removed word and each other word of the caption, the number of images whose captions have both is compared with the number
expected if the two were independent. Their ratio, as a power of two, is a feature.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from transforms.balance.ngrams import TextPair

_WORD = re.compile(r"\w+")
_WORDS = 3000  # the most frequent words that are in at most this share of the images
_COMMON = 0.3
_LEAST, _BINS = -4, 14  # the lowest power of two, and the number of features; the first is for pairs that are never together


class Fit:
    """Co-occurrence of words in the captions of images."""

    def __init__(self, captions: Sequence[str], images: Sequence[str]):
        words: dict[str, set[str]] = {}
        for caption, image in zip(captions, images, strict=True):
            words.setdefault(image, set()).update(_WORD.findall(caption.lower()))
        self._images = len(words)
        seen = Counter(word for own in words.values() for word in own)
        usable = sorted((-count, word) for word, count in seen.items() if count <= _COMMON * len(words))[:_WORDS]
        self._number = {word: at for at, (_, word) in enumerate(usable)}
        numbers = [[self._number[word] for word in own if word in self._number] for own in words.values()]
        ends = np.cumsum([0, *map(len, numbers)])
        flat = np.array([number for own in numbers for number in own], dtype=np.int32)
        named = sp.csr_matrix((np.ones(len(flat), np.float32), flat, ends), shape=(len(words), len(usable)))
        self._together = (named.T @ named).toarray()  # whole numbers
        self._count = np.array([-count for count, _ in usable], dtype=np.float64)

    def differences(self, pairs: Sequence[TextPair]) -> sp.csr_matrix:
        """The features of the false texts minus those of the true ones, float64 with whole values [n, 14]."""
        rows: list[int] = []
        words: list[int] = []
        others: list[int] = []
        signs: list[int] = []
        for row, pair in enumerate(pairs):
            true, false = self._words(pair.true), self._words(pair.false)
            shared = true & false
            for sign, own in ((-1, true - shared), (1, false - shared)):
                for word in own:
                    words += [word] * len(shared)
                    others += shared
                    rows += [row] * len(shared)
                    signs += [sign] * len(shared)
        one, other, taken = np.array(words, dtype=np.int64), np.array(others, dtype=np.int64), np.array(signs, dtype=np.float64)
        together = self._together[one, other] - (taken < 0)  # the caption's own image does not count
        ratio = together * self._images / (self._count[one] * self._count[other])
        bins = np.where(ratio > 0, np.clip(np.frexp(ratio)[1] - _LEAST, 1, _BINS - 1), 0)
        return sp.coo_matrix((taken, (np.array(rows, dtype=np.int64), bins)), shape=(len(pairs), _BINS)).tocsr()

    def _words(self, text: str) -> set[int]:
        return {self._number[word] for word in _WORD.findall(text.lower()) if word in self._number}
