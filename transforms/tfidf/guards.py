"""Which candidates may not be called negatives, and why.

A candidate gets the first reason that applies, in the order of `GUARD_ORDER`. Scores are cosines in millionths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from schemas.rejects import Reason, reason_position
from transforms.tfidf.captions import Captions
from transforms.tfidf.pairwise import pair_cosines
from transforms.tfidf.search import PADDING, UNIT, Hits, millionths, ranks_of, scores_of
from transforms.tfidf.settings import TfidfSettings

GUARD_ORDER = (Reason.SAME_IMAGE, Reason.COPY_OF_IMAGE, Reason.SAME_TEXT, Reason.NEAR_TEXT, Reason.ABOVE_CEILING,
               Reason.INSIDE_MARGIN)
KEPT, ABSENT = np.int8(-1), np.int8(-2)
_BUCKETS = np.uint64(20)  # bits of the table that tells most candidates apart from the nearly same texts


@dataclass(frozen=True)
class Queries:
    """q captions, those of an image next to each other and all of them here.

    numbers: int64 [q] in the corpus. group: int64 [q], 0 .. images - 1, ascending. own: int64 [q], the greatest similarity to
    another caption of the image, -1 where there is none. limit: int64 [q], the greatest similarity that a negative may have.
    """

    numbers: np.ndarray
    group: np.ndarray
    own: np.ndarray
    limit: np.ndarray

    def take(self, chosen: np.ndarray) -> Queries:
        """The queries where `chosen` bool [q] holds; whole images must be chosen."""
        _, group = np.unique(self.group[chosen], return_inverse=True)
        return Queries(self.numbers[chosen], group, self.own[chosen], self.limit[chosen])


@dataclass(frozen=True)
class Verdicts:
    """What the guards say of the candidates of q captions.

    candidate: int32 [q, width], caption numbers. score: int32 [q, width]. verdict: int8 [q, width], `KEPT`, the position of a
    reason in `schemas.rejects.REASONS`, or `ABSENT`: padding, behind the k-th kept candidate, or not above the floor. settled:
    bool [q], whether looking deeper would change nothing.
    """

    candidate: np.ndarray
    score: np.ndarray
    verdict: np.ndarray
    settled: np.ndarray


def make_queries(corpus: Captions, rows: csr_matrix, numbers: np.ndarray, settings: TfidfSettings) -> Queries:
    """The queries of captions `numbers` int64 [q] with vectors `rows` CSR [q, words]; captions of an image stand together."""
    image = corpus.image[numbers]
    group = np.cumsum(np.concatenate([[0], image[1:] != image[:-1]])) if len(image) else np.zeros(0, np.int64)
    own = own_similarity(rows, group)
    margin = millionths(np.maximum(settings.margin_floor, (1.0 - settings.margin) * (own / UNIT)))
    ceiling = millionths(settings.ceiling)
    return Queries(numbers, group, own, np.where(own >= 0, np.minimum(margin, ceiling), ceiling))


def own_similarity(rows: csr_matrix, group: np.ndarray) -> np.ndarray:
    """The greatest cosine, int64 [q] in millionths, of each row to another row of its group; -1 for a row alone in its group."""
    own = np.full(len(group), -1, np.int64)
    if not len(group):
        return own
    size = np.bincount(group)
    first = (np.cumsum(size) - size)[group]
    size, place = size[group], np.arange(len(group)) - first
    for step in range(1, int(size.max())):
        here = np.flatnonzero(size > step)
        other = first[here] + (place[here] + step) % size[here]
        own[here] = np.maximum(own[here], millionths(pair_cosines(rows, here, rows, other)))
    return own


def judge(corpus: Captions, queries: Queries, hits: Hits, settings: TfidfSettings) -> Verdicts:
    """Applies the guards to `hits`, and keeps the k first candidates of each caption that none of them refuses."""
    score = scores_of(hits.keys).astype(np.int32)
    present = (hits.keys != PADDING) & (score > np.maximum(hits.floor, 0)[:, None])
    candidate = corpus.by_rank[ranks_of(hits.keys)]
    present &= candidate != queries.numbers[:, None]
    verdict = np.where(present, KEPT, ABSENT)
    # The later the reason, the earlier it is written: the first that applies stays.
    _write(verdict, present & (score > queries.limit[:, None]) & (queries.own >= 0)[:, None], Reason.INSIDE_MARGIN)
    _write(verdict, present & (score > millionths(settings.ceiling)), Reason.ABOVE_CEILING)
    row, place = np.nonzero(present & (corpus.content[candidate] == corpus.content[queries.numbers][:, None]))
    same = corpus.image[candidate[row, place]] == corpus.image[queries.numbers][row]
    _near_texts(corpus, queries, candidate, score, verdict, present, settings)
    verdict[row, place] = np.where(same, reason_position(Reason.SAME_IMAGE), reason_position(Reason.COPY_OF_IMAGE))
    kept = verdict == KEPT
    count = np.cumsum(kept, axis=1, dtype=np.int32)
    verdict[count - kept >= settings.k] = ABSENT
    enough = count[:, -1] >= settings.k if count.shape[1] else np.zeros(len(count), bool)
    # A caption's own list must also reach down to `near_text`, for the sake of the other captions of its image.
    deep = hits.complete | (hits.floor < millionths(settings.near_text))
    return Verdicts(candidate, score, verdict, (enough | hits.complete) & deep)


def _write(verdict: np.ndarray, where: np.ndarray, reason: Reason) -> None:
    verdict[where] = reason_position(reason)


def _near_texts(corpus: Captions, queries: Queries, candidate: np.ndarray, score: np.ndarray, verdict: np.ndarray,
                present: np.ndarray, settings: TfidfSettings) -> None:
    """Marks candidates that are nearly the same text as a caption of the image, and those that are the same."""
    row, place = np.nonzero(present & (score >= millionths(settings.near_text)))
    foreign = corpus.content[candidate[row, place]] != corpus.content[queries.numbers][row]
    row, place = row[foreign], place[foreign]
    if not len(row):
        return
    near = _pack(queries.group[row], candidate[row, place])
    # Nearly all candidates are told apart by a small table of hashes; the few that are left are looked up for certain.
    table = np.zeros(1 << int(_BUCKETS), bool)
    table[_bucket(near)] = True
    packed = _pack(queries.group[:, None], candidate)
    row, place = np.nonzero(table[_bucket(packed)] & present)
    found = np.isin(packed[row, place], near)
    row, place = row[found], place[found]
    equal = np.zeros(len(row), bool)
    size = np.bincount(queries.group)
    first = np.cumsum(size) - size
    text = corpus.text[candidate[row, place]]
    group = queries.group[row]
    for step in range(int(size.max())):
        here = np.flatnonzero(size[group] > step)
        equal[here] |= text[here] == corpus.text[queries.numbers[first[group[here]] + step]]
    verdict[row, place] = np.where(equal, reason_position(Reason.SAME_TEXT), reason_position(Reason.NEAR_TEXT))


def _pack(group: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    return (group.astype(np.uint64) << np.uint64(32)) | candidate.astype(np.uint64)


def _bucket(packed: np.ndarray) -> np.ndarray:
    return (packed * np.uint64(0x9E3779B97F4A7C15)) >> (np.uint64(64) - _BUCKETS)
