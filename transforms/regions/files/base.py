"""Common parts of the importers: an entry as read, its validation, and the keys of images in the files."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, Protocol

import numpy as np

from schemas.errors import CmclError
from schemas.regions import Regions
from schemas.rejects import Reason

MAX_BOXES = 1000
MAX_BYTES = 64 << 20  # 1000 regions of 2048 numbers in base64 are 11 MB
_HALF = 65504.0  # the largest finite float16
_SLACK = 0.02  # share of a side: half precision and rounding put boxes slightly outside the image
_FIELDS = ("key", "name", "stem", "number")

Dtype = Literal["float16", "float32", "float64"]


class RegionFileError(CmclError):
    """An invalid entry of one image; `reason` and `detail` are those of its reject."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Bounds:
    """Limits of an entry: bytes (compressed and decompressed), boxes; `dtype` of features and probabilities, None: the boxes'."""

    max_bytes: int = MAX_BYTES
    max_boxes: int = MAX_BOXES
    dtype: Dtype | None = None


@dataclass(frozen=True)
class RawRegions:
    """An entry as read, not validated; None: absent from the format or the file.

    boxes: float [n, 4], xyxy, in pixels of an image of `width` x `height`, or normalised to [0, 1] if these are None.
    features float [n, D], confidence float [n], soft_labels float [n, C] and classes int [n] (0 the background), attributes int [n].
    """

    boxes: np.ndarray
    features: np.ndarray
    confidence: np.ndarray | None = None
    soft_labels: np.ndarray | None = None
    width: int | None = None
    height: int | None = None
    classes: np.ndarray | None = None
    attributes: np.ndarray | None = None


class RegionStore(Protocol):
    """Looks up entries by key."""

    @property
    def damage(self) -> str:
        """Where entries without a readable key are, "" if nowhere."""

    def keys(self) -> Iterator[str]:
        """All keys, in file order."""

    def get(self, key: str) -> RawRegions | None:
        """The entry of a key, or None. Raises RegionFileError if it is damaged."""


def check_template(template: str) -> str:
    """The template. Raises ValueError if it uses fields other than key, name, stem and number, or another format."""
    for _, name, spec, conversion in string.Formatter().parse(template):
        if name is not None and (name not in _FIELDS or conversion):
            raise ValueError(f"the key {template!r} may contain no fields other than {{{'}, {'.join(_FIELDS)}}}")
        if spec and not _is_width(name or "", spec):
            raise ValueError(f"the key {template!r} may only give {{number}} a width of up to 99 digits, e.g. {{number:012d}}")
    return template


def _is_width(name: str, spec: str) -> bool:
    return name == "number" and spec.isascii() and spec.removesuffix("d").isdigit() and len(spec.removesuffix("d").lstrip("0")) <= 2


def key_of(image_id: str, template: str) -> str:
    """The key of an image in a region file, by a template such as `coco_val2014_{number:012d}.npz`.

    Fields, for the image `coco/val/0042.jpg` of the collection `coco`: key `val/0042.jpg`, name `0042.jpg`, stem `0042`, number 42
    (the stem's trailing digits). Raises RegionFileError if the template uses the number of an image that has none.
    """
    key = image_id.partition("/")[2]
    name = PurePosixPath(key).name
    stem = PurePosixPath(name).stem
    digits = stem[len(stem.rstrip("0123456789")) :]
    if "{number" in template and not digits:
        raise RegionFileError(Reason.IMAGE_MISSING, f"{image_id} does not end in a number, which the key {template!r} requires")
    return template.format_map({"key": key, "name": name, "stem": stem, "number": int(digits or 0)})


def to_regions(entry: RawRegions, width: int, height: int, features: int, classes: int) -> Regions:
    """The entry, validated, as regions of an image of `width` x `height` px. Without boxes, widths are not checked.

    Raises RegionFileError (BAD_ROW) for widths other than `features` and `classes`, differing lengths, numbers that are not finite or
    do not fit half precision, boxes outside the image, and an entry made from an image of another size.
    """
    if entry.width is not None and (entry.width, entry.height) != (width, height):
        raise RegionFileError(
            Reason.BAD_ROW, f"made from an image of {entry.width} x {entry.height} pixels, but this one has {width} x {height}"
        )
    if not count_of(entry):
        return _none(entry, width, height, features, classes)
    count = len(entry.boxes)
    _check_floats("boxes", entry.boxes, (count, 4))
    _check_floats("features", entry.features, (count, features))
    if entry.confidence is not None:
        _check_floats("confidence", entry.confidence, (count,))
    if entry.soft_labels is not None:
        _check_floats("soft labels", entry.soft_labels, (count, classes))
    sides = np.array([width, height, width, height], np.float64)
    shares = np.asarray(entry.boxes, np.float64) / (sides if entry.width is not None else 1.0)
    if not are_normalised(shares):
        raise RegionFileError(Reason.BAD_ROW, "a box is outside the image or has a negative side")
    boxes = entry.boxes if entry.width is not None else shares * sides
    return Regions(
        width,
        height,
        np.asarray(boxes, np.float32),
        entry.features.astype(np.float16),
        confidence=None if entry.confidence is None else entry.confidence.astype(np.float32),
        soft_labels=None if entry.soft_labels is None else entry.soft_labels.astype(np.float16),
        classes=None if entry.classes is None else _numbers("classes", entry.classes, count),
        attributes=None if entry.attributes is None else _numbers("attributes", entry.attributes, count),
    )


def count_of(entry: RawRegions) -> int:
    """The number of regions in an entry. Raises RegionFileError if the shapes of boxes and features are wrong."""
    boxes, features = entry.boxes, entry.features
    if not boxes.size and not features.size and (not boxes.ndim or not len(boxes)) and (not features.ndim or not len(features)):
        return 0
    if boxes.ndim != 2 or features.ndim != 2 or not features.shape[1]:
        raise RegionFileError(Reason.BAD_ROW, f"boxes have shape {boxes.shape} and features {features.shape} instead of [n, 4] and [n, D]")
    return len(boxes)


def are_normalised(boxes: np.ndarray) -> bool:
    """Whether boxes [n, 4] (xyxy) lie within the unit square, up to rounding, and have no negative sides."""
    return bool(((boxes >= -_SLACK) & (boxes <= 1 + _SLACK)).all() and (boxes[:, 2:] >= boxes[:, :2]).all())


def _none(entry: RawRegions, width: int, height: int, features: int, classes: int) -> Regions:
    return Regions(
        width,
        height,
        np.zeros((0, 4), np.float32),
        np.zeros((0, features), np.float16),
        confidence=None if entry.confidence is None else np.zeros(0, np.float32),
        soft_labels=None if entry.soft_labels is None else np.zeros((0, classes), np.float16),
        classes=None if entry.classes is None else np.zeros(0, np.int32),
        attributes=None if entry.attributes is None else np.zeros(0, np.int32),
    )


def _numbers(name: str, values: np.ndarray, count: int) -> np.ndarray:
    if values.shape != (count,) or values.dtype.kind not in "iu" or values.min() < 0 or values.max() >= 1 << 31:
        raise RegionFileError(Reason.BAD_ROW, f"{name} must be {count} integers from 0 to 2^31 - 1")
    return values.astype(np.int32)


def _check_floats(name: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise RegionFileError(Reason.BAD_ROW, f"{name} have shape {values.shape} instead of {shape}")
    if values.dtype.kind != "f":
        raise RegionFileError(Reason.BAD_ROW, f"{name} are {values.dtype}, not floating point")
    if not np.isfinite(values).all() or (values.size and np.abs(values).max() > _HALF):
        raise RegionFileError(Reason.BAD_ROW, f"{name} contain numbers that are not finite or do not fit half precision")
