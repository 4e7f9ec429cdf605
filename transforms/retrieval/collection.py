"""The vectors of all partitions as one numbered collection, read by memory map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

WIDE = 1 << 26  # maximum number of values kept in float32: 256 MB


class Collection:
    """n vectors of length 1, float16, each with a position in the global order.

    shards: by partition, its table of `vectors`. Raises ValueError when their widths, their weights or their models differ.
    """

    def __init__(self, shards: Sequence[pa.Table]):
        self._batches: list[pa.RecordBatch] = [batch for shard in shards for batch in shard.to_batches() if batch.num_rows]
        self.partition_starts = np.concatenate([[0], np.cumsum([shard.num_rows for shard in shards])]).astype(np.int64)
        self._starts = np.concatenate([[0], np.cumsum([batch.num_rows for batch in self._batches])]).astype(np.int64)
        self._vectors = [vectors_of(batch) for batch in self._batches]
        kinds = {tuple(sorted((batch.schema.metadata or {}).items())) for batch in self._batches}
        if len(kinds) > 1:
            raise ValueError("the vectors of a collection must have the same width, weight and model")
        self._wide: np.ndarray | None = None
        self.width = self._vectors[0].shape[1] if self._vectors else 0
        self.metadata: dict[bytes, bytes] = dict(next(iter(kinds), ()))

    def __len__(self) -> int:
        return int(self._starts[-1])

    def wide_blocks(self, rows: int) -> Iterator[tuple[int, np.ndarray]]:
        """The vectors in order, float32 [at most `rows`, width] and at most `WIDE` numbers at a time, each time with the first's position.

        A collection that is one block is converted once and kept. Otherwise a block takes the memory of the one before.
        """
        rows = max(1, min(rows, WIDE // max(1, self.width), len(self)))
        if self._wide is None and len(self) == rows:
            self._wide = self._widened(0, np.empty((rows, self.width), np.float32))
        if self._wide is not None and len(self) <= rows:
            yield 0, self._wide
            return
        held = np.empty((rows, self.width), np.float32)
        for start in range(0, len(self), rows):
            yield start, self._widened(start, held[: len(self) - start])

    def _widened(self, start: int, out: np.ndarray) -> np.ndarray:
        """`out` float32 [n, width] with the vectors from `start` on."""
        batch, done = int(np.searchsorted(self._starts, start, side="right")) - 1, 0
        while done < len(out):
            piece = self._vectors[batch][start + done - int(self._starts[batch]) :][: len(out) - done]
            out[done : done + len(piece)] = piece
            batch, done = batch + 1, done + len(piece)
        return out

    @property
    def held(self) -> np.dtype[Any]:
        """The type that `take` returns: float32 if the collection is kept in float32, else float16."""
        return np.dtype(np.float16 if self._wide is None else np.float32)

    def take(self, positions: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The vectors at these positions, `held` [n, width]; written to the first n rows of `out` if given."""
        out = np.empty((len(positions), self.width), self.held) if out is None else out[: len(positions)]
        if self._wide is not None:
            np.take(self._wide, positions, axis=0, out=out, mode="clip")  # "raise" would go through a buffer
            return out
        for batch, where, rows in self._found(positions):
            out[where] = np.take(self._vectors[batch], rows, axis=0)
        return out

    def column(self, name: str, positions: np.ndarray) -> pa.Array:
        """A column of `vectors` at these positions."""
        found = list(self._found(positions))
        if not found:
            return pa.array([], self._batches[0].schema.field(name).type if self._batches else pa.string())
        pieces = pa.concat_arrays([self._batches[batch][name].take(pa.array(rows)) for batch, _, rows in found])
        return pieces.take(pa.array(np.argsort(np.concatenate([where for _, where, _ in found]), kind="stable")))

    def partitions(self, positions: np.ndarray) -> np.ndarray:
        """The partition of each position, int32 [n]."""
        return (np.searchsorted(self.partition_starts, positions, side="right") - 1).astype(np.int32)

    def _found(self, positions: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Record batches, the positions that are in each, and their rows in it."""
        batches = np.searchsorted(self._starts, positions, side="right") - 1
        order = np.argsort(batches, kind="stable")
        cuts = np.flatnonzero(np.diff(batches[order])) + 1
        for where in np.split(order, cuts) if len(order) else ():
            batch = int(batches[where[0]])
            yield batch, where, positions[where] - self._starts[batch]


def vectors_of(batch: pa.RecordBatch) -> np.ndarray:
    """The vectors of a record batch of n rows, float16 [n, width], as a view. Raises ValueError when they differ in width."""
    lists = batch["vector"]
    offsets = lists.offsets.to_numpy()
    widths = np.unique(np.diff(offsets))
    if len(widths) != 1:
        raise ValueError(f"vectors of widths {widths.tolist()} in one batch")
    return lists.values.to_numpy()[offsets[0] : offsets[-1]].reshape(batch.num_rows, int(widths[0]))
