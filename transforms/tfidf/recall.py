"""Recall of the bounded search: its share of the exact search's negatives, measured on a seeded sample of images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transforms.tfidf.captions import Captions
from transforms.tfidf.champions import mix
from transforms.tfidf.guards import KEPT
from transforms.tfidf.negatives import Found, Search, find
from transforms.tfidf.search import ExactSearch
from transforms.tfidf.settings import TfidfSettings


@dataclass(frozen=True)
class Recall:
    """Counts over sampled captions: `wanted` negatives of the exact search, of which the bounded search `found` some."""

    captions: int = 0
    wanted: int = 0
    found: int = 0

    def __add__(self, other: Recall) -> Recall:
        """The sum of the counts."""
        return Recall(self.captions + other.captions, self.wanted + other.wanted, self.found + other.found)

    @property
    def share(self) -> float:
        """found / wanted; 1 if nothing was wanted."""
        return self.found / self.wanted if self.wanted else 1.0


def sampled(image: np.ndarray, captions: int, size: int, seed: int) -> np.ndarray:
    """Which captions are sampled, bool [n]: about `size` of the corpus' `captions`, by hashing seed and image key.

    Each choice is independent of other captions and of the partitions. Images are sampled whole.
    """
    if size >= captions:
        return np.ones(len(image), bool)
    salt = mix(np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64))[0]
    return (mix(image ^ salt) >> np.uint64(11)).astype(np.float64) * 2.0**-53 < size / captions


def recall_of(corpus: Captions, part: int, settings: TfidfSettings, seed: int, bounded: Search) -> Recall:
    """The counts of one part's sampled captions; add them up over all parts."""
    first, last = corpus.span(part)
    numbers = first + np.flatnonzero(sampled(corpus.image[first:last], len(corpus), settings.recall_sample, seed))
    if not len(numbers):
        return Recall()
    exact = ExactSearch(corpus, settings.block_rows)
    wanted, found = (_kept(corpus, find(corpus, numbers, settings, search)) for search in (exact, bounded))
    return Recall(len(numbers), len(wanted), len(np.intersect1d(wanted, found, assume_unique=True)))


def _kept(corpus: Captions, found: Found) -> np.ndarray:
    """The kept (caption, candidate) pairs as single numbers int64 [m]."""
    kept = found.verdict == KEPT
    return found.query[kept].astype(np.int64) * len(corpus) + found.candidate[kept]
