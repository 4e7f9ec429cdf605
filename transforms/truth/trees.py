"""Gradient-boosted trees whose sums are looked up in a table of calibrated probabilities.

Everything is an integer, so a probability is the same on every machine: evidence, thresholds and leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

MILLION = 1_000_000
FEW_WORDS = 9  # bits: corpora with fewer than 512 words, such as the synthetic scenes, may have a calibration of their own
Evidence = Mapping[str, np.ndarray]  # int32 [n] by name; what is missing is left out, and -1000 where it is missing for one pair


@dataclass(frozen=True)
class Trees:
    """T trees of depth 3: node 0's children are 1 and 2, and so on; leaves in order.

    names: the evidence. feature, threshold: int64 [T, 7]; evidence at most `threshold` goes left. leaf: int64 [T, 8]. knots: int64 [K],
    ascending sums of leaves; chances: int64 [K + 1], the probability, in millionths, below the first knot, from there on, and so on. few:
    knots and chances where the evidence "words" is at most `FEW_WORDS`; None: the same.
    """

    names: tuple[str, ...]
    feature: np.ndarray
    threshold: np.ndarray
    leaf: np.ndarray
    knots: np.ndarray
    chances: np.ndarray
    few: tuple[np.ndarray, np.ndarray] | None = None

    def sums(self, evidence: Evidence) -> np.ndarray:
        """The sum of the leaves that each of n pairs reaches, int64 [n]."""
        columns = np.stack([np.asarray(evidence[name], np.int32) for name in self.names])
        total = np.zeros(columns.shape[1], np.int64)
        for feature, threshold, leaf in zip(self.feature, self.threshold, self.leaf, strict=True):
            right = [columns[one] > cut for one, cut in zip(feature.tolist(), threshold.tolist(), strict=True)]
            low = np.where(right[0], right[2], right[1])
            lowest = np.where(right[0], np.where(low, right[6], right[5]), np.where(low, right[4], right[3]))
            total += leaf[4 * right[0] + 2 * low + lowest]
        return total

    def score(self, evidence: Evidence) -> np.ndarray:
        """The probabilities of n pairs in millionths, int64 [n]."""
        sums = self.sums(evidence)
        found: np.ndarray = self.chances[np.searchsorted(self.knots, sums, side="right")]
        if self.few is None:
            return found
        knots, chances = self.few
        return np.where(np.asarray(evidence["words"]) <= FEW_WORDS, chances[np.searchsorted(knots, sums, side="right")], found)

    @cached_property
    def _plain(self) -> list[tuple[list[int], list[int], list[int]]]:
        return [(one.tolist(), cut.tolist(), leaf.tolist()) for one, cut, leaf in zip(self.feature, self.threshold, self.leaf, strict=True)]

    def score_one(self, evidence: Sequence[int]) -> int:
        """The probability of a single pair in millionths, from its evidence in the order of `names`; much faster than `score` of one."""
        total = 0
        for feature, threshold, leaf in self._plain:
            node = 2 if evidence[feature[0]] > threshold[0] else 1
            node = 2 * node + (2 if evidence[feature[node]] > threshold[node] else 1)
            total += leaf[2 * node - 6 + (evidence[feature[node]] > threshold[node])]
        few = self.few is not None and evidence[self.names.index("words")] <= FEW_WORDS
        knots, chances = self.few if few and self.few else (self.knots, self.chances)
        return int(chances[np.searchsorted(knots, total, side="right")])


def as_trees(names: tuple[str, ...], found: Mapping[str, Any]) -> Trees:
    """Trees from weights as they are stored. Raises ValueError when they do not fit together."""
    feature, threshold, leaf = (np.array(found[key], np.int64) for key in ("feature", "threshold", "leaf"))
    trees = len(feature)
    if feature.shape != (trees, 7) or threshold.shape != (trees, 7) or leaf.shape != (trees, 8):
        raise ValueError("trees must have 7 nodes and 8 leaves")
    if not ((feature >= 0) & (feature < len(names))).all():
        raise ValueError(f"nodes must refer to one of {len(names)} kinds of evidence")
    knots, chances = _calibration(found)
    few = _calibration(found["few"]) if "few" in found else None
    if few and "words" not in names:
        raise ValueError("only sets with the evidence `words` may have a calibration for few words")
    return Trees(names, feature, threshold, leaf, knots, chances, few)


def _calibration(found: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    knots, chances = np.array(found["knots"], np.int64), np.array(found["chances"], np.int64)
    if len(chances) != len(knots) + 1 or (np.diff(knots) < 0).any() or not ((chances >= 0) & (chances <= MILLION)).all():
        raise ValueError("the calibration must have ascending knots and one probability more than knots, from 0 to 1,000,000")
    return knots, chances
