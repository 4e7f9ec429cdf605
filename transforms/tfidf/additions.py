"""Which captions keep their negatives when others come or go, with the same vocabulary, and how the others' lists are brought up to date.

A caption's list contains every candidate down to the k-th kept one. A text that has come or gone, or whose copies have, therefore changes
nothing for a caption to which it is less similar than that. Captions of one image guard each other, so they are made together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix, vstack
from sparse_dot_topn import sp_matmul_topn

from transforms.tfidf.captions import Captions
from transforms.tfidf.search import UNIT, millionths
from transforms.tfidf.vectors import Vectors

_MOST = 0.25  # share of changed texts above which everything is searched again


@dataclass(frozen=True, eq=False)
class Changed:
    """Texts of which a caption is new, gone, or one of an image with other bytes.

    matrix: their vectors, CSR [words, texts]. texts: their keys, uint64 [texts].
    """

    matrix: csr_matrix
    texts: np.ndarray


def changed_texts(before: Sequence[Vectors], now: Captions) -> Changed | None:
    """The changed texts; None: too many have changed to tell captions apart.

    before: the vectors of all partitions, made with the same vocabulary.
    """
    ids = pa.concat_arrays([part.pair_id for part in before])
    own = pa.concat_arrays([part.pair_id for part in now.parts])
    at = pc.index_in(own, value_set=ids).fill_null(-1).to_numpy().astype(np.int64)
    text, content = (np.concatenate([getattr(part, name) for part in before]) for name in ("text", "content"))
    same = at >= 0
    same[same] = (now.text[same] == text[at[same]]) & (now.content[same] == content[at[same]])
    gone = np.ones(len(text), bool)
    gone[at[same]] = False
    new = _first(now.text, np.flatnonzero(~same))
    lost = _first(text, np.flatnonzero(gone & ~np.isin(text, now.text[new])))
    if len(new) + len(lost) > _MOST * max(now.candidates, 1):
        return None
    starts = np.cumsum([0, *map(len, before)])
    cuts = np.searchsorted(lost, starts)
    old = [
        part.matrix[lost[low:high] - start] for part, start, low, high in zip(before, starts, cuts, cuts[1:], strict=False) if low < high
    ]
    found = vstack([now.gather(new), *old], format="csr").T.tocsr()
    found.indices, found.indptr = found.indices.astype(np.int32), found.indptr.astype(np.int32)  # as the vectors', for the product
    return Changed(found, np.concatenate([now.text[new], text[lost]]))


def _first(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The first of `rows` int64, ascending, with each key."""
    return np.sort(rows[np.unique(keys[rows], return_index=True)[1]])


def cosines_of(scores: pa.ChunkedArray) -> np.ndarray:
    """The cosines, int64 [n] in millionths, of the `scores` of TF-IDF negatives."""
    lists = pa.concat_arrays(scores.chunks) if scores.num_chunks else pa.array([], scores.type)
    return np.rint(pc.struct_field(pc.list_element(lists, 0), 1).to_numpy(zero_copy_only=False).astype(np.float64) * UNIT).astype(np.int64)


def least_scores(rewrites: pa.Table, pair_ids: pa.Array, k: int) -> np.ndarray:
    """The cosine of the last negative of each of `pair_ids`, int64 in millionths; 1 where there are fewer than k."""
    owner = pc.index_in(rewrites["pair_id"], value_set=pair_ids).fill_null(-1).to_numpy()
    known = owner >= 0
    owner, cosines = owner[known], cosines_of(rewrites["scores"])[known]
    least = np.full(len(pair_ids), UNIT + 1, np.int64)
    np.minimum.at(least, owner, cosines)
    return np.where(np.bincount(owner, minlength=len(pair_ids)) >= k, least, 1)


def near(rows: csr_matrix, changed: csr_matrix, least: np.ndarray) -> np.ndarray:
    """Which captions CSR [n, words] are at least as similar to a changed text, CSR [words, texts], as `least` int64 [n] says: bool [n]."""
    best = np.zeros(rows.shape[0])
    if changed.shape[1] and rows.shape[0]:
        found = sp_matmul_topn(rows.copy(), changed, top_n=1)  # a copy: the product wants writable arrays
        best[np.diff(found.indptr) > 0] = found.data[: found.indptr[-1]]
    return (best > 0) & (millionths(best) + 1 >= least)  # sums in another order may differ in the last bit
