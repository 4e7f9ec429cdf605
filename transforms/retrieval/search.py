"""Exact search: the best inner products of a query with a collection, in one order, whatever the blocks, the threads and the machine.

FAISS compares in float32, whose last bits differ with the shape of a matrix product, and so may the order of near equals. Therefore its
candidates are scored again in float64 and ranked by score in millionths, then position. That is exact arithmetic: a product of two
float16 is a multiple of 2**-48, and sums of these below 2 fit the 53 bits of a float64, so no addition rounds. What FAISS did not bring
scores at most its last score plus the error bound of a float32 sum; the search goes deeper until that lies below the cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from transforms.retrieval.collection import Collection
from transforms.retrieval.packages import faiss_module

MILLION = 1_000_000
_RESCORED = 1 << 18  # numbers that rescoring holds at a time: they stay in the cache
_HELD = 1 << 22  # candidates that a pass holds
_LENGTH = 1.01  # above the squared length of any unit vector that was rounded to float16


@dataclass(frozen=True)
class Hits:
    """The best of each of q queries: positions int64 [q, depth], scores int64 [q, depth] in millionths, best first, ties by position."""

    positions: np.ndarray
    scores: np.ndarray


@contextmanager
def search_threads(count: int) -> Iterator[None]:
    """FAISS and numpy use this many threads within the block, so that workers do not fight over cores."""
    faiss_module()  # its OpenMP is held back only once it is loaded
    with threadpool_limits(count):
        yield


def search(collection: Collection, queries: np.ndarray, depth: int, block_rows: int = 16_384, query_rows: int = 2_048) -> Hits:
    """The `depth` best of a collection (all, where it has fewer) for each query, exactly.

    queries: float16 [q, width], of length 1. Raises ValueError when their width is not the collection's.
    """
    depth = min(depth, len(collection))
    if depth and len(queries) and queries.shape[1] != collection.width:
        raise ValueError(f"queries are {queries.shape[1]} numbers wide, the collection {collection.width}: made by different models")
    found = Hits(np.zeros((len(queries), depth), np.int64), np.zeros((len(queries), depth), np.int64))
    if not depth:
        return found
    for start in range(0, len(queries), query_rows):
        _search(collection, queries, np.arange(start, min(start + query_rows, len(queries))), found, block_rows)
    return found


def _search(collection: Collection, queries: np.ndarray, rows: np.ndarray, found: Hits, block_rows: int) -> None:
    """Fills in `found` for these queries, looking deeper for those whose cut is not settled."""
    depth, margin = found.positions.shape[1], 8
    error = queries.shape[1] * 2.0**-24 * _LENGTH
    while len(rows):
        wanted = min(len(collection), depth + margin)
        step, unsettled = max(1, _HELD // wanted), []
        for some in (rows[start : start + step] for start in range(0, len(rows), step)):
            rough, positions = _candidates(collection, queries[some], wanted, block_rows)
            scores = exact_scores(collection, queries[some], positions)
            order = np.lexsort((positions, -scores), axis=1)[:, :depth]
            found.positions[some] = np.take_along_axis(positions, order, 1)
            found.scores[some] = cut = np.take_along_axis(scores, order, 1)
            unseen = np.ceil((rough[:, -1].astype(np.float64) + error) * MILLION)
            unsettled.append(some[unseen >= cut[:, -1]])
        rows = np.concatenate(unsettled) if wanted < len(collection) else rows[:0]
        margin *= 4


def _candidates(collection: Collection, queries: np.ndarray, count: int, block_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The best by FAISS: scores float32 [q, count], descending, and positions int64 [q, count]. A heap keeps them from block to block."""
    faiss: Any = faiss_module()
    heap = faiss.ResultHeap(len(queries), count, keep_max=True)
    wide = queries.astype(np.float32)
    for start, block in collection.blocks(block_rows):
        scores, rows = faiss.knn(wide, block.astype(np.float32), min(count, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        heap.add_result(scores, rows + start)
    heap.finalize()
    return heap.D, heap.I


def exact_scores(collection: Collection, queries: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Inner products of each query with the vectors at its positions [q, m], int64 [q, m], in millionths."""
    out = np.empty(positions.shape, np.int64)
    step = max(1, _RESCORED // max(1, positions.shape[1] * queries.shape[1]))
    for start in range(0, len(queries), step):
        own = positions[start : start + step]
        vectors = doubles(collection.take(own.ravel())).reshape(*own.shape, -1)
        products = np.matmul(vectors, doubles(queries[start : start + step])[:, :, None])[:, :, 0]
        out[start : start + step] = np.rint(products * MILLION)
    return out


def doubles(vectors: np.ndarray) -> np.ndarray:
    """float16 as float64, by way of float32, which is several times as fast."""
    return vectors.astype(np.float32).astype(np.float64)
