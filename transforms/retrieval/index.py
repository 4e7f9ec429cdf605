"""Approximate indexes of FAISS: trained once, filled shard by shard, read by memory map, and never trusted for a score."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from transforms.retrieval.collection import WIDE, Collection
from transforms.retrieval.packages import RetrievalError, faiss_module
from transforms.retrieval.search import Hits, exact_scores, search
from transforms.retrieval.settings import ALLOWED, FACTORY, GPU_MOST, Device

EXACT = "Flat"
EXACT_TO, FINE_TO = 100_000, 2_000_000  # number of vectors up to which "auto" searches exactly, and uses SQ8
LEAST, MOST = 39, 256  # training vectors per list, as FAISS recommends
SAMPLE, TRAINED = 1 << 19, 1 << 25  # maximum number of training vectors, and their numbers, unless lists are many
_FLOPS, _ITERATIONS, _SHARE = 3e10, 10, 16  # of one core; of k-means; the part of the lists that is searched
OVERSAMPLED = 3  # candidates of the index for one that is kept


def factory_for(asked: str, count: int, width: int, device: Device = "cpu") -> str:
    """The factory string for a collection of `count` vectors of `width` numbers; a smaller index if there are too few to train on.

    GPUs cannot search the fast-scan codes that "auto" uses for large collections on a CPU; there it uses SQ8.
    """
    if asked == EXACT or count < LEAST * 4 or (asked == "auto" and count <= EXACT_TO):
        return EXACT
    if asked == "auto":
        lists = 1 << int(np.log2(4 * np.sqrt(count)))
        pieces = next(pieces for pieces in (width // 2, width) if pieces and width % pieces == 0)
        asked = f"IVF{lists},{'SQ8' if count <= FINE_TO or device == 'cuda' else f'PQ{pieces}x4fs'}"
    found = FACTORY.fullmatch(asked)
    if found is None or found[4] is None:
        raise RetrievalError(f"index {asked!r} is none of: {ALLOWED}")
    fit = min(count, SAMPLE) // LEAST
    lists = int(found[4])
    return asked if lists <= fit else asked.replace(f"IVF{lists},", f"IVF{1 << int(np.log2(fit))},")


def lists_of(factory: str) -> int:
    """The number of inverted lists of a factory string; 0 for the exact search."""
    found = FACTORY.fullmatch(factory)
    return int(found[4]) if found and found[4] else 0


@dataclass(frozen=True)
class Estimate:
    """The estimated cost of an index, or of the exact search.

    index_bytes: all shards. memory_bytes: the largest of training, filling a shard and searching, in one task. seconds: of one thread, for
    training, filling and searching all queries.
    """

    index_bytes: int
    memory_bytes: int
    seconds: int


@dataclass(frozen=True)
class Work:
    """A search: `count` vectors of `width` numbers in `shards` partitions, `queries` queries, and the number of neighbours of each."""

    count: int
    width: int
    queries: int = 0
    shards: int = 1
    depth: int = 170


def estimate(factory: str, work: Work, block_rows: int = 131_072) -> Estimate:
    """The estimated cost of a search."""
    lists, count, width = lists_of(factory), work.count, work.width
    heap = min(4_096, max(1, work.queries)) * (12 * work.depth * (OVERSAMPLED if lists else 1) + 4 * width)
    if not lists:
        block = 4 * min(count * width, block_rows * width, WIDE)
        return Estimate(0, block + heap, round(2 * work.queries * count * width / _FLOPS))
    code = {"SQ4": width // 2, "SQ6": width * 3 // 4, "SQ8": width, "SQfp16": width * 2, "Flat": width * 4, "RaBitQ": width // 8 + 8}
    last = factory.rpartition(",")[2]
    bytes_each = code.get(last, 0) or _pq_bytes(last)
    index, sampled = count * (bytes_each + 8) + lists * width * 4, sample_size(factory, count, width)
    compared = _ITERATIONS * sampled * lists + count * lists + work.queries * (lists * work.shards + count // _SHARE)
    memory = max(3 * sampled * width * 4, 2 * index // work.shards, index // work.shards + heap)
    return Estimate(index, memory, round(2 * width * compared / _FLOPS))


def what_fits(factory: str, work: Work, block_rows: int, limit: int) -> str:
    """The settings to suggest if `factory` takes more than `limit` bytes."""
    for power in range(int(np.log2(max(2, lists_of(factory)))), 1, -1):
        name = f"IVF{1 << power},SQ8"
        if estimate(name, work).memory_bytes <= limit:
            return f"{name} fits"
    for halved in range(block_rows.bit_length()):
        if estimate(EXACT, work, block_rows >> halved).memory_bytes <= limit:
            return f"{EXACT} with retrieval.block_rows at {block_rows >> halved} fits"
    return "no setting fits; shorter lists or vectors (k, depth, pca) take less"


def sample_size(factory: str, count: int, width: int) -> int:
    """The number of training vectors: 256 a list where they take at most 128 MB as float32, but at least 39."""
    lists = lists_of(factory)
    return min(count, max(LEAST * lists, min(MOST * lists, TRAINED // max(1, width))))


def _pq_bytes(name: str) -> int:
    found = re.match(r"PQ(\d+)(x4)?", name)
    return int(found[1]) // (2 if found[2] else 1) if found else 0


def train(factory: str, sample: np.ndarray) -> bytes:
    """An empty index trained on a sample, float16 [n, width], as bytes. Raises RetrievalError if FAISS cannot train it."""
    faiss: Any = faiss_module()
    sample = sample.astype(np.float32)  # the other is no longer held, unless by the caller
    try:
        with threadpool_limits(1):  # with several threads, LAPACK and sums differ in the last bits, and so would centroids
            index = faiss.index_factory(sample.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
            index.train(sample)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise RetrievalError(f"FAISS cannot train {factory!r} on {len(sample)} vectors of {sample.shape[1]} numbers: {reason}") from error
    return bytes(faiss.serialize_index(index))


def fill(trained: bytes, blocks: Iterable[np.ndarray]) -> np.ndarray:
    """The trained index filled with a shard's vectors, in blocks float16 [n, width], numbered from 0; as bytes, uint8 [n]."""
    faiss: Any = faiss_module()
    index = faiss.deserialize_index(np.frombuffer(trained, np.uint8))
    with threadpool_limits(1):
        for block in blocks:
            index.add(block.astype(np.float32))
    found: np.ndarray = faiss.serialize_index(index)
    return found


def one_value(data: np.ndarray) -> pa.LargeBinaryArray:
    """Bytes, uint8 [n], as a column of one row, without copying them."""
    offsets = pa.py_buffer(np.array([0, len(data)], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(data)])


def first_bytes(column: pa.ChunkedArray) -> pa.Buffer:
    """The bytes of a large_binary column's first row, as a view: taking the row itself would copy a memory map into memory."""
    array = column.chunk(0)
    _, offsets, data = array.buffers()
    start, end = np.frombuffer(offsets, np.int64, 2, 8 * array.offset).tolist()
    return data.slice(start, end - start)


@dataclass(frozen=True)
class Searcher:
    """Searches a collection, exactly or by the shards of an index, a block or a shard at a time.

    shards: by partition, the bytes of its filled index as an Arrow buffer; none for the exact search. Ids are explicit: the position of a
    shard's first vector is added to the numbers that it gives.
    """

    collection: Collection
    block_rows: int
    query_rows: int
    shards: Sequence[pa.Buffer] = ()
    nprobe: int = 1
    lists: int = 1
    device: Device = "cpu"

    def search(self, queries: np.ndarray, depth: int) -> Hits:
        """As `search.search`, but an index may miss vectors: if it finds too few, the last positions are -1."""
        if not self.shards:
            return search(self.collection, queries, depth, self.block_rows, self.query_rows, self.device)
        depth = min(depth, len(self.collection))
        pieces = [self._search(queries[start : start + self.query_rows], depth) for start in range(0, len(queries), self.query_rows)]
        return Hits(np.concatenate([piece.positions for piece in pieces]), np.concatenate([piece.scores for piece in pieces]))

    def _search(self, queries: np.ndarray, depth: int) -> Hits:
        faiss: Any = faiss_module()
        gpu = self.device == "cuda" and depth <= GPU_MOST
        wanted = min(len(self.collection), depth * OVERSAMPLED, GPU_MOST if gpu else sys.maxsize)
        heap = faiss.ResultHeap(len(queries), wanted, keep_max=True)
        wide = queries.astype(np.float32)
        for first, buffer in zip(self.collection.partition_starts, self.shards, strict=False):
            if not len(buffer):
                continue
            data = np.frombuffer(buffer, np.uint8)
            reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(data), len(data))  # the index reads the memory map, so `data` must outlive it
            index = faiss.read_index(reader, faiss.IO_FLAG_MMAP_IFC)
            faiss.extract_index_ivf(index).nprobe = self.nprobe
            if gpu:
                index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
            scores, rows = index.search(wide, min(wanted, index.ntotal))
            heap.add_result(np.where(rows >= 0, scores, -np.inf), np.where(rows >= 0, rows + first, -1))
        heap.finalize()
        positions = np.sort(heap.I, axis=1)[:, ::-1]  # so that the order of nearly equal scores does not depend on FAISS
        known = positions >= 0
        scores = np.where(known, exact_scores(self.collection, queries, np.where(known, positions, 0)), np.iinfo(np.int32).min)
        order = np.lexsort((positions, -scores), axis=1)[:, :depth]
        return Hits(np.take_along_axis(positions, order, 1), np.take_along_axis(scores, order, 1))


def recalled(found: Hits, exact: Hits, k: int) -> int:
    """The number of the exact search's best k that were found."""
    return sum(len(np.intersect1d(ours[:k], theirs[:k])) for ours, theirs in zip(found.positions, exact.positions, strict=True))
