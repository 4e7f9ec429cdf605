"""Exact top-k by blocked sparse products, with ties broken by pair id.

A candidate is one number: 1,000,000 minus its cosine in millionths in the high half, the rank of its pair id in the low half.
Ascending key order is the required order (descending similarity, then ascending id), and sorting keys is sorting plain integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from sparse_dot_topn import sp_matmul_topn

from transforms.tfidf.captions import Captions

UNIT = 1_000_000  # cosines are compared in millionths
PADDING = np.uint64(0xFFFFFFFFFFFFFFFF)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_GROUP_ROWS = 256  # rows of one product: they share a threshold
_SMALL = 8_192  # corpora smaller than this are searched without estimating thresholds


@dataclass(frozen=True)
class Hits:
    """The candidates of q captions.

    keys: uint64 [q, width], each row ascending, padded with `PADDING`. floor: int64 [q], in millionths: every caption above it is
    among the candidates, those at or below it may be missing. complete: bool [q], whether there are no further candidates.
    """

    keys: np.ndarray
    floor: np.ndarray
    complete: np.ndarray


def millionths(cosines: np.ndarray | float) -> np.ndarray:
    """Cosines rounded to millionths, int64, at most 1,000,000."""
    return np.minimum(np.rint(cosines * UNIT), UNIT).astype(np.int64)


def make_keys(cosines: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Keys uint64 [n] of candidates from their cosines float64 [n] and pair-id ranks [n]."""
    return ((UNIT - millionths(cosines)).astype(np.uint64) << _HALF) | ranks.astype(np.uint64)


def scores_of(keys: np.ndarray) -> np.ndarray:
    """The keys' cosines in millionths, int64; negative for padding."""
    return UNIT - (keys >> _HALF).astype(np.int64)


def ranks_of(keys: np.ndarray) -> np.ndarray:
    """The keys' pair-id ranks, int64; 0 for padding."""
    return np.where(keys == PADDING, np.uint64(0), keys & _LOW).astype(np.int64)


class ExactSearch:
    """Finds the most similar captions of a corpus, holding at most `block_rows` captions inverted at a time."""

    def __init__(self, corpus: Captions, block_rows: int):
        """Searches in `corpus`."""
        self.corpus, self.block_rows = corpus, block_rows

    def find(self, rows: csr_matrix, depth: int, certain: bool) -> Hits:
        """The `depth` best candidates of each row, CSR [q, words]; a few rows may get fewer unless `certain`.

        A top-k product spends much of its time maintaining heaps of candidates that lose later. So a sample of the corpus is used
        to estimate, for each row, a similarity that somewhat more than `depth` captions exceed, and the product drops the rest at
        once. A row with too high an estimate is returned with a high floor.
        """
        guesses = np.zeros(rows.shape[0])
        if not certain and max(_SMALL, 4 * depth) <= self.corpus.candidates:
            share, sample = self.corpus.sample(self.block_rows)
            keep = int(depth * share + 3 * np.sqrt(depth * share) + 2)
            found = sp_matmul_topn(rows, sample, top_n=keep)
            full = np.diff(found.indptr) == keep
            guesses[full] = _row_minima(found)[full]
        return self.above(rows, depth, guesses)

    def above(self, rows: csr_matrix, depth: int, thresholds: np.ndarray) -> Hits:
        """The `depth` best candidates above `thresholds` float64 [q] of each row."""
        depth = min(depth, self.corpus.candidates)
        order = np.argsort(thresholds, kind="stable")
        pending: list[np.ndarray] = []
        shuffled = rows[order]
        least = thresholds[order]  # a group's threshold is that of its first row
        for numbers, block in self.corpus.inverted(self.block_rows):
            groups = [
                sp_matmul_topn(
                    shuffled[start : start + _GROUP_ROWS], block, top_n=depth, threshold=float(least[start]) if least[start] > 0 else None
                )
                for start in range(0, len(order), _GROUP_ROWS)
            ]
            pending.append(_padded(groups, self.corpus.rank[numbers]))
            if sum(keys.shape[1] for keys in pending) > 2 * depth:
                pending = [_merged(pending, depth)]
        keys = _merged(pending, depth) if pending else np.empty((rows.shape[0], 0), np.uint64)
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        keys = keys[back]
        # The row's own threshold, not its group's: results must not depend on which rows are searched together.
        floor = millionths(thresholds)
        if keys.shape[1] == depth < self.corpus.candidates:
            floor = np.maximum(floor, scores_of(keys[:, -1]))  # padding is negative: the row was not truncated
        return Hits(keys, floor, floor <= 0)


def _row_minima(matrix: csr_matrix) -> np.ndarray:
    """The smallest stored value of each row float64 [rows], 0 for an empty row."""
    out = np.zeros(matrix.shape[0])
    filled = np.flatnonzero(np.diff(matrix.indptr))
    if len(filled):
        out[filled] = np.minimum.reduceat(matrix.data[: matrix.indptr[-1]], matrix.indptr[filled])
    return out


def _padded(groups: list[csr_matrix], ranks: np.ndarray) -> np.ndarray:
    """The keys of products of consecutive groups of rows, as a padded matrix uint64 [q, width]."""
    counts = np.concatenate([np.diff(group.indptr) for group in groups])
    out = np.full((len(counts), int(counts.max(initial=0))), PADDING)
    filled = np.arange(out.shape[1]) < counts[:, None]
    out[filled] = np.concatenate([make_keys(group.data[: group.indptr[-1]], ranks[group.indices[: group.indptr[-1]]]) for group in groups])
    return out


def _merged(pieces: list[np.ndarray], depth: int) -> np.ndarray:
    """The first `depth` keys of each row over all matrices, sorted."""
    keys = np.concatenate(pieces, axis=1) if len(pieces) > 1 else pieces[0]
    keys.sort(axis=1)
    return keys[:, :depth]
