"""A hash of a corpus's content, independent of partitions, workers, record batches, location and time.

Rows are hashed in the corpus's global order (`schemas.ids.partition_of`), column by column: each leaf of the schema has its own
SHA-256 streams over validity, lengths and values, so batch and file boundaries do not matter. Dictionary columns are hashed as their
decoded values. Fields marked `layout` (paths, row numbers) are left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.corpus import WHOLE, Corpus
from schemas.tables import LAYOUT


class TableHash:
    """Hashes a stream of record batches of one schema."""

    def __init__(self, schema: pa.Schema):
        self._schema = schema
        self._streams: dict[str, hashlib._Hash] = {}
        self._rows = 0

    def update(self, batch: pa.RecordBatch) -> None:
        """Adds the rows of a batch."""
        self._rows += batch.num_rows
        for field, column in zip(self._schema, batch.columns, strict=True):
            if not is_layout(field):
                self._add(field.name, field.type, column)

    def hexdigest(self) -> str:
        """The hash (64 hex digits) of the rows so far."""
        total = hashlib.sha256(str(self._rows).encode())
        for name in sorted(self._streams):
            total.update(name.encode() + b"\0" + self._streams[name].digest())
        return total.hexdigest()

    def _stream(self, name: str, data: Any) -> None:
        if name not in self._streams:
            self._streams[name] = hashlib.sha256()
        self._streams[name].update(data)

    def _add(self, name: str, kind: pa.DataType, array: pa.Array) -> None:
        if pa.types.is_dictionary(kind):
            return self._add(name, kind.value_type, array.cast(kind.value_type))
        self._stream(name + "?", np.asarray(array.is_valid()).astype(np.uint8))
        if pa.types.is_struct(kind):
            for index in range(kind.num_fields):
                field = kind.field(index)
                if not is_layout(field):
                    self._add(f"{name}.{field.name}", field.type, pc.struct_field(array, index))
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            self._lengths(name, pc.list_value_length(array))
            self._add(name + "[]", kind.value_type, array.flatten())
        elif pa.types.is_string(kind) or pa.types.is_binary(kind):
            self._lengths(name, pc.binary_length(array))
            values = array.drop_null()
            if len(values):
                offsets = np.frombuffer(values.buffers()[1], np.int32)[values.offset : values.offset + len(values) + 1]
                self._stream(name, memoryview(values.buffers()[2] or b"")[offsets[0] : offsets[-1]])
        elif pa.types.is_fixed_size_binary(kind):
            values = array.drop_null()
            width = kind.byte_width
            self._stream(name, memoryview(values.buffers()[1] or b"")[values.offset * width : (values.offset + len(values)) * width])
        elif not pa.types.is_primitive(kind):  # NumPy would hash pointers, which differ between runs
            raise TypeError(f"{name}: columns of {kind} cannot be hashed")
        else:
            self._stream(name, np.ascontiguousarray(array.drop_null().to_numpy(zero_copy_only=False)))
        return None

    def _lengths(self, name: str, lengths: pa.Array) -> None:
        self._stream(name + "#", np.ascontiguousarray(lengths.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)))


def is_layout(field: pa.Field) -> bool:
    """Whether a column depends on a corpus's location or partitioning (`schemas.tables.column`)."""
    return bool(field.metadata) and b"layout" in field.metadata and field.metadata[b"layout"] == LAYOUT["layout"].encode()


def hash_batches(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> str:
    """The hash (64 hex digits) of rows in the given order."""
    total = TableHash(schema)
    for batch in batches:
        total.update(batch)
    return total.hexdigest()


def hash_table(corpus: Corpus, stage: str, table: str, corpus_wide: bool = False) -> str:
    """The hash (64 hex digits) of a stage's table over all partitions, in order. Raises as `TableFile` does."""
    found = [WHOLE] if corpus_wide else list(range(corpus.partitions))
    with corpus.open(stage, table, found[0]) as first:
        schema = first.schema

    def batches() -> Iterator[pa.RecordBatch]:
        for partition in found:
            with corpus.open(stage, table, partition) as file:
                yield from file.batches()

    return hash_batches(schema, batches())
