"""Selects candidates for balance: over all chosen ones, each n-gram is inserted about as often as it is removed.

A linear ranker of pairs learns nothing from pairs whose differences add up to zero: the gradient of its loss at zero is their sum. So the
flow of an n-gram is the sum of its differences over the chosen candidates, and the choice minimises the flows' weighted squares. Choosing
the candidates that one discriminator likes best does not work: a new one finds the pattern of that choice.

All quantities are whole numbers in float64, far below 2^53, so no result depends on the order of a sum.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

SWEEPS = 8
_BLOCK, _LEAST_BLOCK = 32, 4  # groups chosen at a time in the first sweep, halved with each, and in the last sweeps
_SCALE = 1 << 26  # the maximum weight, for n-grams that hardly any candidate has
_PRIOR = 5  # pseudo-count of an n-gram's occurrences
_USUAL = 5  # candidates kept of a group, for the weights: the tolerance means the same whatever the most that are kept
_SHARES = 1024


def balanced(differences: sp.csr_matrix, groups: np.ndarray, most: int, tolerance: float) -> np.ndarray:
    """Which candidates to keep, bool [n].

    Args:
        differences: n-grams of the false text beyond those of the true one, float64 [n, columns], whole values.
        groups: ascending ids of groups, int64 [n]: of each, at most `most` candidates are kept.
        tolerance: a candidate is kept if the sum of its n-grams' weighted squares of flows grows by less than this.
    """
    count = len(groups)
    chosen = np.zeros(count, dtype=bool)
    if not count:
        return chosen
    starts = np.append(np.flatnonzero(np.diff(groups, prepend=groups[0] - 1)), count)
    flows = _Flows(differences, starts)
    block = _BLOCK
    for _ in range(SWEEPS):
        for first in range(0, len(starts) - 1, block):
            low, high = int(starts[first]), int(starts[min(first + block, len(starts) - 1)])
            flows.add(low, high, chosen[low:high], -1)
            cost = flows.cost(low, high)
            order = np.lexsort((cost, groups[low:high]))
            sizes = np.diff(starts[first : first + block + 1])
            rank = np.arange(high - low) - np.repeat(starts[first : first + len(sizes)] - low, sizes)
            chosen[low:high] = False
            chosen[low + order[(rank < most) & (cost[order] < tolerance * _SCALE)]] = True
            flows.add(low, high, chosen[low:high], 1)
        block = max(_LEAST_BLOCK, block // 2)
    return chosen


class _Flows:
    """The flows of the chosen candidates, and the cost of choosing another."""

    def __init__(self, differences: sp.csr_matrix, starts: np.ndarray):
        self._ends = differences.indptr.astype(np.int64)
        present = np.zeros(differences.shape[1], dtype=bool)
        present[differences.indices] = True
        self._columns = (np.cumsum(present) - 1)[differences.indices].astype(np.int32)
        self._values = differences.data
        sizes = np.diff(starts)
        share = np.repeat(_SHARES * np.minimum(_USUAL, sizes) // sizes, sizes)  # of a candidate, if the choice were uniform
        expected = np.bincount(self._columns, np.abs(self._values) * np.repeat(share, np.diff(self._ends)), minlength=int(present.sum()))
        self._weights = np.floor(_SCALE / (np.floor(expected / _SHARES) + _PRIOR))
        self._flows = np.zeros(len(self._weights))

    def add(self, low: int, high: int, chosen: np.ndarray, sign: int) -> None:
        """Adds the chosen ones among the candidates from `low` to `high` to the flows, or takes them away (`sign` -1)."""
        if chosen.any():
            entries = slice(self._ends[low], self._ends[high])
            those = np.repeat(chosen, np.diff(self._ends[low : high + 1]))
            np.add.at(self._flows, self._columns[entries][those], sign * self._values[entries][those])

    def cost(self, low: int, high: int) -> np.ndarray:
        """By how much each candidate would increase the weighted squares, float64 [high - low]."""
        entries = slice(self._ends[low], self._ends[high])
        columns, values = self._columns[entries], self._values[entries]
        terms = self._weights[columns] * values * (2 * self._flows[columns] + values)
        sums = np.concatenate([[0.0], np.cumsum(terms)])
        cost: np.ndarray = np.diff(sums[self._ends[low : high + 1] - self._ends[low]])
        return cost
