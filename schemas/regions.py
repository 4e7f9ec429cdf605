"""Reads the `regions` table one image at a time, and derives the inputs of UNIMO and UNITER.

Derived values are not stored: the `[IMG]` feature and soft label, which are means over regions (UNIMO), and the box geometry, of 5
numbers (UNIMO) or 7 (UNITER). See Li et al., arXiv 2012.15409, and Chen et al., arXiv 1909.11740.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.corpus import Corpus
from schemas.errors import SchemaError
from schemas.store import RowFile

NAMES_KEY, ATTRIBUTES_KEY = b"class_names", b"attribute_names"
BACKGROUND = 0  # the background class, where classes have names
COLUMNS_HELD = 4096  # record batches of a memory map whose arrays are cached
IMG_BOX_5 = np.array([0, 0, 1, 1, 1], np.float32)  # UNIMO's location of `[IMG]`
IMG_BOX_7 = np.array([0, 0, 1, 1, 1, 1, 1], np.float32)  # UNITER's location of `[IMG]`


@dataclass(frozen=True)
class Regions:
    """One image's n regions, by descending confidence; the arrays may be views of a file, so do not write to them.

    width, height: of the upright image, px. boxes: float32 [n, 4] (xyxy, px). features: float16 [n, D]. confidence: float32 [n].
    soft_labels: float16 [n, C], column 0 the background. classes: int32 [n], columns of soft_labels. attributes: int32 [n].
    None: unknown. image_id: "" until they are in a corpus.
    """

    width: int
    height: int
    boxes: np.ndarray
    features: np.ndarray
    confidence: np.ndarray | None = None
    soft_labels: np.ndarray | None = None
    classes: np.ndarray | None = None
    attributes: np.ndarray | None = None
    image_id: str = ""

    @property
    def img_feature(self) -> np.ndarray:
        """The feature of `[IMG]`: the mean over regions, float32 [D]; zeros when there are none."""
        return _mean(self.features)

    @property
    def img_soft_label(self) -> np.ndarray | None:
        """The soft label of `[IMG]`: the mean over regions, float32 [C]; None when there are no soft labels."""
        return None if self.soft_labels is None else _mean(self.soft_labels)

    @property
    def geometry_5(self) -> np.ndarray:
        """UNIMO's location, float32 [n, 5]: x1/W, y1/H, x2/W, y2/H, area/(W H)."""
        return geometry(self.boxes, self.width, self.height, 5)

    @property
    def geometry_7(self) -> np.ndarray:
        """UNITER's location, float32 [n, 7]: x1, y1, x2, y2, w, h, w h, all normalised."""
        return geometry(self.boxes, self.width, self.height, 7)


class Shown(NamedTuple):
    """The part of one image's regions that every training batch contains; fields as in `Regions`."""

    width: int
    height: int
    boxes: np.ndarray
    features: np.ndarray
    confidence: np.ndarray | None


def geometry(boxes: np.ndarray, width: np.ndarray | int, height: np.ndarray | int, numbers: int) -> np.ndarray:
    """The location of boxes, float32 [..., numbers]: UNIMO's 5 numbers or UNITER's 7.

    boxes: float32 [..., 4] (xyxy, px). width, height: of the images, px, in shapes that broadcast with [...].
    """
    found = np.empty((*boxes.shape[:-1], numbers), np.float32)
    np.divide(boxes[..., ::2], np.asarray(width, np.float32)[..., None], out=found[..., 0:4:2])
    np.divide(boxes[..., 1::2], np.asarray(height, np.float32)[..., None], out=found[..., 1:4:2])
    wide, tall = found[..., 2] - found[..., 0], found[..., 3] - found[..., 1]
    if numbers == 7:
        found[..., 4], found[..., 5] = wide, tall
    found[..., -1] = wide * tall
    return found


def class_names(schema: pa.Schema) -> list[str] | None:
    """The class names of the soft labels' columns in a `regions` schema, None when it has none."""
    return _names(schema, NAMES_KEY)


def attribute_names(schema: pa.Schema) -> list[str] | None:
    """The names of the attributes in a `regions` schema, None when it has none."""
    return _names(schema, ATTRIBUTES_KEY)


def _names(schema: pa.Schema, key: bytes) -> list[str] | None:
    held = (schema.metadata or {}).get(key)
    return json.loads(held) if held else None


class RegionFile(RowFile):
    """A partition of the `regions` table, one image at a time; without copies if the file is local and uncompressed.

    Raises as `RowFile` does. `names`: class names of the soft labels' columns, None when unknown.
    """

    def __init__(self, url: str, sha256: str | None = None):
        super().__init__(url, "regions", sha256=sha256)
        try:
            widths = [self.schema.field(name).type.value_type.list_size for name in ("features", "soft_labels")]
            self.names = class_names(self.schema)
        except (KeyError, AttributeError, ValueError) as error:
            raise SchemaError(f"{url}: its columns are not those of regions: {error}") from None
        self.features, self.classes = (int(width) for width in widths)
        self._columns = lru_cache(COLUMNS_HELD if self.mapped else 1)(self._columns_of)

    def _columns_of(self, index: int) -> _Columns:
        try:
            return _Columns.of(self.batch(index))
        except (KeyError, pa.ArrowException) as error:
            raise SchemaError(f"{self.url}: its columns are not those of regions: {error}") from None

    def __getitem__(self, row: int) -> Regions:
        """The regions in row `row`. Raises IndexError outside [0, len)."""
        index, at = self.locate(row)
        return self._columns(index).image(at)

    def shown(self, row: int) -> Shown:
        """Size, boxes, features and confidence of row `row`, without the cost of the rest. Raises IndexError outside [0, len)."""
        index, at = self.locate(row)
        return self._columns(index).shown(at)

    def image_ids(self) -> list[str]:
        """The image id of each row."""
        return list(self.read(["image_id"])["image_id"].to_pylist())

    def counts(self) -> np.ndarray:
        """The number of regions of each image, int32 [rows]; no features are read."""
        return np.asarray(pc.list_value_length(self.read(["boxes"])["boxes"]).to_numpy())


def open_regions(corpus: Corpus, stage: str, partition: int) -> RegionFile:
    """A partition of a stage's regions, whose bytes must be those that were written."""
    return RegionFile(corpus.table_url(stage, "regions", partition), corpus.content(stage, "regions", partition))


def regions_in(batch: pa.RecordBatch) -> Iterator[Regions]:
    """Each image of a record batch of `regions`, in order."""
    columns = _Columns.of(batch)
    return (columns.image(row) for row in range(batch.num_rows))


class _List(NamedTuple):
    """A list column of a record batch as arrays: row i is `values[starts[i]:starts[i + 1]]`, values [N] or [N, width].

    valid: bool [rows], or None if no row is null. holes: bool [N], which items are null, or None.
    """

    starts: list[int]
    values: np.ndarray
    valid: np.ndarray | None
    holes: np.ndarray | None

    @classmethod
    def of(cls, column: pa.ListArray) -> _List:
        items, width = column.values, None
        if pa.types.is_fixed_size_list(items.type):
            items, width = items.flatten(), items.type.list_size
        holes = None if width or not items.null_count else items.is_null().to_numpy(zero_copy_only=False)
        values = items.to_numpy(zero_copy_only=holes is None)
        valid = column.is_valid().to_numpy(zero_copy_only=False) if column.null_count else None
        return cls(column.offsets.to_pylist(), values.reshape(-1, width) if width else values, valid, holes)

    def row(self, row: int) -> np.ndarray | None:
        """The row\'s values; None when the row or any of its items is null."""
        if self.valid is not None and not self.valid[row]:
            return None
        start, end = self.starts[row], self.starts[row + 1]
        return None if self.holes is not None and self.holes[start:end].any() else self.values[start:end]


class _Columns(NamedTuple):
    """A record batch of regions as arrays."""

    image_ids: pa.StringArray
    width: list[int]
    height: list[int]
    alike: bool  # boxes, features and confidence have the same rows, and no nulls
    boxes: _List
    features: _List
    confidence: _List
    soft_labels: _List
    classes: _List
    attributes: _List

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> _Columns:
        lists = [_List.of(batch[name]) for name in ("boxes", "features", "confidence", "soft_labels", "class", "attributes")]
        alike = all(one.valid is None and one.holes is None and one.starts == lists[0].starts for one in lists[:3])
        return cls(batch["image_id"], batch["width"].to_pylist(), batch["height"].to_pylist(), alike, *lists)

    def shown(self, row: int) -> Shown:
        if self.alike:  # training reads every image, so this is worth a case of its own
            own = slice(self.boxes.starts[row], self.boxes.starts[row + 1])
            return Shown(self.width[row], self.height[row], self.boxes.values[own], self.features.values[own], self.confidence.values[own])
        boxes, features = self.boxes.row(row), self.features.row(row)
        assert boxes is not None and features is not None
        return Shown(self.width[row], self.height[row], boxes, features, self.confidence.row(row))

    def image(self, row: int) -> Regions:
        labels = self.soft_labels.row(row), self.classes.row(row), self.attributes.row(row)
        return Regions(*self.shown(row), *labels, image_id=self.image_ids[row].as_py())


def row_bytes(regions: int, features: int, classes: int, soft_labels: bool = True, attributes: bool = False) -> int:
    """Bytes of one image's values: 16 per box, 4 per confidence, class and attribute, 2 per feature and soft-label value."""
    return regions * (16 + 4 + 4 + 2 * features + (2 * classes if soft_labels else 0) + (4 if attributes else 0))


def _mean(values: np.ndarray) -> np.ndarray:
    if not len(values):
        return np.zeros(values.shape[1], np.float32)
    return values.mean(0, dtype=np.float32)
