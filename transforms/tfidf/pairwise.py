"""Cosines of given pairs of captions, from their full vectors."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

# Work is done in blocks. Left rows are held dense, over their own words only, to stay in the CPU cache.
_LEFT_ROWS = 256
_PAIRS = 32_768


def pair_cosines(left: csr_matrix, left_rows: np.ndarray, right: csr_matrix, right_rows: np.ndarray) -> np.ndarray:
    """The inner products float64 [pairs] of rows `left_rows` (ascending) of `left` with rows `right_rows` of `right`.

    Both CSR [.., words] with ascending columns. Sums run in column order, so a pair's result is bit-identical to that of a
    product with the inverted matrix.
    """
    out = np.empty(len(left_rows))
    slot = np.zeros(left.shape[1], np.int32)
    start = 0
    while start < len(left_rows):
        base = int(left_rows[start])
        stop = int(np.searchsorted(left_rows, base + _LEFT_ROWS))
        stop = min(stop, start + _PAIRS)
        top = int(left_rows[stop - 1]) + 1
        low, high = int(left.indptr[base]), int(left.indptr[top])
        words = np.unique(left.indices[low:high])
        slot[words] = np.arange(1, len(words) + 1)  # column 0 collects the words that no left row contains
        dense = np.zeros((top - base, len(words) + 1))
        owners = np.repeat(np.arange(top - base), np.diff(left.indptr[base : top + 1]))
        dense[owners, slot[left.indices[low:high]]] = left.data[low:high]
        chosen = right[right_rows[start:stop]]
        shift = (left_rows[start:stop] - base) * dense.shape[1]
        columns = slot[chosen.indices] + np.repeat(shift, np.diff(chosen.indptr)).astype(np.int32)
        flat = csr_matrix((stop - start, dense.size), dtype=np.float64)
        flat.data, flat.indices, flat.indptr = chosen.data, columns, chosen.indptr
        out[start:stop] = flat @ dense.ravel()
        slot[words] = 0
        start = stop
    return out
