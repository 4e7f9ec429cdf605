"""What the importers have in common: the imported row, its checks, and the keys by which files are asked."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

import numpy as np

from schemas.errors import CmclError
from schemas.rejects import Reason
from transforms.engines.detectors.base import Regions

MAX_BOXES = 1000
_HALF = 65504.0  # the largest finite float16
_SLACK = 0.02  # of a side: half precision and rounding put boxes a little outside
_FIELDS = ("key", "name", "stem", "number")


class RegionFileError(CmclError):
    """One image's entry that cannot be taken; `reason` and `detail` are those of its reject."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Imported:
    """An entry as its file has it; None: the format or the file lacks it.

    boxes: float [n, 4], xyxy, in pixels of an image of `width` x `height`, or, where these are None, in shares of its sides.
    features float [n, D], confidence float [n], soft_labels float [n, C] (column 0 the background).
    """

    boxes: np.ndarray
    features: np.ndarray
    confidence: np.ndarray | None = None
    soft_labels: np.ndarray | None = None
    width: int | None = None
    height: int | None = None


class RegionStore(Protocol):
    """Entries by key."""

    @property
    def stamp(self) -> object:
        """A JSON-able value that changes when the files do."""

    def keys(self) -> Iterator[str]:
        """Every key, in the order of the files."""

    def get(self, key: str) -> Imported | None:
        """The entry of a key, None when there is none. Raises RegionFileError when it is damaged."""


def check_template(template: str) -> str:
    """The template, unless it asks for other fields than key, name, stem and number; raises ValueError then."""
    for _, name, _, conversion in string.Formatter().parse(template):
        if name is not None and (name not in _FIELDS or conversion):
            raise ValueError(f"the key {template!r} may hold {{{'}, {'.join(_FIELDS)}}} and nothing else in braces")
    return template


def key_of(image_id: str, template: str) -> str:
    """The key of an image in a region file, by a template such as `coco_val2014_{number:012d}.npz`.

    Fields, for the image `coco/val/0042.jpg` of the collection `coco`: key `val/0042.jpg`, name `0042.jpg`, stem `0042`, number 42
    (the digits that the stem ends with). Raises RegionFileError when the image has no number and the template wants one.
    """
    key = image_id.partition("/")[2]
    name = PurePosixPath(key).name
    stem = PurePosixPath(name).stem
    digits = stem[len(stem.rstrip("0123456789")):]
    if "{number" in template and not digits:
        raise RegionFileError(Reason.IMAGE_MISSING, f"{image_id} does not end with a number, which the key {template!r} asks for")
    return template.format_map({"key": key, "name": name, "stem": stem, "number": int(digits or 0)})


def to_regions(entry: Imported, width: int, height: int, features: int, classes: int) -> Regions:
    """The entry as regions of an image of `width` x `height` px, checked.

    Raises RegionFileError (BAD_ROW) for other widths than `features` and `classes`, lengths that differ, numbers that are not finite or
    do not fit half precision, boxes outside of the image, and an entry made from an image of another size.
    """
    if entry.width is not None and (entry.width, entry.height) != (width, height):
        raise RegionFileError(Reason.BAD_ROW, f"made from an image of {entry.width} x {entry.height} pixels, this one has "
                              f"{width} x {height}")
    count = len(entry.boxes)
    _check_shape("boxes", entry.boxes, (count, 4))
    _check_shape("features", entry.features, (count, features))
    if entry.confidence is not None:
        _check_shape("confidence", entry.confidence, (count,))
    if entry.soft_labels is not None:
        _check_shape("soft labels", entry.soft_labels, (count, classes))
    sides = np.array([width, height, width, height], np.float64)
    shares = np.asarray(entry.boxes, np.float64) / (sides if entry.width is not None else 1.0)
    if (shares < -_SLACK).any() or (shares > 1 + _SLACK).any() or (shares[:, 2:] < shares[:, :2]).any():
        raise RegionFileError(Reason.BAD_ROW, "a box lies outside of the image, or ends before it begins")
    boxes = entry.boxes if entry.width is not None else shares * sides
    return Regions(
        width, height, np.asarray(boxes, np.float32), entry.features.astype(np.float16),
        confidence=None if entry.confidence is None else entry.confidence.astype(np.float32),
        soft_labels=None if entry.soft_labels is None else entry.soft_labels.astype(np.float16))


def _check_shape(name: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise RegionFileError(Reason.BAD_ROW, f"{name} have the shape {values.shape}, not {shape}")
    if values.dtype.kind != "f":
        raise RegionFileError(Reason.BAD_ROW, f"{name} are {values.dtype}, not floating point")
    if not np.isfinite(values).all() or (values.size and np.abs(values).max() > _HALF):
        raise RegionFileError(Reason.BAD_ROW, f"{name} hold numbers that are not finite or do not fit half precision")
