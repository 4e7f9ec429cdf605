"""Boxes that a task's files give, among the regions of a corpus."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from model.masking import overlaps
from schemas.regions import Regions

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 as shares of the photo's sides
_MOST = 1e9  # px
_OTHERS = ("features", "confidence", "soft_labels", "classes", "attributes")


def is_size(value: Any) -> bool:
    """Whether a value of a file can be a coordinate or a length, px."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST


def shares(x1: Any, y1: Any, x2: Any, y2: Any, width: Any, height: Any) -> Box | None:
    """A box in px as shares of a photo's sides; None if it is empty, or anything is not a number."""
    if not all(map(is_size, (x1, y1, x2, y2, width, height))) or min(x2 - x1, y2 - y1, width, height) <= 0:
        return None
    return x1 / width, y1 / height, x2 / width, y2 / height


def regions_at(held: Regions, boxes: list[Box]) -> Regions:
    """Regions at given boxes, each with the features of the region of the corpus that overlaps it most."""
    placed = np.array(boxes).reshape(-1, 4) * np.array([held.width, held.height] * 2)
    best = overlaps(placed, held.boxes.astype(np.float64)).argmax(1)
    others: dict[str, Any] = {name: None if (part := getattr(held, name)) is None else part[best] for name in _OTHERS}
    return replace(held, boxes=placed.astype(np.float32), **others)


def joined(first: Regions, second: Regions) -> Regions:
    """The regions of one image, in order."""
    both = {name: (getattr(first, name), getattr(second, name)) for name in ("boxes", *_OTHERS)}
    made: dict[str, Any] = {name: None if parts[0] is None or parts[1] is None else np.concatenate(parts) for name, parts in both.items()}
    return replace(first, **made)
