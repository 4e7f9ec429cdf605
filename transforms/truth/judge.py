"""The judge: from evidence about texts and images to the probability that each text is true of its image.

Gradient-boosted trees, one set for each combination of evidence that a corpus may have. Everything is an integer, so a probability is the
same on every machine: evidence, thresholds and leaves, whose sum is looked up in a table of calibrated probabilities.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from schemas import files
from schemas.errors import ConfigError

WEIGHTS = Path(__file__).parent / "weights.json"
MILLION = 1_000_000
GRAPHS = (
    "objects", "same", "absent", "first", "attributes_supported", "attributes_contradicted", "attributes_elsewhere",
    "attributes_unmentioned", "relations_supported", "relations_reversed", "relations_unmentioned", "counts_supported",
    "counts_contradicted", "denies",
)  # fmt: skip
ENCODER = ("similarity_max", "similarity_mean", "similarity_lead")
LABELS = ("labels_found", "labels_missing", "labels_counts_contradicted")
COSINE = ("cosine",)
# Which evidence each set of trees uses; the first set whose evidence is all there is taken.
SETS: dict[str, tuple[str, ...]] = {
    "encoder, graphs, labels": (*ENCODER, *GRAPHS, *LABELS, *COSINE),
    "encoder, graphs": (*ENCODER, *GRAPHS, *COSINE),
    "graphs, labels": (*GRAPHS, *LABELS, *COSINE),
    "graphs": (*GRAPHS, *COSINE),
    "encoder": (*ENCODER, *COSINE),
    "cosine": COSINE,
}
Evidence = Mapping[str, np.ndarray]  # int32 [n] by name; what is missing is left out, and -1000 where it is missing for one pair


@dataclass(frozen=True)
class Trees:
    """T trees of depth 3: node 0's children are 1 and 2, and so on; leaves in order.

    names: the evidence. feature, threshold: int64 [T, 7]; evidence at most `threshold` goes left. leaf: int64 [T, 8]. knots: int64 [K],
    ascending sums of leaves; chances: int64 [K + 1], the probability, in millionths, below the first knot, from there on, and so on.
    """

    names: tuple[str, ...]
    feature: np.ndarray
    threshold: np.ndarray
    leaf: np.ndarray
    knots: np.ndarray
    chances: np.ndarray

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
        return self.chances[np.searchsorted(self.knots, self.sums(evidence), side="right")]


class Judge:
    """Scores texts by evidence. `content`: the weights as they are stored; `fingerprint` identifies them."""

    def __init__(self, content: bytes, where: str):
        """Reads weights as `transforms.truth.fit` writes them. Raises ConfigError, naming `where`, when they are not valid."""
        self.content = content
        self.fingerprint = sha256(content).hexdigest()[:32]
        try:
            self._sets = {name: as_trees(SETS[name], found) for name, found in json.loads(content)["sets"].items()}
        except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
            raise ConfigError(f"{where} does not hold weights of the judge of truth ({error!r}): fit them again") from None

    def score(self, evidence: Evidence) -> np.ndarray:
        """The probability that each of n texts is true of its image, float32 [n], a whole number of millionths.

        Raises ValueError when no set of trees has all of its evidence.
        """
        return (self.millionths(evidence) / MILLION).astype(np.float32)

    def millionths(self, evidence: Evidence) -> np.ndarray:
        """The same as whole numbers, int64 [n]."""
        for name, names in SETS.items():
            if name in self._sets and evidence.keys() >= set(names):
                return self._sets[name].score(evidence)
        raise ValueError(f"the judge has no weights for this evidence alone: {', '.join(sorted(evidence)) or 'none'}")


def as_trees(names: tuple[str, ...], found: Mapping[str, Any]) -> Trees:
    """Trees from weights as they are stored. Raises ValueError when they do not fit together."""
    feature, threshold, leaf = (np.array(found[key], np.int64) for key in ("feature", "threshold", "leaf"))
    knots, chances = np.array(found["knots"], np.int64), np.array(found["chances"], np.int64)
    trees = len(feature)
    if feature.shape != (trees, 7) or threshold.shape != (trees, 7) or leaf.shape != (trees, 8):
        raise ValueError("trees must have 7 nodes and 8 leaves")
    if not ((feature >= 0) & (feature < len(names))).all():
        raise ValueError(f"nodes must refer to one of {len(names)} kinds of evidence")
    if len(chances) != len(knots) + 1 or (np.diff(knots) < 0).any() or not ((chances >= 0) & (chances <= MILLION)).all():
        raise ValueError("the calibration must have ascending knots and one probability more than knots, from 0 to 1,000,000")
    return Trees(names, feature, threshold, leaf, knots, chances)


@cache
def judge_of(path: str | None = None) -> Judge:
    """The judge with the weights in a file, by default those of this package; read once per process. Raises ConfigError."""
    where = path or str(WEIGHTS)
    try:
        with files.open_read(where) if path else WEIGHTS.open("rb") as file:
            return Judge(file.read(), where)
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error}") from None
