"""Parquet files as rows of Python values: read within limits, unusual types cast, unreadable rows reported one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas import files as store
from schemas.errors import SourceError
from schemas.text import quoted
from transforms.ingest.limits import Limits
from transforms.ingest.sources.opening import open_binary, wrap_source_errors

_ROWS = 1024  # rows read at a time
_PIECE = 64 << 20  # bytes of text decoded from a dictionary at a time
_ANY_ROWS = 1_000_000  # rows that any file may declare, whatever its size


@contextmanager
def open_table(url: str, limits: Limits) -> Iterator[pq.ParquetFile]:
    """Opens a Parquet file; raises SourceError if it is unreadable, or declares far more data than its size allows."""
    with open_binary(url, compression=None) as handle, wrap_source_errors(url):
        try:
            file = pq.ParquetFile(handle)
            _check(url, file.metadata, limits)
            coded = [
                column.path_in_schema
                for column in _columns(file.metadata)
                if column.has_dictionary_page and column.physical_type == "BYTE_ARRAY" and _is_plain_or_list(column, file.schema_arrow)
            ]
            yield pq.ParquetFile(handle, read_dictionary=sorted(set(coded))) if coded else file
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise SourceError(f"{quoted(url, 500)} is not a readable Parquet file: {quoted(error, 400)}") from error


def _is_plain_or_list(column: pq.ColumnChunkMetaData, schema: pa.Schema) -> bool:
    path = column.path_in_schema
    return path in schema.names or path.removesuffix(".list.element") in schema.names


def _columns(metadata: pq.FileMetaData) -> Iterator[pq.ColumnChunkMetaData]:
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            yield metadata.row_group(group).column(column)


def _check(url: str, metadata: pq.FileMetaData, limits: Limits) -> None:
    size = store.size_of(url)
    if size is not None and metadata.num_rows > max(_ANY_ROWS, size * limits.rows_per_byte):
        raise SourceError(f"{quoted(url, 500)} declares {metadata.num_rows} rows in {size} bytes, which exceeds `limits.rows_per_byte`")
    for column in _columns(metadata):
        if size is not None and column.num_values > max(_ANY_ROWS, size * limits.rows_per_byte):
            raise SourceError(
                f"{quoted(url, 500)}: column {quoted(column.path_in_schema)!r} declares {column.num_values} values in {size} bytes, which "
                "exceeds `limits.rows_per_byte`"
            )
        if column.total_uncompressed_size > max(_PIECE, column.total_compressed_size * limits.inflation):
            raise SourceError(
                f"{quoted(url, 500)}: column {quoted(column.path_in_schema)!r} expands to {column.total_uncompressed_size} "
                "bytes, which exceeds `limits.inflation`"
            )


def plain_type(kind: pa.DataType) -> pa.DataType:
    """A type without dictionary encoding or extension."""
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    return plain_type(kind.value_type) if pa.types.is_dictionary(kind) else kind


def is_bytes(kind: pa.DataType) -> bool:
    """Whether values are bytes, in any of Arrow's layouts."""
    return any(
        check(plain_type(kind))
        for check in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    )


def is_text(kind: pa.DataType) -> bool:
    """Whether values are text or bytes, in any of Arrow's layouts."""
    return is_bytes(kind) or any(
        check(plain_type(kind)) for check in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    )


def as_plain(values: pa.Array) -> pa.Array:
    """Values without dictionary encoding or extension; text and bytes as large_binary, since text may not be valid UTF-8."""
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if pa.types.is_dictionary(values.type):
        values = pa.DictionaryArray.from_arrays(values.indices, as_plain(values.dictionary)).dictionary_decode()
    return values.cast(pa.large_binary()) if is_text(values.type) else values


def read_rows(
    file: pq.ParquetFile,
    columns: Sequence[str],
    as_text: Sequence[str],
    limits: Limits,
) -> Iterator[dict[str, object] | Exception | None]:
    """Each row of a file as Python values by column; the exception for a row with an invalid value; None if a text is too long.

    `as_text`: columns whose text is returned as bytes; text of other columns is decoded.
    """
    for batch in file.iter_batches(batch_size=_ROWS, columns=list(columns)):
        for piece in _pieces(batch, limits):
            yield from [None] if piece is None else _values(piece, as_text)


def _pieces(batch: pa.RecordBatch, limits: Limits) -> Iterator[pa.RecordBatch | None]:
    """A batch in pieces whose dictionaries expand to at most `_PIECE` bytes of text; None for a single row that is too long."""
    sizes = [size for column in batch.columns if (size := _text_bytes(column)) is not None]
    if sum(int(size.sum()) for size in sizes) <= _PIECE:
        yield batch
        return
    for row in range(batch.num_rows):
        yield None if any(size[row] > limits.line_bytes for size in sizes) else batch.slice(row, 1)


def _text_bytes(column: pa.Array) -> np.ndarray | None:
    """The bytes of text, int64 [rows], that a dictionary-encoded column or list column expands to; None for other columns."""
    if isinstance(column, pa.DictionaryArray):
        if not is_text(column.type) or not len(column.dictionary):
            return None
        lengths = pc.take(pc.binary_length(column.dictionary), column.indices)
        return np.asarray(pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False), np.int64)
    if not isinstance(column, pa.ListArray | pa.LargeListArray) or (inner := _text_bytes(column.values)) is None:
        return None
    return np.diff(np.concatenate([[0], np.cumsum(inner)])[column.offsets.to_numpy()])


def _values(batch: pa.RecordBatch, as_text: Sequence[str]) -> Iterator[dict[str, object] | Exception]:
    names = batch.schema.names
    columns = [as_plain(column) for column in batch.columns]
    columns = [
        column if name in as_text or not is_text(kind) or is_bytes(kind) else _decoded(column)
        for name, kind, column in zip(names, batch.schema.types, columns, strict=True)
    ]
    try:
        lists = [column.to_pylist() for column in columns]
    except Exception:  # some value in some row: found below
        yield from (_row(names, columns, row) for row in range(batch.num_rows))
        return
    for values in zip(*lists, strict=True) if lists else [()] * batch.num_rows:
        yield dict(zip(names, values, strict=True))


def _decoded(column: pa.Array) -> pa.Array:
    """Bytes reinterpreted as text, unvalidated: invalid UTF-8 raises when the value is accessed."""
    return pa.Array.from_buffers(pa.large_string(), len(column), column.buffers(), column.null_count, column.offset)


def _row(names: Sequence[str], columns: Sequence[pa.Array], row: int) -> dict[str, object] | Exception:
    try:
        return {name: column[row].as_py() for name, column in zip(names, columns, strict=True)}
    except Exception as error:  # whatever a value raises affects only its row
        return error
