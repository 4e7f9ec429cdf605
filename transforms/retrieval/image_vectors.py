"""The vectors of images: their appearance and their objects.

    a  the mean of the region features, weighted by confidence
    b  the square roots of the expected object counts: soft labels, without the background, summed over regions, each weighted by the
       square of its confidence, so that the unsure ones that fill a list up to its least number do not outweigh the objects

each of length 1, and stored as sqrt(1 - w) a beside sqrt(w) b, so that the inner product of two images is (1 - w) visual + w objects,
both cosines. The square root keeps one crowd from outweighing every other object (the inner product of b is the Bhattacharyya
coefficient of two images' shares of objects).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from schemas.regions import Regions
from schemas.rejects import Reason


class NoVector(ValueError):
    """An image or a text that has no vector; `reason` and `detail` are those of its reject."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class ImageSpace:
    """Turns images into vectors.

    weight: w. components: float64 [p, D], the principal components that a is reduced to, or None.
    """

    weight: float
    components: np.ndarray | None = None

    def vector(self, image: Regions) -> np.ndarray:
        """The vector of an image, float16, of length 1; without confidence, all regions have the same weight. Raises NoVector."""
        parts = []
        if not len(image.features):
            raise NoVector(Reason.REGIONS_MISSING, "it has no regions")
        if self.weight < 1:
            visual = visual_part(image.features, image.confidence)
            if self.components is not None:
                visual = unit(self.components @ visual, "reduced feature")
            parts.append(np.sqrt(1 - self.weight) * visual)
        if self.weight > 0:
            if image.soft_labels is None:
                raise NoVector(Reason.NO_SOFT_LABELS, "it has no soft labels, which other images have; object_weight: 0 does without")
            parts.append(np.sqrt(self.weight) * object_part(image.soft_labels, image.confidence))
        return np.concatenate(parts).astype(np.float16)


def visual_part(features: np.ndarray, confidence: np.ndarray | None) -> np.ndarray:
    """a: float64 [D], of features [n, D] and confidence [n]. Raises NoVector if the mean is zero or not finite."""
    weights = np.ones(len(features)) if confidence is None else confidence.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        return unit(weights @ features.astype(np.float32).astype(np.float64), "mean feature")


def object_part(soft_labels: np.ndarray, confidence: np.ndarray | None) -> np.ndarray:
    """b: float64 [C - 1], of soft labels [n, C], background first, and confidence [n].

    Raises NoVector if counts are zero, negative or not finite.
    """
    weights = np.ones(len(soft_labels)) if confidence is None else confidence.astype(np.float64) ** 2
    counts = (soft_labels[:, 1:].astype(np.float64) * weights[:, None]).sum(0)
    if (counts < 0).any():
        raise NoVector(Reason.BAD_VECTOR, "its soft labels are negative")
    return unit(np.sqrt(counts), "count of objects")


def unit(values: np.ndarray, what: str) -> np.ndarray:
    """`values` scaled to length 1. Raises NoVector if they are zero or not finite."""
    if not np.isfinite(values).all():
        raise NoVector(Reason.BAD_VECTOR, f"its {what} is not finite")
    length = float(np.linalg.norm(values))
    if length == 0:
        raise NoVector(Reason.BAD_VECTOR, f"its {what} is zero")
    return np.asarray(values / length)
