"""Fast random choices on top of the project's counter-based generator.

A NumPy generator takes microseconds per scalar, and a scene requires hundreds, so they are drawn in blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from schemas.ids import counter_rng

T = TypeVar("T")
_BLOCK = 128


class Rng:
    """Uniform draws for one row of one stage; the sequence is a pure function of (seed, stage, row id)."""

    def __init__(self, seed: int, stage: str, row_id: str) -> None:
        """Seeds the draws by `seed`, `stage` and `row_id`."""
        self._rng = counter_rng(seed, stage, row_id)
        self._block: list[float] = []

    def unit(self) -> float:
        """A number in [0, 1)."""
        if not self._block:
            self._block = self._rng.random(_BLOCK).tolist()
        return self._block.pop()

    def between(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.unit()

    def below(self, stop: int) -> int:
        """An integer in [0, stop)."""
        return int(self.unit() * stop)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.unit() < probability

    def pick(self, items: Sequence[T]) -> T:
        """One of `items`, uniformly."""
        return items[int(self.unit() * len(items))]

    def weighted(self, items: Sequence[T], weights: Sequence[float]) -> T:
        """One of `items`, with probability proportional to its weight."""
        left = self.unit() * sum(weights)
        for item, weight in zip(items, weights, strict=True):
            left -= weight
            if left < 0:
                return item
        return items[-1]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in random order, as a new list."""
        out = list(items)
        for last in range(len(out) - 1, 0, -1):
            other = int(self.unit() * (last + 1))
            out[last], out[other] = out[other], out[last]
        return out
