"""Cosines of given pairs of captions, by their full vectors."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

# What is worked on at a time. Left rows are held dense, over their own words only, so that they stay in the processor's cache.
_LEFT_ROWS = 256
_PAIRS = 32_768


def pair_cosines(left: csr_matrix, left_rows: np.ndarray, right: csr_matrix, right_rows: np.ndarray) -> np.ndarray:
    """The inner products float64 [pairs] of rows `left_rows` (ascending) of `left` with rows `right_rows` of `right`.

    Both CSR [.., words] with ascending columns; the sum runs in the order of the columns, so a pair has the same bits here and in
    a product with the inverted matrix.
    """
    out = np.empty(len(left_rows))
    place = np.zeros(left.shape[1], np.int32)
    start = 0
    while start < len(left_rows):
        base = int(left_rows[start])
        stop = int(np.searchsorted(left_rows, base + _LEFT_ROWS))
        stop = min(stop, start + _PAIRS)
        top = int(left_rows[stop - 1]) + 1
        low, high = int(left.indptr[base]), int(left.indptr[top])
        words = np.unique(left.indices[low:high])
        place[words] = np.arange(1, len(words) + 1)  # column 0 takes the words that no left row holds
        dense = np.zeros((top - base, len(words) + 1))
        owners = np.repeat(np.arange(top - base), np.diff(left.indptr[base:top + 1]))
        dense[owners, place[left.indices[low:high]]] = left.data[low:high]
        chosen = right[right_rows[start:stop]]
        shift = (left_rows[start:stop] - base) * dense.shape[1]
        columns = place[chosen.indices] + np.repeat(shift, np.diff(chosen.indptr)).astype(np.int32)
        flat = csr_matrix((stop - start, dense.size), dtype=np.float64)
        flat.data, flat.indices, flat.indptr = chosen.data, columns, chosen.indptr
        out[start:stop] = flat @ dense.ravel()
        place[words] = 0
        start = stop
    return out
