"""Blind accuracy: how often a linear ranker that sees only texts distinguishes false from true ones, for images it was not trained on.

0.5 is chance. A pair is two texts of the same image, and its features are their difference, so the words they share do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from schemas.ids import placements
from transforms.balance.embeddings import Embeddings
from transforms.balance.ngrams import TextPair

_LEAST = 20  # pairs on each side of the split


def ranked(features: Any, trained: np.ndarray, strength: float) -> float | None:
    """The share of the other pairs that a ranker fitted to the `trained` ones orders correctly; None if there are too few.

    Args:
        features: of the false text minus the true one's, [n, f], dense or sparse.
        trained: bool [n].
        strength: inverse strength of the L2 penalty.
    """
    if min(trained.sum(), (~trained).sum()) < _LEAST:
        return None
    train, test = features[trained], features[~trained]
    if sp.issparse(train):
        seen = np.unique(train.indices)
        train, test = train[:, seen], test[:, seen]
    sides = np.where(np.arange(train.shape[0]) % 2, 1.0, -1.0)  # without an intercept, a pair and its mirror image are the same
    mirrored = sp.diags(sides) @ train
    model = LogisticRegression(C=strength, fit_intercept=False, max_iter=300).fit(mirrored, sides)
    scores = test @ model.coef_[0]
    return round(float((scores > 0).mean() + (scores == 0).mean() / 2), 4)


def halves(images: Sequence[str]) -> np.ndarray:
    """Which rows' images are in the half for training, by a bit of the image's placement, bool [n]."""
    return (placements(images) & 1).astype(bool)


class Blind:
    """Measures samples of pairs, kind by kind and all together."""

    def __init__(self, sample: int, embeddings: Embeddings | None):
        self._sample, self._embeddings = sample, embeddings
        self._parts: dict[str, list[tuple[Any, Any, np.ndarray]]] = {}

    def measured(
        self, name: str, matrix: sp.csr_matrix, pairs: Sequence[TextPair], images: Sequence[str], rows: np.ndarray
    ) -> dict[str, Any]:
        """Measures a sample of the pairs `rows` under a name; `images`: of each pair."""
        own = rows[:: max(1, len(rows) // self._sample)]
        features = self._embeddings.differences([pairs[row] for row in own.tolist()]) if self._embeddings and len(own) else None
        part = matrix[own], features, halves([images[row] for row in own.tolist()])
        self._parts.setdefault(name, []).append(part)
        return self._accuracy(name, *part)

    def together(self) -> dict[str, Any]:
        """The measured blind accuracies, by name."""
        found: dict[str, Any] = {}
        for name, parts in self._parts.items():
            matrices, features, trained = zip(*parts, strict=True)
            dense = [one for one in features if one is not None]
            found |= self._accuracy(
                name, sp.vstack(matrices, format="csr"), np.concatenate(dense) if dense else None, np.concatenate(trained)
            )
        return found

    def _accuracy(self, name: str, matrix: sp.csr_matrix, features: np.ndarray | None, trained: np.ndarray) -> dict[str, Any]:
        found = {f"{name}_ngrams": ranked(matrix, trained, 0.1)}
        return found if features is None else found | {f"{name}_embeddings": ranked(features, trained, 30.0)}
