"""Rows on their way through the shuffle, as bytes."""

from __future__ import annotations

import pyarrow as pa


def packed(rows: pa.Table) -> bytes:
    """One record batch of these rows, compressed, since runners may hold all rows of a corpus in memory.

    In front is its length, 8 bytes; the schema, larger than a few rows, is left out.
    """
    data = pa.RecordBatch.from_arrays([_column(one) for one in rows.columns], schema=rows.schema).serialize()
    return len(data).to_bytes(8, "little") + pa.compress(data, "lz4", asbytes=True)


def unpacked(data: bytes, schema: pa.Schema) -> pa.RecordBatch:
    """The rows of `packed`, of this schema."""
    batch = pa.decompress(memoryview(data)[8:], int.from_bytes(data[:8], "little"), "lz4")
    return pa.ipc.read_record_batch(batch, schema)


def _column(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
