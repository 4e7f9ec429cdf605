"""Digests of runs of rows, and the `rows` table: for each group of a task's input rows, their digest and the counts of their output.

A run's digest depends on its rows alone, not on their record batch, the other rows or the file's location.
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
    3,
    [
        column("group", pa.string()),  # an id: of an image, a pair or a text
        column("digest", pa.binary(16)),  # of the group's rows in all input tables
        column("counts", pa.list_(_COUNT)),  # rows_in, rows.*, reasons.* and numbers.*, sorted; zeros too
    ],
)

_Slices = tuple[memoryview, list[int], list[int]]  # a buffer, and the start and end of each run's bytes in it


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


def run_digests(batch: pa.RecordBatch, starts: np.ndarray) -> list[bytes]:
    """A digest (16 bytes) of each run of rows, over all columns of the batch.

    starts: int64, ascending, where the runs begin; the first is 0.

    Raises TypeError for a column of a type that no table has (unions, views).
    """
    ends = np.append(starts, batch.num_rows)[1:]
    counts = (ends - starts).astype("<i8")
    columns = [[count.tobytes() for count in counts]]
    for view, firsts, lasts in _slices(list(zip(batch.columns, batch.schema, strict=True)), starts, ends):
        columns.append([view[first:last] for first, last in zip(firsts, lasts, strict=True)])
    return [blake2b(b"".join(run), digest_size=16).digest() for run in zip(*columns, strict=True)]


def combined(parts: Sequence[bytes]) -> bytes:
    """One digest (16 bytes) of several."""
    return blake2b(b"".join(parts), digest_size=16).digest()


def _slices(columns: list[tuple[pa.Array, pa.Field]], starts: np.ndarray, ends: np.ndarray) -> Iterator[_Slices]:
    """The bytes of each run, whose elements of all columns are `starts` to `ends`. What has a fixed width stands together; lengths precede
    values. Few slices, since each costs as much as hashing it."""
    fixed: list[np.ndarray] = []
    texts: list[tuple[memoryview, np.ndarray]] = []
    lists: list[tuple[pa.Array, pa.Field, np.ndarray]] = []
    for array, field in columns:
        _leaves(array, field, fixed, texts, lists)
    for matrix in [np.concatenate(fixed, axis=1)] if len(fixed) > 2 else fixed:
        width = matrix.shape[1]
        view = memoryview(np.ascontiguousarray(matrix).data).cast("B") if matrix.size else memoryview(b"")
        yield view, (starts * width).tolist(), (ends * width).tolist()
    for view, offsets in texts:
        yield view, offsets[starts].tolist(), offsets[ends].tolist()
    for values, field, offsets in lists:
        yield from _slices([(values, field)], offsets[starts], offsets[ends])


def _leaves(
    array: pa.Array,
    field: pa.Field,
    fixed: list[np.ndarray],
    texts: list[tuple[memoryview, np.ndarray]],
    lists: list[tuple[pa.Array, pa.Field, np.ndarray]],
) -> None:
    """Sorts n elements of a column into bytes [n, width], texts and lists; of both, their values and offsets [n + 1]."""
    kind = field.type
    if field.nullable:
        fixed.append(_bytes(np.asarray(array.is_valid()).astype(np.uint8)))
    if pa.types.is_dictionary(kind):
        fixed.append(_text_digests(array))
    elif pa.types.is_struct(kind):
        for number in range(kind.num_fields):
            _leaves(array.field(number), kind.field(number), fixed, texts, lists)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        offsets = np.asarray(array.offsets).astype(np.int64) if len(array) else np.zeros(1, np.int64)
        fixed.append(_bytes(np.diff(offsets)))
        lists.append((array.values.slice(offsets[0], offsets[-1] - offsets[0]), kind.value_field, offsets - offsets[0]))
    elif pa.types.is_fixed_size_list(kind):
        values = array.values.slice(array.offset * kind.list_size, len(array) * kind.list_size)
        lists.append((values, kind.value_field, np.arange(len(array) + 1, dtype=np.int64) * kind.list_size))
    elif pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        view, offsets = _texts(array, kind)
        fixed.append(_bytes(np.diff(offsets)))
        texts.append((view, offsets))
    elif pa.types.is_fixed_size_binary(kind):
        filled = pc.fill_null(array, pa.scalar(bytes(kind.byte_width), kind)) if array.null_count else array
        data = np.frombuffer(filled.buffers()[1] or b"", np.uint8)
        width = kind.byte_width
        fixed.append(data[filled.offset * width : (filled.offset + len(filled)) * width].reshape(len(filled), width))
    elif pa.types.is_primitive(kind):
        filled = pc.fill_null(array, pa.scalar(0, kind)) if array.null_count else array
        fixed.append(_bytes(np.ascontiguousarray(filled.to_numpy(zero_copy_only=False))))
    else:
        raise TypeError(f"{field.name}: columns of {kind} have no digest")


def _text_digests(array: pa.DictionaryArray) -> np.ndarray:
    """A digest of each element's value, uint8 [n, 16]; of null, zeros."""
    values = array.dictionary.to_pylist()
    known = [blake2b(one if isinstance(one, bytes) else str(one).encode(), digest_size=16).digest() for one in values]
    table = np.frombuffer(b"".join([*known, bytes(16)]), np.uint8).reshape(-1, 16)
    return table[pc.fill_null(array.indices.cast(pa.int64()), len(known)).to_numpy()]


def _texts(array: pa.Array, kind: Any) -> tuple[memoryview, np.ndarray]:
    """The bytes, and their offsets int64 [n + 1]."""
    filled = pc.fill_null(array, pa.scalar(b"" if not pa.types.is_string(kind) else "", kind)) if array.null_count else array
    width = np.int64 if pa.types.is_large_binary(kind) else np.int32
    _, raw, data = filled.buffers()
    offsets = np.frombuffer(raw, width)[filled.offset : filled.offset + len(filled) + 1].astype(np.int64) if raw else np.zeros(1, np.int64)
    return memoryview(data if data is not None else b"").cast("B"), offsets


def _bytes(values: np.ndarray) -> np.ndarray:
    """n numbers as uint8 [n, width]."""
    return values.view(np.uint8).reshape(len(values), values.itemsize)
