"""The order of samples: a pure function of (seed, epoch, number of the batch), and of nothing else.

An epoch of a stream is divided into rounds. Round r takes one row of every group (the captions of an image) that has more than r rows, in
a permuted order of groups; which row that is rotates with the epoch. So every row occurs once per epoch, and no batch contains two rows
of a group, since none crosses the end of a round. Within a window of several batches, rows are sorted by length before they are divided
into batches, and the batches are shuffled. Everything is computed by index, so starting in the middle of an epoch costs no more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np

from model.data.permutation import key_of, permuted, scrambled

Name = TypeVar("Name", bound=str)


class Order:
    """The global batches of one stream.

    Args:
        starts, counts: int64 [groups], the first row of each group and its number of rows, at least 1; a group's rows are consecutive.
        sizes: [rows], by which rows are sorted. name: of the stream, part of the key of all random choices.
        batch: rows per global batch. window: number of batches that are sorted together, at most an eighth of a round, or the
            same rows would meet in every epoch.
        least: the remainder of a round becomes a smaller batch if it has at least this many rows; otherwise it is dropped for the epoch
            (the dropped rows differ from epoch to epoch). None: always dropped, so all batches have the same size.

    rows: their number; batches: their number in any epoch; dropped: number of rows that an epoch leaves out.

    Raises ValueError when a size is not positive.
    """

    def __init__(
        self,
        starts: np.ndarray,
        counts: np.ndarray,
        sizes: np.ndarray,
        *,
        name: str,
        seed: int,
        batch: int,
        window: int = 64,
        least: int | None = None,
    ):
        if min(batch, window) < 1 or (len(counts) and counts.min() < 1):
            raise ValueError("batch, window and counts must be positive")
        by_count = np.argsort(-counts, kind="stable")  # the groups of round r are then the first `self._groups[r]`
        self._starts, self._counts, self._sizes = starts[by_count], counts[by_count], sizes
        self._key, self._batch = (seed, name), batch
        deepest = int(counts.max()) if len(counts) else 0
        self._groups = len(counts) - np.cumsum(np.bincount(counts, minlength=deepest + 1))[:deepest]
        rest = self._groups % batch
        kept = rest >= (batch if least is None else max(1, least))
        self._used = np.where(kept, self._groups, self._groups - rest)
        self._batches = -(-self._used // batch)
        self._windows = np.clip(self._batches // 8, 1, window)
        self.rows = int(counts.sum())
        self.batches = int(self._batches.sum())
        self.dropped = self.rows - int(self._used.sum())
        self._epoch = lru_cache(2)(self._rounds)
        self._sorted = lru_cache(4)(self._window_of)

    def __getitem__(self, number: int) -> tuple[np.ndarray, int]:
        """The rows, int64 [n], of a global batch, counted over all epochs, and its epoch. Raises IndexError when there are no batches."""
        if not self.batches or number < 0:
            raise IndexError(f"batch {number} of a stream with {self.batches} batches an epoch")
        epoch, here = divmod(number, self.batches)
        rounds, ends = self._epoch(epoch)
        turn = int(np.searchsorted(ends, here, side="right"))
        within = here - int(ends[turn - 1]) if turn else here
        window, at = divmod(within, int(self._windows[rounds[turn]]))
        return self._sorted(epoch, int(rounds[turn]), window)[at], epoch

    def _rounds(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The rounds in the order of this epoch, and the number of batches up to the end of each."""
        filled = np.flatnonzero(self._batches)
        rounds = filled[permuted(np.arange(len(filled)), len(filled), key_of(*self._key, epoch, "rounds"))]
        return rounds, np.cumsum(self._batches[rounds])

    def _window_of(self, epoch: int, number: int, window: int) -> list[np.ndarray]:
        """The batches of a round's window: rows sorted by size, batches shuffled."""
        width = int(self._windows[number]) * self._batch
        indices = np.arange(window * width, min((window + 1) * width, int(self._used[number])))
        group = permuted(indices, int(self._groups[number]), key_of(*self._key, epoch, number))
        turn = scrambled(self._starts[group], key_of(*self._key, epoch, "turn")) % self._counts[group].astype(np.uint64)
        rows = self._starts[group] + (number + turn.astype(np.int64)) % self._counts[group]
        rows = rows[np.argsort(self._sizes[rows], kind="stable")]
        cut = [rows[start : start + self._batch] for start in range(0, len(rows), self._batch)]
        return [cut[at] for at in permuted(np.arange(len(cut)), len(cut), key_of(*self._key, epoch, number, window))]


class Mix(Generic[Name]):
    """Assigns steps to streams in proportion to whole-number weights, evenly interleaved (1:1:5 is one cycle of seven steps)."""

    def __init__(self, weights: Mapping[Name, int]):
        shared = math.gcd(*weights.values())
        self._weights = weights = {name: weight // shared for name, weight in weights.items()}
        steps = sum(weights.values())
        due = sorted(((2 * turn + 1) * steps / (2 * weight), name) for name, weight in weights.items() for turn in range(weight))
        self.pattern = tuple(name for _, name in due)

    def at(self, step: int) -> tuple[Name, int]:
        """The stream of a step, and the number of its batch in that stream."""
        cycle, turn = divmod(step, len(self.pattern))
        name = self.pattern[turn]
        return name, cycle * self._weights[name] + self.pattern[:turn].count(name)

    def steps(self, name: Name, batches: int) -> int:
        """The number of steps after which a stream has had this many batches."""
        cycles, rest = divmod(batches - 1, self._weights[name])
        turns = [turn for turn, other in enumerate(self.pattern) if other == name]
        return cycles * len(self.pattern) + turns[rest] + 1


def share_of(rows: np.ndarray, rank: int, world: int) -> np.ndarray:
    """A rank's share of the rows of a global batch: the rank-th of `world` equal slices."""
    return rows[rank * len(rows) // world : (rank + 1) * len(rows) // world]
