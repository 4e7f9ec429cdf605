"""Fetches the encoded bytes of images: whole files, byte ranges of tars, cells of Parquet files; from any fsspec store.

Files that contain many images stay open across rows, a few at a time. All functions are thread-safe.
"""

from __future__ import annotations

import errno
import os
import re
from collections import OrderedDict
from contextlib import suppress
from threading import Lock
from typing import IO, Any
from urllib.parse import parse_qs

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas import files
from schemas.errors import CmclError, SourceError
from schemas.rejects import Reason
from schemas.retries import is_transient
from transforms.ingest.images.hosts import Hosts, host_of

MAX_BYTES = 64 << 20
_OPEN_FILES = 8
_CELL = re.compile(r"(.+)#(column=[^#&]*&row=[0-9]+)", re.DOTALL)
_TRANSIENT_ERRNOS = frozenset(
    {  # of network and failing disks
        errno.EIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.EAGAIN,
        errno.EINTR,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENODEV,
        errno.ENXIO,
        errno.ENOTCONN,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ECONNRESET,
        errno.EREMOTEIO,
    }
)
_GROUP_BYTES = 256 << 20  # a Parquet row group of images up to this size is kept decoded


class ImageError(CmclError):
    """An image that cannot be read: `reason` and `detail` are those of its reject."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


class _Handle:
    """An open file and, for Parquet, the last column chunk read. Use under `lock`; `closed` once evicted from the cache."""

    def __init__(self, uri: str):
        self.lock = Lock()
        self.closed = False
        self.file: IO[bytes] = _open(uri)
        self.parquet: pq.ParquetFile | None = None
        self.group: tuple[str, int] | None = None
        self.column: pa.ChunkedArray | None = None

    def close(self) -> None:
        with self.lock:
            self.closed = True
            self.group = self.column = self.parquet = None
            with suppress(OSError):  # nothing was written, so nothing is lost
                self.file.close()


class _Handles:
    """An LRU cache of open files, most recent last. A local file that has been replaced is reopened."""

    def __init__(self, size: int):
        self._size = size
        self._lock = Lock()
        self._open: OrderedDict[tuple[int, str, Any], _Handle] = OrderedDict()

    def get(self, uri: str) -> _Handle:
        # The process id: a forked child must not share its parent's file positions.
        key = (os.getpid(), uri, _local_stamp(uri))
        with self._lock:
            handle = self._open.get(key)
            if handle is not None:
                self._open.move_to_end(key)
                return handle
        new = _Handle(uri)
        dropped = []
        with self._lock:
            handle = self._open.setdefault(key, new)
            if handle is not new:
                dropped.append(new)
            while len(self._open) > self._size:
                dropped.append(self._open.popitem(last=False)[1])
        for old in dropped:
            old.close()
        return handle

    def clear(self) -> None:
        with self._lock:
            handles, self._open = list(self._open.values()), OrderedDict()
        for handle in handles:
            handle.close()


_HANDLES = _Handles(_OPEN_FILES)
_HOSTS = Hosts()


def close_files() -> None:
    """Closes the cached files, and forgets which hosts failed."""
    _HANDLES.clear()
    _HOSTS.forget()


def _local_stamp(uri: str) -> tuple[int, int, int] | None:
    if "://" in uri and not uri.startswith("file://"):
        return None
    stat = os.stat(uri.removeprefix("file://"))
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def read_bytes(uri: str, offset: int | None = None, length: int | None = None, max_bytes: int = MAX_BYTES) -> bytes:
    """The encoded bytes of one image: all of `uri`, `length` bytes from `offset`, or the cell that `uri` names
    (`FILE.parquet#column=jpg&row=17`).

    Raises ImageError: IMAGE_MISSING (no such file, null cell), IMAGE_TOO_LARGE (more than `max_bytes`, checked before reading),
    IMAGE_UNREACHABLE (a transient failure of the store or disk: a later run tries again), IMAGE_UNREADABLE (anything else). Raises
    SourceError if the package for the store is missing. Images of a host that has not responded several times in a row are
    IMAGE_UNREACHABLE without an attempt.
    """
    host = host_of(uri)
    if _HOSTS.is_given_up(host):
        raise ImageError(Reason.IMAGE_UNREACHABLE, f"{uri}: not tried, since {host} failed repeatedly (`waiting.host_failures`)")
    try:
        data = _read(uri, offset, length, max_bytes)
    except ImageError as error:
        _HOSTS.note(host, failed=error.reason is Reason.IMAGE_UNREACHABLE)
        raise
    _HOSTS.note(host, failed=False)
    return data


def _read(uri: str, offset: int | None, length: int | None, max_bytes: int) -> bytes:
    if length is not None and length > max_bytes:
        raise ImageError(Reason.IMAGE_TOO_LARGE, f"{length} bytes; the limit is {max_bytes}")
    try:
        if offset is not None:
            return _read_range(uri, offset, length, max_bytes)
        cell = _CELL.fullmatch(uri)
        if cell and _is_table(cell.group(1), uri):
            return _read_cell(cell.group(1), cell.group(2), max_bytes)
        return _read_whole(uri, max_bytes)
    except FileNotFoundError as error:
        if error.__cause__ is not None and may_be_transient(uri, error):  # fsspec turns any error of a web server into this
            raise ImageError(Reason.IMAGE_UNREACHABLE, f"{uri}: {error.__cause__ or type(error.__cause__).__name__}") from error
        raise ImageError(Reason.IMAGE_MISSING, f"no such file: {uri}") from error
    except IsADirectoryError as error:
        raise ImageError(Reason.IMAGE_UNREADABLE, f"{uri} is a folder, not a file") from error
    except ImportError as error:
        raise SourceError(f"{uri}: {error}") from error
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # whatever a single file, cell or address raises
        reason = Reason.IMAGE_UNREACHABLE if may_be_transient(uri, error) else Reason.IMAGE_UNREADABLE
        raise ImageError(reason, f"{uri}: {type(error).__name__}: {error}") from error


def may_be_transient(uri: str, error: Exception) -> bool:
    """Whether a read error may be due to a temporary state of the store or machine, so that a later run may succeed."""
    if files.is_local(uri):
        return isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNOS
    return is_transient(error)


def _is_table(file: str, uri: str) -> bool:
    """Whether `uri` names a cell of `file`, and is not itself the name of a local file, which an image may have."""
    return file.endswith(".parquet") or "://" in uri or not os.path.exists(uri)


def _open(uri: str) -> IO[bytes]:
    """Opens a path or URL. "::" is part of the name in a path, but chains filesystems in a URL."""
    return files.open_read(uri) if "://" in uri else files.open_regular(uri)


def _read_whole(uri: str, max_bytes: int) -> bytes:
    with _open(uri) as file:
        size = getattr(file, "size", None)
        if isinstance(size, int) and size > max_bytes:
            raise ImageError(Reason.IMAGE_TOO_LARGE, f"{size} bytes; the limit is {max_bytes}")
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ImageError(Reason.IMAGE_TOO_LARGE, f"more than {max_bytes} bytes")
    return data


def _read_range(uri: str, offset: int, length: int | None, max_bytes: int) -> bytes:
    while True:
        handle = _HANDLES.get(uri)
        with handle.lock:
            if handle.closed:  # evicted from the cache between the two lines above
                continue
            handle.file.seek(offset)
            data = handle.file.read(max_bytes + 1 if length is None else length)
        break
    if length is not None and len(data) != length:
        raise ImageError(Reason.IMAGE_UNREADABLE, f"{uri}: {len(data)} bytes at {offset} instead of {length}: the file has been truncated")
    if len(data) > max_bytes:
        raise ImageError(Reason.IMAGE_TOO_LARGE, f"more than {max_bytes} bytes")
    return data


def _read_cell(file: str, fragment: str, max_bytes: int) -> bytes:
    query = parse_qs(fragment, strict_parsing=True)
    column, row = query["column"][0], int(query["row"][0])
    while True:
        handle = _HANDLES.get(file)
        with handle.lock:
            if handle.closed:
                continue
            cell = _cell(handle, column, row)
        break
    value = cell.value if isinstance(cell, pa.DictionaryScalar) else cell
    if not value.is_valid:
        raise ImageError(Reason.IMAGE_MISSING, f"{file}: column {column!r} of row {row} is null")
    data = (value if isinstance(value, pa.BinaryScalar) else value.cast(pa.large_binary())).as_buffer()  # cast: views
    if data.size > max_bytes:
        raise ImageError(Reason.IMAGE_TOO_LARGE, f"{data.size} bytes; the limit is {max_bytes}")
    return data.to_pybytes()


def _has_dictionary(file: IO[bytes], column: str) -> bool:
    """Whether a column is dictionary-encoded in some row group of a Parquet file."""
    metadata = pq.ParquetFile(file).metadata
    chunks = (metadata.row_group(group).column(i) for group in range(metadata.num_row_groups) for i in range(metadata.num_columns))
    return any(chunk.path_in_schema == column and chunk.has_dictionary_page for chunk in chunks)


def _cell(handle: _Handle, column: str, row: int) -> pa.Scalar:
    if handle.parquet is None:
        # As dictionaries: a small file may contain many copies of an image, and each distinct one is held in memory only once.
        handle.parquet = pq.ParquetFile(handle.file, read_dictionary=[column] if _has_dictionary(handle.file, column) else None)
    metadata = handle.parquet.metadata
    if not 0 <= row < metadata.num_rows:
        raise ValueError(f"row {row} of a file with {metadata.num_rows} rows")
    group = 0
    while row >= metadata.row_group(group).num_rows:
        row -= metadata.row_group(group).num_rows
        group += 1
    if handle.group != (column, group):
        handle.group = handle.column = None  # free the old one first
        sizes = (metadata.row_group(group).column(i) for i in range(metadata.num_columns))
        size = sum(chunk.total_uncompressed_size for chunk in sizes if chunk.path_in_schema == column)
        if size > _GROUP_BYTES:
            return _scan(handle.parquet, group, column, row)
        handle.column = _member(handle.parquet.read_row_group(group, columns=[column]).column(0), column)
        handle.group = column, group
    assert handle.column is not None
    return handle.column[row]


def _scan(parquet: pq.ParquetFile, group: int, column: str, row: int) -> pa.Scalar:
    """One cell of a row group that is too large to cache: reads up to it in small batches."""
    for batch in parquet.iter_batches(batch_size=16, row_groups=[group], columns=[column]):
        if row < batch.num_rows:
            return _member(pa.chunked_array([batch.column(0)]), column)[row]
        row -= batch.num_rows
    raise ValueError(f"row group {group} ends before its row {row}")


def _member(values: pa.ChunkedArray, column: str) -> pa.ChunkedArray:
    values = pc.struct_field(values, "bytes") if "." in column and pa.types.is_struct(values.type) else values
    return values
