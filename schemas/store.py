"""Reads and writes table files: Arrow IPC files with record batches of a fixed size, at any fsspec URL.

Local files are memory-mapped and read without copies. Files are written atomically (`schemas/files.py`).
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Self

import pyarrow as pa

from schemas import checked, files
from schemas.errors import CorpusError, SchemaError
from schemas.seals import STRICT
from schemas.tables import BATCH_ROWS, check_schema, name_of

_MAPPED_BATCHES, _HELD_BATCHES = 4096, 2
# What pyarrow raises, besides its own, when it reads damaged bytes.
DAMAGE = (pa.ArrowException, OSError, KeyError, UnicodeDecodeError)


@dataclass(frozen=True)
class FileInfo:
    """A finished file: its name in its folder, its table, number of rows, size in bytes, and SHA-256 (hex)."""

    __pydantic_config__ = STRICT

    name: str
    table: str
    rows: int
    bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the same fields."""
        return asdict(self)


class TableWriter:
    """Writes one table file, regrouping its input into record batches of a fixed number of rows.

    A context manager: the file appears when the block succeeds, and not at all when it raises. `info` is set afterwards.
    Memory: at most one batch plus the input of one `write`.

    Raises SchemaError when a batch does not have the table's schema, OSError when the URL cannot be written.
    """

    def __init__(self, url: str, schema: pa.Schema, batch_rows: int | None = None, compression: str | None = None):
        self.url = url
        self.schema = schema
        self.table = name_of(schema)
        self.batch_rows = batch_rows or BATCH_ROWS.get(self.table, 2**31)
        self.info: FileInfo | None = None
        self._options = pa.ipc.IpcWriteOptions(compression=compression)
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._rows = 0

    def __enter__(self) -> TableWriter:
        self._file = files.atomic_write(self.url)
        self._sink = self._file.__enter__()
        self._writer = pa.ipc.new_file(pa.PythonFile(self._sink, mode="w"), self.schema, options=self._options)
        return self

    def write(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Appends rows."""
        check_schema(batch.schema, self.table, f"a batch for {self.url}", self.schema)
        pieces = batch.to_batches() if isinstance(batch, pa.Table) else [batch]
        for piece in pieces:
            if piece.num_rows:
                self._pending.append(piece)
                self._pending_rows += piece.num_rows
        if self._pending_rows >= self.batch_rows:
            self._flush(whole=False)

    def _flush(self, whole: bool) -> None:
        table = pa.Table.from_batches(self._pending, schema=self.schema)
        start, end = 0, table.num_rows
        while end - start >= self.batch_rows or (whole and end > start):
            rows = min(self.batch_rows, end - start)
            self._writer.write_batch(_compact(table.slice(start, rows)))
            start += rows
        self._rows += start
        self._pending = table.slice(start).to_batches()
        self._pending_rows = end - start

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            try:
                self._flush(whole=True)
                self._writer.close()
            except BaseException:
                self._file.__exit__(*sys.exc_info())
                raise
        self._file.__exit__(kind, error, trace)
        if kind is None:
            name = self.url.rstrip("/").rpartition("/")[2]
            self.info = FileInfo(name, self.table, self._rows, self._sink.bytes, self._sink.sha256)
            if files.is_local(self.url):
                checked.remember(self.url, self.info.sha256)


def _compact(table: pa.Table) -> pa.RecordBatch:
    """The rows as one record batch with compact buffers: slices of larger buffers would be written with different padding."""
    columns = [pa.concat_arrays(column.chunks) for column in table.columns]
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)


class TableFile:
    """A table file opened for reading: its schema is checked, batches are read on demand, without copies when local.

    sha256: the expected hash of the file's bytes; None: they are not checked.

    Raises FileNotFoundError when it is missing, CorpusError when it is not a complete Arrow file or its bytes have another hash,
    SchemaError when it is another table or version.
    """

    def __init__(self, url: str, table: str, schema: pa.Schema | None = None, sha256: str | None = None):
        self.url = url
        try:
            self._source = checked.opened(url, sha256) if sha256 else _source(url)
            self._reader = pa.ipc.open_file(self._source)
            self.schema = self._reader.schema
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "no such file", url) from None
        except DAMAGE as error:
            raise CorpusError(f"{url} is not a complete Arrow file: {error}") from error
        check_schema(self.schema, table, url, schema)
        self.num_batches: int = self._reader.num_record_batches

    @property
    def mapped(self) -> bool:
        """Whether record batches are views of a memory map: the file is local and uncompressed."""
        if not isinstance(self._source, pa.MemoryMappedFile) or not self.num_batches:
            return False
        whole = self._source.read_buffer(self._source.size())
        self._source.seek(0)
        held = (held for column in self._reader.get_batch(0).columns for held in _addresses(column))
        return all(whole.address <= address < whole.address + whole.size for address in held)

    def batch(self, index: int) -> pa.RecordBatch:
        """The record batch at `index`."""
        return self._reader.get_batch(index)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The record batches in order."""
        for index in range(self.num_batches):
            yield self.batch(index)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The whole table, or some of its columns, as views of the memory map when local.

        Raises CorpusError when a record batch is damaged.
        """
        try:
            if columns is None:
                return self._reader.read_all()
            chosen = pa.ipc.IpcReadOptions(included_fields=[self.schema.get_field_index(name) for name in columns])
            table = pa.ipc.open_file(self._source, options=chosen).read_all()
            table.validate(full=True)
            return table.select(columns)
        except DAMAGE as error:
            raise CorpusError(
                f"{self.url} is damaged ({error}); `cmcl verify` lists every damaged file, and `cmcl run` rebuilds them"
            ) from error

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(self.batch(index).num_rows for index in range(self.num_batches))

    def close(self) -> None:
        """Closes the file; arrays already handed out stay valid."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _addresses(column: pa.Array) -> Iterator[int]:
    """The addresses of a column's non-empty buffers."""
    return (buffer.address for buffer in column.buffers() if buffer is not None and buffer.size)


class RowFile(TableFile):
    """A table file with constant-time access to any row, for files whose batches, except the last, have the same number of rows.

    Batches are validated when first read (offsets, lengths, UTF-8) and cached: many of a memory map, which cost nothing, few of other
    files, which occupy memory. Raises as `TableFile` does, and CorpusError, naming the file, for a damaged record batch.
    """

    def __init__(self, url: str, table: str, schema: pa.Schema | None = None, sha256: str | None = None):
        super().__init__(url, table, schema, sha256)
        try:
            held = _MAPPED_BATCHES if self.mapped else _HELD_BATCHES
        except DAMAGE as error:
            raise CorpusError(f"{url} is not a complete Arrow file: {error}") from error
        self._checked = lru_cache(held)(self._check)
        self.batch_rows = self._checked(0).num_rows if self.num_batches else 0
        last = self.num_batches - 1
        self._length = last * self.batch_rows + self._checked(last).num_rows if self.num_batches else 0

    def _check(self, index: int) -> pa.RecordBatch:
        try:
            batch = super().batch(index)
            batch.validate(full=True)
        except DAMAGE as error:
            raise CorpusError(
                f"{self.url}: record batch {index} is damaged ({error}); `cmcl verify` lists every damaged file, and "
                "`cmcl run` rebuilds them"
            ) from error
        return batch

    def batch(self, index: int) -> pa.RecordBatch:
        """The record batch at `index`, validated."""
        return self._checked(index)

    def __len__(self) -> int:
        return self._length

    def locate(self, row: int) -> tuple[int, int]:
        """The index of the record batch that contains row `row`, and the row's index in it. Raises IndexError outside [0, len)."""
        if not 0 <= row < self._length:
            raise IndexError(f"row {row} of {self._length} in {self.url}")
        return divmod(row, self.batch_rows)


def _source(url: str) -> pa.NativeFile:
    return pa.memory_map(files.local_path(url)) if files.is_local(url) else pa.PythonFile(files.open_read(url), mode="r")


def table_of(url: str) -> str | None:
    """The table name in a file's metadata; None when the file is missing, not a complete Arrow file, or has no such metadata."""
    try:
        with _source(url) as source:
            return name_of(pa.ipc.open_file(source).schema)
    except (OSError, ValueError, SchemaError, pa.ArrowException):
        return None
