"""The order of samples: a pure function of (seed, epoch, number of the batch), of nothing else.

An epoch of a stream is cut in rounds. Round r takes one row of every group (the captions of an image) that has more than r rows, groups
in a permuted order, and which row it is turns with the epoch. So every row comes once an epoch, and no batch holds two of a group,
since none crosses the end of a round. Within a window of some batches rows are sorted by length before batches are cut, and the
batches of a window are shuffled. Everything is computed by index; the middle of an epoch costs what its start does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np

from model.data.permutation import key_of, permuted, scrambled

Name = TypeVar("Name", bound=str)


class Order:
    """The global batches of one stream.

    Args:
        starts, counts: int64 [groups], the first row of each group and how many it has, at least 1; rows of a group are consecutive.
        sizes: [rows], what batches are sorted by. name: of the stream, part of the key of everything random.
        batch: rows of a global batch. window: batches that are sorted together.
        least: the rest of a round becomes a batch of its own when it has this many rows; otherwise it is dropped for the epoch, other
            rows in the next. `batch`: none ever does, so that all batches have one size.

    rows: how many there are; batches: in an epoch, always the same number; dropped: rows that an epoch leaves out.

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
        self._key, self._batch, self._window = (seed, name), batch, window
        deepest = int(counts.max()) if len(counts) else 0
        self._groups = len(counts) - np.cumsum(np.bincount(counts, minlength=deepest + 1))[:deepest]
        rest = self._groups % batch
        kept = rest >= (batch if least is None else max(1, least))
        self._used = np.where(kept, self._groups, self._groups - rest)
        self._batches = -(-self._used // batch)
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
        place = int(np.searchsorted(ends, here, side="right"))
        within = here - int(ends[place - 1]) if place else here
        window, at = divmod(within, self._window)
        return self._sorted(epoch, int(rounds[place]), window)[at], epoch

    def _rounds(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The rounds in the order of this epoch, and how many batches there are up to the end of each."""
        filled = np.flatnonzero(self._batches)
        rounds = filled[permuted(np.arange(len(filled)), len(filled), key_of(*self._key, epoch, "rounds"))]
        return rounds, np.cumsum(self._batches[rounds])

    def _window_of(self, epoch: int, number: int, window: int) -> list[np.ndarray]:
        """The batches of a window of a round, each sorted by size, in shuffled order."""
        width = self._window * self._batch
        places = np.arange(window * width, min((window + 1) * width, int(self._used[number])))
        group = permuted(places, int(self._groups[number]), key_of(*self._key, epoch, number))
        turn = scrambled(self._starts[group], key_of(*self._key, epoch, "turn")) % self._counts[group].astype(np.uint64)
        rows = self._starts[group] + (number + turn.astype(np.int64)) % self._counts[group]
        rows = rows[np.argsort(self._sizes[rows], kind="stable")]
        cut = [rows[start : start + self._batch] for start in range(0, len(rows), self._batch)]
        return [cut[at] for at in permuted(np.arange(len(cut)), len(cut), key_of(*self._key, epoch, number, window))]


class Mix(Generic[Name]):
    """Which stream a step takes, in proportion to whole-number weights, spread evenly (1:1:5 is one cycle of seven steps)."""

    def __init__(self, weights: Mapping[Name, int]):
        self._weights = dict(weights)
        steps = sum(weights.values())
        due = sorted(((2 * turn + 1) * steps / (2 * weight), name) for name, weight in weights.items() for turn in range(weight))
        self.pattern = tuple(name for _, name in due)

    def at(self, step: int) -> tuple[Name, int]:
        """The stream of a step, and the number of its batch in that stream."""
        cycle, turn = divmod(step, len(self.pattern))
        name = self.pattern[turn]
        return name, cycle * self._weights[name] + self.pattern[:turn].count(name)

    def steps(self, name: Name, batches: int) -> int:
        """After how many steps a stream has brought so many batches."""
        cycles, rest = divmod(batches - 1, self._weights[name])
        turns = [turn for turn, other in enumerate(self.pattern) if other == name]
        return cycles * len(self.pattern) + turns[rest] + 1


def share_of(rows: np.ndarray, rank: int, world: int) -> np.ndarray:
    """The rows of a global batch that fall to one of `world` ranks: the rank-th of as many equal stretches."""
    return rows[rank * len(rows) // world : (rank + 1) * len(rows) // world]
