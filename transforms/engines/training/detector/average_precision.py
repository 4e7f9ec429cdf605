"""COCO average precision at one IoU threshold: greedy matching by descending confidence, 101-point interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Found(NamedTuple):
    """The detections in one picture: boxes float [n, 4] (xyxy, px), labels int [n], scores float [n]."""

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


class Truth(NamedTuple):
    """The ground truth of one picture: boxes float [m, 4] (xyxy, px), labels int [m]."""

    boxes: np.ndarray
    labels: np.ndarray


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union, float64 [n, m], of boxes [n, 4] and [m, 4] (xyxy)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), 2, dtype=np.float64)
    sizes = [np.prod(boxes[:, 2:] - boxes[:, :2], 1, dtype=np.float64) for boxes in (a, b)]
    return both / np.maximum(sizes[0][:, None] + sizes[1][None] - both, 1e-9)


def average_precisions(found: Sequence[Found], truth: Sequence[Truth], threshold: float = 0.5) -> dict[int, float]:
    """AP of each label that occurs in `truth`, in 0..1.

    Detections of a label are processed by descending score over all pictures; each matches the unmatched object of its picture and
    label with the largest IoU if that is at least `threshold`, else it is a false positive.
    """
    result = {}
    for label in sorted({int(label) for picture in truth for label in picture.labels}):
        hits, scores, objects = [], [], 0
        for seen, there in zip(found, truth, strict=True):
            mine, real = seen.labels == label, there.boxes[there.labels == label]
            objects += len(real)
            order = np.argsort(-seen.scores[mine], kind="stable")
            boxes = seen.boxes[mine][order]
            scores.append(seen.scores[mine][order])
            hits.append(_matched(iou(boxes, real), threshold))
        result[label] = _area(np.concatenate(hits), np.concatenate(scores), objects)
    return result


def _matched(overlaps: np.ndarray, threshold: float) -> np.ndarray:
    """Which of n detections (rows, by descending score) match an unmatched object, bool [n]."""
    free = np.ones(overlaps.shape[1], bool)
    hit = np.zeros(overlaps.shape[0], bool)
    for row in range(overlaps.shape[0]):
        left = np.where(free, overlaps[row], -1.0)
        best = int(left.argmax()) if len(left) else -1
        if best >= 0 and left[best] >= threshold:
            hit[row], free[best] = True, False
    return hit


def _area(hits: np.ndarray, scores: np.ndarray, objects: int) -> float:
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(hits[order])
    recall = right / objects
    precision = right / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]  # the best precision at this recall or higher
    at = np.searchsorted(recall, np.linspace(0, 1, 101))
    return float(np.mean([precision[position] if position < len(precision) else 0.0 for position in at]))
