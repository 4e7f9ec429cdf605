"""The judge: from evidence about texts and images to the probability that each text is true of its image.

One set of trees for each combination of evidence that a corpus may have, and those of the judge of swaps.
"""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np

from schemas import files
from schemas.errors import ConfigError
from transforms.truth.swaps import SwapJudge
from transforms.truth.trees import MILLION, Evidence, as_trees

WEIGHTS = Path(__file__).parent / "weights.json"
GRAPHS = (
    "objects", "same", "absent", "first", "attributes_supported", "attributes_contradicted", "attributes_elsewhere",
    "attributes_unmentioned", "relations_supported", "relations_reversed", "relations_unmentioned", "counts_supported",
    "counts_contradicted", "denies", "words",
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


class Judge:
    """Scores texts by evidence. `content`: the weights as they are stored; `fingerprint` identifies them; `swaps`: the judge of swaps."""

    def __init__(self, content: bytes, where: str):
        """Reads weights as `transforms.truth.fit` writes them. Raises ConfigError, naming `where`, when they are not valid."""
        self.content = content
        self.fingerprint = sha256(content).hexdigest()[:32]
        try:
            weights = json.loads(content)
            self._sets = {name: as_trees(SETS[name], found) for name, found in weights["sets"].items()}
            self.swaps = SwapJudge(weights["swaps"])
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


@cache
def judge_of(path: str | None = None) -> Judge:
    """The judge with the weights in a file, by default those of this package; read once per process. Raises ConfigError."""
    where = path or str(WEIGHTS)
    try:
        with files.open_read(where) if path else WEIGHTS.open("rb") as file:
            return Judge(file.read(), where)
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error}") from None
