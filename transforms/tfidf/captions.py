"""The vectors of all partitions as one numbered list of captions, read in blocks: the input of a top-k task.

Captions are numbered partition by partition. Only a few numbers per caption are held in memory: matrices stay memory-mapped and
are inverted (words x captions, the right-hand side of the sparse product) one block at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix, vstack

from transforms.tfidf.vectors import Vectors

_SIGNATURE = 16  # most frequent words, by which the captions of a block are ordered


class Captions:
    """N captions in `parts`.

    starts: int64 [parts + 1], the number of each part's first caption. image, content, text: uint64 [N] keys. rank: int32 [N],
    the position of each caption in the order of pair ids, which breaks ties; by_rank: int32 [N], its inverse. Captions with
    the same words in the same order form one candidate, represented by the first by rank: is_candidate bool [N], copies int32 [N]
    (captions with that text), candidates (their number). About 45 bytes per caption: create it once per process and share it
    among tasks.

    Raises ValueError if there are no parts or if they were made with different vocabularies.
    """

    def __init__(self, parts: Sequence[Vectors]):
        """Numbers the captions of `parts` in order."""
        widths = {part.matrix.shape[1] for part in parts}
        if len(widths) != 1:
            raise ValueError(f"all vectors must use one vocabulary, not {len(widths)} (columns: {sorted(widths)})")
        self.parts = list(parts)
        self.columns = widths.pop()
        self.starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        if len(self) >= 2**31:
            raise ValueError(f"at most {2**31 - 1} captions are supported, not {len(self)}")
        self.image, self.content, self.text = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("image", "content", "text")
        )
        self.by_rank = _order_of([part.pair_id for part in parts])
        self.rank = np.empty(len(self), np.int32)
        self.rank[self.by_rank] = np.arange(len(self), dtype=np.int32)
        self.copies, self.is_candidate = _distinct(self.text, self.rank)
        self.candidates = int(self.is_candidate.sum())

    def __len__(self) -> int:
        """The number of captions."""
        return int(self.starts[-1])

    def span(self, part: int) -> tuple[int, int]:
        """The numbers [first, last) of the captions of one part."""
        return int(self.starts[part]), int(self.starts[part + 1])

    def matrix(self, part: int) -> csr_matrix:
        """The vectors CSR [captions, words] of one part."""
        return self.parts[part].matrix

    def slices(self, rows: int) -> Iterator[tuple[int, list[csr_matrix]]]:
        """Consecutive runs of at most `rows` captions that cover all: (number of the first caption, matrices to be stacked)."""
        for first in range(0, len(self), rows):
            yield first, self.stretch(first, min(first + rows, len(self)))

    def stretch(self, first: int, last: int) -> list[csr_matrix]:
        """The matrices of captions [first, last), in order."""
        found = []
        begin = int(np.searchsorted(self.starts, first, side="right")) - 1
        for part in range(begin, int(np.searchsorted(self.starts, last))):
            matrix, start = self.matrix(part), self.starts[part]
            low, high = max(first - start, 0), min(last - start, matrix.shape[0])
            if low < high:
                found.append(matrix if high - low == matrix.shape[0] else matrix[low:high])
        return found

    def inverted(self, rows: int) -> Iterator[tuple[np.ndarray, csr_matrix]]:
        """Candidates in blocks of at most `rows` captions, each as (caption numbers int64 [captions], CSR [words, captions])."""
        for first, stack in self.slices(rows):
            numbers = np.arange(first, first + sum(matrix.shape[0] for matrix in stack))
            if self.candidates < len(self):
                numbers = numbers[self.is_candidate[numbers]]
                stack = [self.gather(numbers)]
            if len(numbers):
                order, block = invert(stack)
                yield numbers[order], block

    def gather(self, numbers: np.ndarray) -> csr_matrix:
        """The vectors CSR [n, words] of ascending caption numbers [n]."""
        cuts = np.searchsorted(numbers, self.starts)
        stack = [
            self.matrix(part)[numbers[low:high] - self.starts[part]]
            for part, (low, high) in enumerate(zip(cuts, cuts[1:], strict=False))
            if low < high
        ]
        return _stacked(stack, self.columns)

    def strings(self, column: Callable[[Vectors], pa.Array], numbers: np.ndarray) -> pa.Array:
        """`column` (pair_id or caption) of ascending caption numbers [n]."""
        cuts = np.searchsorted(numbers, self.starts)
        pieces = [
            column(part).take(pa.array(numbers[low:high] - start))
            for part, start, low, high in zip(self.parts, self.starts, cuts, cuts[1:], strict=False)
            if low < high
        ]
        return pa.concat_arrays(pieces) if pieces else pa.array([], pa.string())

    def sample(self, limit: int) -> tuple[float, csr_matrix]:
        """Evenly spaced candidates, a share of at most 1/16 and at most `limit`: (the share, CSR [words, captions])."""
        step = max(16, -(-self.candidates // limit))
        if self._samples.get(step) is None:
            numbers = np.flatnonzero(self.is_candidate)[step // 2 :: step]
            self._samples[step] = (len(numbers) / max(self.candidates, 1), invert([self.gather(numbers)])[1])
        return self._samples[step]

    @cached_property
    def _samples(self) -> dict[int, tuple[float, csr_matrix]]:
        return {}


def _distinct(text: np.ndarray, rank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many captions have the same text, int32 [N], and whether each is the first of them by pair id, bool [N]."""
    order = np.lexsort((rank, text))
    start = np.concatenate([[True], text[order][1:] != text[order][:-1]]) if len(text) else np.zeros(0, bool)
    sizes = np.diff(np.append(np.flatnonzero(start), len(text)))
    copies, first = np.empty(len(text), np.int32), np.empty(len(text), bool)
    copies[order], first[order] = np.repeat(sizes, sizes), start
    return copies, first


def invert(stack: list[csr_matrix]) -> tuple[np.ndarray, csr_matrix]:
    """The transpose, CSR [words, captions], of the stacked matrices, and each caption's row in the stack, int64 [captions].

    Captions that share the same most frequent words are placed next to each other. A product then goes through the long postings
    in long runs where consecutive captions agree on whether an accumulator was touched before. That takes a third less time than
    corpus order, mostly by avoiding mispredicted branches.
    """
    matrix = _stacked(stack, stack[0].shape[1])
    bits = np.zeros(max(matrix.shape[1], _SIGNATURE), np.int64)
    bits[:_SIGNATURE] = 1 << np.arange(_SIGNATURE - 1, -1, -1)
    held = np.concatenate([[0], np.cumsum(bits[matrix.indices])])
    order = np.argsort(held[matrix.indptr[1:]] - held[matrix.indptr[:-1]], kind="stable")
    return order, matrix[order].T.tocsr()


def _stacked(stack: list[csr_matrix], columns: int) -> csr_matrix:
    if not stack:
        return csr_matrix((0, columns), dtype=np.float64)
    return stack[0] if len(stack) == 1 else vstack(stack, format="csr")


def _order_of(ids: list[pa.Array]) -> np.ndarray:
    """The numbers int32 [N] of all ids in byte order.

    Sorted by their first 8 bytes as integers, which is fast in NumPy; only runs with equal prefixes are compared as strings.
    """
    prefix = np.concatenate([_prefixes(array) for array in ids])
    order = np.argsort(prefix, kind="stable").astype(np.int32)
    ordered = prefix[order]
    same = ordered[1:] == ordered[:-1]
    if same.any():
        inside = np.flatnonzero(np.concatenate([[False], same]) | np.concatenate([same, [False]]))
        starts = np.concatenate([[0], np.cumsum([len(array) for array in ids])])
        numbers = np.sort(order[inside])
        cuts = np.searchsorted(numbers, starts)
        texts = pa.concat_arrays(
            [array.take(pa.array(numbers[low:high] - start)) for array, start, low, high in zip(ids, starts, cuts, cuts[1:], strict=False)]
        )
        # All runs are in ascending order of prefix, and so are the sorted strings.
        order[inside] = numbers[pc.sort_indices(texts).to_numpy()]
    return order


def _prefixes(ids: pa.Array) -> np.ndarray:
    """The first 8 bytes of each string as a big-endian number uint64 [n], padded with zeros."""
    count = len(ids)
    if not count:
        return np.zeros(0, np.uint64)
    offsets = np.frombuffer(ids.buffers()[1], np.int32, count + 1, 4 * ids.offset).astype(np.int64)
    data = np.frombuffer(ids.buffers()[2] or b"", np.uint8)
    out = np.zeros(count, np.uint64)
    for byte in range(8):
        inside = offsets[:-1] + byte < offsets[1:]
        out[inside] |= data[offsets[:-1][inside] + byte].astype(np.uint64) << np.uint64(56 - 8 * byte)
    return out
