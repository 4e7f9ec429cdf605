"""Digests of single rows, and the `rows` table: for each group of a task's input rows, their digest and the counts of their output.

A row's digest depends on the row alone, not on its record batch, the other rows or the file's location.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import column, table_schema

ROWS_TABLE = "rows"
_COUNT = pa.struct([pa.field("name", pa.dictionary(pa.int16(), pa.string()), False), pa.field("number", pa.int64(), False)])
ROWS = table_schema(
    ROWS_TABLE,
    1,
    [
        column("group", pa.string()),  # an id: of an image, a pair or a text
        column("digest", pa.binary(16)),  # of the group's rows in all input tables
        column("counts", pa.list_(_COUNT)),  # rows_in, reasons.* and numbers.*, sorted; zeros too
    ],
)

_Slices = tuple[memoryview, list[int], list[int]]  # a buffer, and the start and end of each row's bytes in it


def rows_table(groups: Sequence[str], digests: Sequence[bytes], counts: Sequence[Mapping[str, int]]) -> pa.RecordBatch:
    """The `rows` table of n groups."""
    names = sorted({name for own in counts for name in own})
    code = {name: number for number, name in enumerate(names)}
    flat = [(code[name], own[name]) for own in counts for name in sorted(own)]
    codes, numbers = zip(*flat, strict=True) if flat else ((), ())
    labels = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int16()), pa.array(names, pa.string()))
    values = pa.StructArray.from_arrays([labels, pa.array(numbers, pa.int64())], fields=list(_COUNT))
    offsets = np.cumsum([0, *map(len, counts)]).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), values, type=ROWS.field("counts").type)
    return pa.RecordBatch.from_arrays([pa.array(groups, pa.string()), pa.array(digests, pa.binary(16)), lists], schema=ROWS)


def row_digests(batch: pa.RecordBatch) -> list[bytes]:
    """A digest (16 bytes) of each of n rows, over all columns of the batch.

    Raises TypeError for a column of a type that no table has (unions, views).
    """
    first = np.arange(batch.num_rows, dtype=np.int64)
    found = [piece for field, array in zip(batch.schema, batch.columns, strict=True) for piece in _slices(array, field, first, first + 1)]
    if not found:
        return [b"\0" * 16] * batch.num_rows
    columns = [[view[start:end] for start, end in zip(starts, ends, strict=True)] for view, starts, ends in found]
    return [blake2b(b"".join(row), digest_size=16).digest() for row in zip(*columns, strict=True)]


def combined(parts: Sequence[bytes]) -> bytes:
    """One digest (16 bytes) of several."""
    return blake2b(b"".join(parts), digest_size=16).digest()


def _slices(array: pa.Array, field: pa.Field, starts: np.ndarray, ends: np.ndarray) -> Iterator[_Slices]:
    """For each leaf of a column, the bytes of each row, which has the array's elements `starts` to `ends`. Lengths precede values."""
    kind = field.type
    if pa.types.is_dictionary(kind):
        array, kind = array.cast(kind.value_type), kind.value_type
    if field.nullable:
        yield _fixed(np.asarray(array.is_valid()).astype(np.uint8), starts, ends)
    if pa.types.is_struct(kind):
        for number in range(kind.num_fields):
            yield from _slices(array.field(number), kind.field(number), starts, ends)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        offsets = np.asarray(array.offsets).astype(np.int64) if len(array) else np.zeros(1, np.int64)
        yield _fixed(np.diff(offsets), starts, ends)
        yield from _slices(array.values, kind.value_field, offsets[starts], offsets[ends])
    elif pa.types.is_fixed_size_list(kind):
        first, size = array.offset, kind.list_size
        yield from _slices(array.values, kind.value_field, (starts + first) * size, (ends + first) * size)
    elif pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        yield from _texts(array, kind, starts, ends)
    elif pa.types.is_fixed_size_binary(kind):
        filled = pc.fill_null(array, pa.scalar(bytes(kind.byte_width), kind)) if array.null_count else array
        width = kind.byte_width
        yield memoryview(filled.buffers()[1] or b"").cast("B"), *_ends(starts + filled.offset, ends + filled.offset, width)
    elif pa.types.is_primitive(kind):
        filled = pc.fill_null(array, pa.scalar(0, kind)) if array.null_count else array
        yield _fixed(np.ascontiguousarray(filled.to_numpy(zero_copy_only=False)), starts, ends)
    else:
        raise TypeError(f"{field.name}: columns of {kind} have no digest")


def _texts(array: pa.Array, kind: Any, starts: np.ndarray, ends: np.ndarray) -> Iterator[_Slices]:
    filled = pc.fill_null(array, pa.scalar(b"" if not pa.types.is_string(kind) else "", kind)) if array.null_count else array
    width = np.int64 if pa.types.is_large_binary(kind) else np.int32
    _, raw, data = filled.buffers()
    offsets = np.frombuffer(raw, width)[filled.offset : filled.offset + len(filled) + 1].astype(np.int64) if raw else np.zeros(1, np.int64)
    yield _fixed(np.diff(offsets), starts, ends)
    yield memoryview(data if data is not None else b"").cast("B"), offsets[starts].tolist(), offsets[ends].tolist()


def _fixed(values: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> _Slices:
    return memoryview(values.data).cast("B") if values.size else memoryview(b""), *_ends(starts, ends, values.itemsize)


def _ends(starts: np.ndarray, ends: np.ndarray, width: int) -> tuple[list[int], list[int]]:
    return (starts * width).tolist(), (ends * width).tolist()
