"""Guards: refuse candidates that may not be true negatives, with a reason.

The first reason in `GUARD_ORDER` that applies is recorded. Scores are cosines in millionths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.sparse import csr_matrix

from schemas.rejects import Reason, reason_position
from transforms.tfidf.captions import Captions
from transforms.tfidf.pairwise import pair_cosines
from transforms.tfidf.search import PADDING, UNIT, Hits, millionths, ranks_of, scores_of
from transforms.tfidf.settings import TfidfSettings

GUARD_ORDER = (Reason.SAME_IMAGE, Reason.COPY_OF_IMAGE, Reason.SAME_TEXT, Reason.NEAR_TEXT, Reason.ABOVE_CEILING, Reason.INSIDE_MARGIN,
               Reason.JUDGED_TRUE)  # fmt: skip
KEPT, ABSENT = np.int8(-1), np.int8(-2)
_BUCKETS = np.uint64(20)  # bits of the hash table that rules most candidates out as near-duplicate texts


class Truth(Protocol):
    """Judges candidates: `transforms.tfidf.truth.CandidateTruth`. labels: whether the labels of regions are evidence."""

    labels: bool

    def chances(self, numbers: np.ndarray, group: np.ndarray, row: np.ndarray, candidate: np.ndarray) -> np.ndarray:
        """The probability that each of m candidates is true of the image of caption `row`, int64 [m], in millionths."""


@dataclass(frozen=True)
class Queries:
    """q captions of whole images, each image's captions adjacent.

    numbers: int64 [q], caption numbers in the corpus. group: int64 [q], the image, 0 .. images - 1, ascending. own: int64 [q], the
    greatest similarity to another caption of the image, -1 if there is none. limit: int64 [q], the greatest similarity allowed
    for a negative.
    """

    numbers: np.ndarray
    group: np.ndarray
    own: np.ndarray
    limit: np.ndarray

    def take(self, chosen: np.ndarray) -> Queries:
        """The queries for which `chosen` bool [q] is true; only whole images may be chosen."""
        _, group = np.unique(self.group[chosen], return_inverse=True)
        return Queries(self.numbers[chosen], group, self.own[chosen], self.limit[chosen])


@dataclass(frozen=True)
class Verdicts:
    """The guards' verdicts on the candidates of q captions.

    candidate: int32 [q, width], caption numbers. score: int32 [q, width]. verdict: int8 [q, width], `KEPT`, the position of a
    reason in `schemas.rejects.REASONS`, or `ABSENT`: padding, after the k-th kept candidate, or not above the floor. truth: int32
    [q, width], the judge's probability in millionths, -1: not judged. settled: bool [q], whether a deeper search could not change
    the result.
    """

    candidate: np.ndarray
    score: np.ndarray
    verdict: np.ndarray
    truth: np.ndarray
    settled: np.ndarray


def make_queries(corpus: Captions, rows: csr_matrix, numbers: np.ndarray, settings: TfidfSettings) -> Queries:
    """The queries of captions `numbers` int64 [q] with vectors `rows` CSR [q, words]; an image's captions must be adjacent."""
    image = corpus.image[numbers]
    group = np.cumsum(np.concatenate([[0], image[1:] != image[:-1]])) if len(image) else np.zeros(0, np.int64)
    own = own_similarity(rows, group)
    margin = millionths(np.maximum(settings.margin_floor, (1.0 - (settings.margin or 0.0)) * (own / UNIT)))
    ceiling = millionths(settings.ceiling)
    return Queries(numbers, group, own, np.where(own >= 0, np.minimum(margin, ceiling), ceiling))


def own_similarity(rows: csr_matrix, group: np.ndarray) -> np.ndarray:
    """The greatest cosine, int64 [q] in millionths, between each row and another row of its group; -1 for the only row of a group."""
    own = np.full(len(group), -1, np.int64)
    if not len(group):
        return own
    size = np.bincount(group)
    first = (np.cumsum(size) - size)[group]
    size, offset = size[group], np.arange(len(group)) - first
    for step in range(1, int(size.max())):
        here = np.flatnonzero(size > step)
        other = first[here] + (offset[here] + step) % size[here]
        own[here] = np.maximum(own[here], millionths(pair_cosines(rows, here, rows, other)))
    return own


def judge(corpus: Captions, queries: Queries, hits: Hits, settings: TfidfSettings, truth: Truth | None = None) -> Verdicts:
    """Applies the guards to `hits` and keeps each caption's first k candidates that neither they nor the judge (`truth`) refuse."""
    score = scores_of(hits.keys).astype(np.int32)
    present = (hits.keys != PADDING) & (score > np.maximum(hits.floor, 0)[:, None])
    candidate = corpus.by_rank[ranks_of(hits.keys)]
    present &= candidate != queries.numbers[:, None]
    verdict = np.where(present, KEPT, ABSENT)
    # Written in reverse order of precedence: the first reason that applies overwrites later ones.
    _write(
        verdict,
        present & (score > queries.limit[:, None]) & (queries.own >= 0)[:, None] & (settings.margin is not None),
        Reason.INSIDE_MARGIN,
    )
    _write(verdict, present & (score > millionths(settings.ceiling)), Reason.ABOVE_CEILING)
    row, column = np.nonzero(present & (corpus.content[candidate] == corpus.content[queries.numbers][:, None]))
    same = corpus.image[candidate[row, column]] == corpus.image[queries.numbers][row]
    _near_texts(corpus, queries, candidate, score, verdict, present, settings)
    verdict[row, column] = np.where(same, reason_position(Reason.SAME_IMAGE), reason_position(Reason.COPY_OF_IMAGE))
    chance = np.full(verdict.shape, -1, np.int32)
    if truth is not None and settings.truth is not None:
        _ask(truth, queries, candidate, verdict, chance, settings)
    kept = verdict == KEPT
    count = np.cumsum(kept, axis=1, dtype=np.int32)
    verdict[count - kept >= settings.k] = ABSENT
    enough = count[:, -1] >= settings.k if count.shape[1] else np.zeros(len(count), bool)
    # A caption's list must also reach down to `near_text`, since it guards the other captions of its image too.
    deep = hits.complete | (hits.floor < millionths(settings.near_text))
    return Verdicts(candidate, score, verdict, chance, (enough | hits.complete) & deep)


def _ask(truth: Truth, queries: Queries, candidate: np.ndarray, verdict: np.ndarray, chance: np.ndarray, settings: TfidfSettings) -> None:
    """Asks the judge about the first candidates of each caption, then about more where it has refused too many."""
    limit = np.floor(settings.likeliest(truth.labels) * UNIT)
    wanted = (verdict == KEPT) & (np.cumsum(verdict == KEPT, axis=1) <= settings.k + settings.k // 4)
    while wanted.any():
        row, column = np.nonzero(wanted)
        chance[row, column] = truth.chances(queries.numbers, queries.group, row, candidate[row, column].astype(np.int64))
        _write(verdict, wanted & (chance > limit), Reason.JUDGED_TRUE)
        short = ((verdict == KEPT) & (chance >= 0)).sum(axis=1) < settings.k
        wanted = (verdict == KEPT) & (chance < 0) & short[:, None]


def _write(verdict: np.ndarray, where: np.ndarray, reason: Reason) -> None:
    verdict[where] = reason_position(reason)


def _near_texts(
    corpus: Captions,
    queries: Queries,
    candidate: np.ndarray,
    score: np.ndarray,
    verdict: np.ndarray,
    present: np.ndarray,
    settings: TfidfSettings,
) -> None:
    """Marks candidates whose text is the same or nearly the same as a caption of the image."""
    row, column = np.nonzero(present & (score >= millionths(settings.near_text)))
    foreign = corpus.content[candidate[row, column]] != corpus.content[queries.numbers][row]
    row, column = row[foreign], column[foreign]
    if not len(row):
        return
    near = _pack(queries.group[row], candidate[row, column])
    # A small hash table rules out nearly all candidates; the few that remain are looked up exactly.
    table = np.zeros(1 << int(_BUCKETS), bool)
    table[_bucket(near)] = True
    packed = _pack(queries.group[:, None], candidate)
    row, column = np.nonzero(table[_bucket(packed)] & present)
    found = np.isin(packed[row, column], near)
    row, column = row[found], column[found]
    equal = np.zeros(len(row), bool)
    size = np.bincount(queries.group)
    first = np.cumsum(size) - size
    text = corpus.text[candidate[row, column]]
    group = queries.group[row]
    for step in range(int(size.max())):
        here = np.flatnonzero(size[group] > step)
        equal[here] |= text[here] == corpus.text[queries.numbers[first[group[here]] + step]]
    verdict[row, column] = np.where(equal, reason_position(Reason.SAME_TEXT), reason_position(Reason.NEAR_TEXT))


def _pack(group: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    return (group.astype(np.uint64) << np.uint64(32)) | candidate.astype(np.uint64)


def _bucket(packed: np.ndarray) -> np.ndarray:
    return (packed * np.uint64(0x9E3779B97F4A7C15)) >> (np.uint64(64) - _BUCKETS)
