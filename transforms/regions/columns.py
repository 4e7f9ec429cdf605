"""Converts regions to rows of the `regions` table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute  # noqa: F401 - `schemas.rejects` reaches it as an attribute of pyarrow

from schemas.regions import ATTRIBUTES_KEY, NAMES_KEY, Regions
from schemas.tables import regions_schema

_KINDS: dict[pa.DataType, Any] = {pa.float16(): np.float16, pa.float32(): np.float32, pa.int32(): np.int32}


def named_schema(features: int, classes: int, names: Sequence[str] | None, attributes: Sequence[str] | None = None) -> pa.Schema:
    """`regions_schema` of these widths, with the names of the soft labels' columns and of the attributes, if known, in its metadata."""
    schema = regions_schema(features, classes)
    known = {NAMES_KEY: names, ATTRIBUTES_KEY: attributes}
    held = {key: json.dumps(list(some), ensure_ascii=False) for key, some in known.items() if some is not None}
    return schema.with_metadata({**(schema.metadata or {}), **held}) if held else schema


def regions_batch(schema: pa.Schema, image_ids: Sequence[str], regions: Sequence[Regions]) -> pa.RecordBatch:
    """One row per image, in the given order.

    None is stored as a null row if the column is nullable, else as a list of nulls, one per box. Raises ValueError if the width of
    features or soft labels differs from the schema's, or if the lengths of one image differ.
    """
    columns: list[pa.Array] = [
        pa.array(image_ids, pa.string()),
        pa.array([one.width for one in regions], pa.int32()),
        pa.array([one.height for one in regions], pa.int32()),
    ]
    counts = [len(one.boxes) for one in regions]
    for name, values in (
        ("boxes", [one.boxes for one in regions]),
        ("confidence", [one.confidence for one in regions]),
        ("features", [one.features for one in regions]),
        ("soft_labels", [one.soft_labels for one in regions]),
        ("class", [one.classes for one in regions]),
        ("attributes", [one.attributes for one in regions]),
    ):
        columns.append(_lists(schema.field(name), counts, values, image_ids))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _lists(field: pa.Field, counts: list[int], values: Sequence[np.ndarray | None], image_ids: Sequence[str]) -> pa.Array:
    """A list column, of scalars or of fixed-size vectors, as in the schema."""
    inner = field.type.value_type
    width = inner.list_size if pa.types.is_fixed_size_list(inner) else None
    kind = _KINDS[inner.value_type if width else inner]
    absent = np.array([one is None for one in values], bool)
    if absent.all() and field.nullable:
        return pa.nulls(len(values), field.type)
    parts: list[np.ndarray] = []
    holes: list[np.ndarray] = []
    for image_id, count, one in zip(image_ids, counts, values, strict=True):
        shape: tuple[int, ...] = (count, width) if width else (count,)
        if one is None:
            shape = (0, *shape[1:]) if field.nullable else shape
            parts.append(np.zeros(shape, kind))
        elif one.shape != shape:
            raise ValueError(f"{image_id}: {field.name} has shape {one.shape} instead of {shape}")
        else:
            parts.append(one.astype(kind, copy=False))
        holes.append(np.full(shape[0], one is None))
    flat = np.concatenate([part.reshape(-1) for part in parts]) if parts else np.zeros(0, kind)
    mask: Any = np.concatenate(holes) if holes and not field.nullable and absent.any() else None
    items = pa.array(flat, inner.value_type if width else inner, mask=mask if not width else None)
    if width:
        items = pa.FixedSizeListArray.from_arrays(items, width)
    ends = np.cumsum([0, *(len(part) for part in parts)]).astype(np.int32)
    nulls = pa.array(absent) if field.nullable and absent.any() else None
    return pa.ListArray.from_arrays(pa.array(ends), items, mask=nulls).cast(field.type)
