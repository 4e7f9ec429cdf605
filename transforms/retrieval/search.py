"""Exact search: the best inner products of a query with a collection, in an order that does not depend on blocks, threads or machine.

FAISS compares in float32, whose last bits depend on the shape of a matrix product, and so may the order of nearly equal scores. Therefore
its candidates are scored again in float64 and ranked by score in millionths, then position. This arithmetic is exact: a product of two
float16 is a multiple of 2**-48, and sums of these below 2 fit the 53 bits of a float64, so no addition rounds. A vector that FAISS did not
return scores at most its last score plus the error bound of a float32 sum; the search goes deeper until that is below the cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from transforms.retrieval.collection import Collection
from transforms.retrieval.packages import faiss_module
from transforms.retrieval.settings import GPU_MOST, Device

MILLION = 1_000_000
_RESCORED = {2: 1 << 22, 4: 1 << 18}  # values of candidates' vectors held at a time, in float32: they fit in the cache
_HELD = 1 << 22  # candidates held per pass
_LENGTH = 1.01  # above the squared length of any unit vector that was rounded to float16


@dataclass(frozen=True)
class Hits:
    """The best of each of q queries: positions int64 [q, depth], scores int64 [q, depth] in millionths, best first, ties by position."""

    positions: np.ndarray
    scores: np.ndarray


@contextmanager
def search_threads(count: int) -> Iterator[None]:
    """Within the block, FAISS and numpy use this many threads, so that workers do not compete for cores."""
    faiss_module()  # its OpenMP can only be limited once it is loaded
    with threadpool_limits(count):
        yield


@contextmanager
def matrix_products() -> Iterator[None]:
    """Within the block, FAISS compares any number of queries by matrix products; by itself it does so from 128,000 numbers on.

    256 queries of 384 numbers are searched for 17 times as fast.
    """
    settings: Any = faiss_module().cvar
    before = settings.distance_compute_blas_threshold
    settings.distance_compute_blas_threshold = 1
    try:
        yield
    finally:
        settings.distance_compute_blas_threshold = before


def search(
    collection: Collection, queries: np.ndarray, depth: int, block_rows: int = 131_072, query_rows: int = 4_096, device: Device = "cpu"
) -> Hits:
    """The exact `depth` best of a collection for each query (all, if it has fewer).

    queries: float16 [q, width], of length 1. Raises ValueError when their width is not the collection's.
    """
    depth = min(depth, len(collection))
    if depth and len(queries) and queries.shape[1] != collection.width:
        raise ValueError(f"queries are {queries.shape[1]} numbers wide, the collection {collection.width}: made by different models")
    found = Hits(np.zeros((len(queries), depth), np.int64), np.zeros((len(queries), depth), np.int64))
    if not depth:
        return found
    for start in range(0, len(queries), query_rows):
        _search(collection, queries, np.arange(start, min(start + query_rows, len(queries))), found, block_rows, device)
    return found


def _search(collection: Collection, queries: np.ndarray, rows: np.ndarray, found: Hits, block_rows: int, device: Device) -> None:
    """Fills in `found` for these queries, searching deeper for those whose cut is not settled."""
    depth, margin = found.positions.shape[1], 4
    error = queries.shape[1] * 2.0**-24 * _LENGTH
    while len(rows):
        wanted = min(len(collection), depth + margin)
        step, unsettled = max(1, _HELD // wanted), []
        for some in (rows[start : start + step] for start in range(0, len(rows), step)):
            rough, positions = candidates(collection, queries[some], wanted, block_rows, device)
            scores = exact_scores(collection, queries[some], positions)
            found.positions[some], found.scores[some] = ranked(positions, scores, depth)
            unseen = np.ceil((rough[:, -1].astype(np.float64) + error) * MILLION)
            unsettled.append(some[unseen >= found.scores[some, -1]])
        rows = np.concatenate(unsettled) if wanted < len(collection) else rows[:0]
        margin *= 4


def candidates(
    collection: Collection, queries: np.ndarray, count: int, block_rows: int, device: Device = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """The best by float32 products: scores float32 [q, count], descending, and positions int64 [q, count].

    A heap keeps them across blocks.
    """
    faiss: Any = faiss_module()
    wide, heap = queries.astype(np.float32), faiss.ResultHeap(len(queries), count, keep_max=True)
    knn = partial(faiss.knn_gpu, faiss.StandardGpuResources()) if device == "cuda" and count <= GPU_MOST else faiss.knn
    with matrix_products():
        for start, block in collection.wide_blocks(block_rows):
            scores, rows = knn(wide, block, min(count, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
            if len(block) == len(collection):
                return scores, rows
            heap.add_result(scores, rows + start)
    heap.finalize()
    return heap.D, heap.I


def exact_scores(collection: Collection, queries: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Inner products of each query with the vectors at its positions [q, m], int64 [q, m], in millionths."""
    out, (depth, width) = np.empty(positions.shape, np.int64), (positions.shape[1], queries.shape[1])
    step = max(1, _RESCORED[collection.held.itemsize] // max(1, depth * width))
    wide, own, products = queries.astype(np.float64), np.empty((depth, width)), np.empty(depth)
    held = np.empty((min(step, len(queries)) * depth, width), collection.held)  # allocating memory takes longer than the arithmetic
    for start in range(0, len(queries), step):
        vectors = collection.take(positions[start : start + step].ravel(), held).reshape(-1, depth, width)
        for row, some in enumerate(vectors, start=start):
            np.copyto(own, some)
            np.rint(np.multiply(np.matmul(own, wide[row], out=products), MILLION, out=products), out=products)
            out[row] = products
    return out


def ranked(positions: np.ndarray, scores: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions (below 2^32) and scores [q, m], best first, ties by position, cut to `depth`."""
    keys = np.sort(-scores << 32 | positions, axis=1)[:, :depth]  # sorting one combined number is many times as fast as sorting by two
    return keys & 0xFFFFFFFF, -(keys >> 32)


def doubles(vectors: np.ndarray) -> np.ndarray:
    """float16 as float64, via float32, which is several times as fast."""
    return vectors.astype(np.float32).astype(np.float64)
