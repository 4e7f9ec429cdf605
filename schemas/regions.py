"""Reading the `regions` table: one image's regions at a time, with what UNIMO and UNITER derive from them.

Nothing derived is stored. `[IMG]` inputs: the mean of the features and of the soft labels (UNIMO); box geometry of 5 numbers (UNIMO)
and of 7 (UNITER). See Li et al., arXiv 2012.15409, and Chen et al., arXiv 1909.11740.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.files import is_local
from schemas.store import TableFile
from schemas.tables import check_schema

NAMES_KEY = b"class_names"
_REMOTE_BATCHES = 2
IMG_BOX_5 = np.array([0, 0, 1, 1, 1], np.float32)  # the location of `[IMG]` as UNIMO has it
IMG_BOX_7 = np.array([0, 0, 1, 1, 1, 1, 1], np.float32)  # the same for UNITER's seven


@dataclass(frozen=True)
class ImageRegions:
    """One image's n regions; arrays are views of the file where it is local, so do not write to them.

    boxes float32 [n, 4] (xyxy, px), features float16 [n, D], confidence float32 [n], soft_labels float16 [n, C], classes int32 [n],
    attributes int32 [n]. What is None the corpus does not have.
    """

    image_id: str
    width: int
    height: int
    boxes: np.ndarray
    features: np.ndarray
    confidence: np.ndarray | None
    soft_labels: np.ndarray | None
    classes: np.ndarray | None
    attributes: np.ndarray | None

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
        scaled = self._scaled()
        area = (scaled[:, 2] - scaled[:, 0]) * (scaled[:, 3] - scaled[:, 1])
        return np.column_stack([scaled, area]).astype(np.float32)

    @property
    def geometry_7(self) -> np.ndarray:
        """UNITER's location, float32 [n, 7]: x1, y1, x2, y2, w, h, w h, all normalised."""
        scaled = self._scaled()
        wide, tall = scaled[:, 2] - scaled[:, 0], scaled[:, 3] - scaled[:, 1]
        return np.column_stack([scaled, wide, tall, wide * tall]).astype(np.float32)

    def _scaled(self) -> np.ndarray:
        return self.boxes / np.array([self.width, self.height, self.width, self.height], np.float32)


class RegionFile:
    """A partition of the `regions` table with access to any row in constant time; no row is copied where the file is local.

    Raises as `TableFile` does. `names`: of the soft labels' columns, None where the corpus does not know them.
    """

    def __init__(self, url: str):
        self._file = TableFile(url, "regions")
        schema = self._file.schema
        check_schema(schema, "regions", url)
        self.features: int = schema.field("features").type.value_type.list_size
        self.classes: int = schema.field("soft_labels").type.value_type.list_size
        held = (schema.metadata or {}).get(NAMES_KEY)
        self.names: list[str] | None = json.loads(held) if held else None
        # Batches of a local file are views of its memory map and cost nothing to keep; others are megabytes in memory.
        self._batch = lru_cache(None if is_local(url) else _REMOTE_BATCHES)(self._file.batch)
        count = self._file.num_batches
        self._rows = self._batch(0).num_rows if count else 0  # of every batch but the last
        self._length = (count - 1) * self._rows + self._batch(count - 1).num_rows if count else 0

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, row: int) -> ImageRegions:
        """The regions in row `row`. Raises IndexError outside of [0, len)."""
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return _row(self._batch(row // self._rows), row % self._rows)

    def image_ids(self) -> list[str]:
        """The image of each row."""
        return [image_id for number in range(self._file.num_batches) for image_id in self._batch(number)["image_id"].to_pylist()]

    def close(self) -> None:
        """Closes the file; regions already handed out stay valid."""
        self._file.close()

    def __enter__(self) -> RegionFile:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def row_bytes(regions: int, features: int, classes: int, soft_labels: bool = True, attributes: bool = False) -> int:
    """Bytes that the values of one image take: 4 x 4 a box, 4 a confidence and a class, 2 a feature and a soft label each."""
    return regions * (16 + 4 + 4 + 2 * features + (2 * classes if soft_labels else 0) + (4 if attributes else 0))


def _row(batch: pa.RecordBatch, row: int) -> ImageRegions:
    boxes, features = _values(batch["boxes"], row), _values(batch["features"], row)
    assert boxes is not None and features is not None
    return ImageRegions(
        batch["image_id"][row].as_py(), batch["width"][row].as_py(), batch["height"][row].as_py(), boxes, features,
        _values(batch["confidence"], row), _values(batch["soft_labels"], row), _values(batch["class"], row),
        _values(batch["attributes"], row))


def _values(column: pa.ListArray, row: int) -> np.ndarray | None:
    """One row of a list column, float or int [n] or [n, width]; None when it is null, or all its values are."""
    if not column[row].is_valid:
        return None
    items = column[row].values
    if pa.types.is_fixed_size_list(items.type):
        width = items.type.list_size
        return items.flatten().to_numpy(zero_copy_only=True).reshape(-1, width)
    if items.null_count:
        return None
    return items.to_numpy(zero_copy_only=True)


def _mean(values: np.ndarray) -> np.ndarray:
    if not len(values):
        return np.zeros(values.shape[1], np.float32)
    return values.mean(0, dtype=np.float32)
