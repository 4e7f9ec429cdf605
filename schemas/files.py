"""Files at any fsspec URL: atomic writes with hashing, reading, listing, removal of temporary files.

On a local disk, a file is written under a temporary name in the same folder and renamed when complete: atomic. For a remote store, it
is first written to a local temporary file (in TMPDIR), then uploaded. S3, Google and Azure make an upload visible only when complete,
so the upload is the commit. On other stores, the file is uploaded under a temporary name and moved, which is as atomic as their move:
on HDFS, renaming is atomic, but an existing file has to be removed first, so it is briefly missing; where a move is a copy and a removal
(FTP, WebDAV, fsspec's memory), a reader may see a partial file. Task records, written last, list every file with its size and hash.

Transient errors of remote stores are retried (`schemas/retries.py`).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, Literal

import fsspec
from fsspec.compression import compr
from fsspec.core import get_compression, url_to_fs
from fsspec.implementations.local import LocalFileSystem

from schemas.retries import RetryingReader, is_local_filesystem, is_web, retried, web_arguments

TEMPORARY = ".tmp-"
_TEMPORARY_NAME = re.compile(r"\.tmp-(.+)-[0-9a-f]{12}", re.DOTALL)
_PUT_IS_COMMIT = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl"})


def filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The filesystem of a URL or local path, and the path in it."""
    if "://" not in url:  # fsspec would parse `::` in a plain path as a URL chain
        return LocalFileSystem(), os.path.abspath(url)
    return url_to_fs(url, **(web_arguments() if url.startswith(("http://", "https://")) else {}))


def is_local(url: str) -> bool:
    """Whether a URL is on the local filesystem, where files can be memory-mapped."""
    return "://" not in url or url.startswith(("file://", "local://"))


def local_path(url: str) -> str:
    """The path of a local URL. Raises ValueError for other URLs."""
    filesystem_, path = filesystem(url)
    if not isinstance(filesystem_, LocalFileSystem):
        raise ValueError(f"{url} is not on a local filesystem")
    return path


def join(url: str, *names: str) -> str:
    """The URL of `names` below a URL."""
    return "/".join([url.rstrip("/"), *names])


class HashingSink:
    """A binary sink that counts and hashes (SHA-256) the bytes that it passes on to a file."""

    def __init__(self, file: Any):
        self._file = file
        self._digest = hashlib.sha256()
        self.bytes = 0
        self.closed = False

    def write(self, data: Any) -> int:
        """Writes a bytes-like object."""
        self._digest.update(data)
        size = memoryview(data).nbytes
        self.bytes += size
        self._file.write(data)
        return size

    def flush(self) -> None:
        """Does nothing: the underlying file is flushed when it is closed."""

    def close(self) -> None:
        """Marks the sink as closed; `atomic_write` closes the underlying file."""
        self.closed = True

    @property
    def sha256(self) -> str:
        """Hex digest of the bytes written so far."""
        return self._digest.hexdigest()


@contextmanager
def atomic_write(url: str) -> Iterator[HashingSink]:
    """Opens a sink whose content appears at `url` when the block succeeds, and is discarded when it raises.

    Raises OSError when `url` cannot be written.
    """
    fs, path = filesystem(url)
    folder, _, name = path.rpartition("/")
    if not is_local_filesystem(fs):
        with tempfile.NamedTemporaryFile(prefix="cmcl-put-") as whole:
            yield HashingSink(whole)
            whole.flush()
            _put(fs, whole.name, path)
        return
    temporary = f"{folder}/{TEMPORARY}{name}-{uuid.uuid4().hex[:12]}"
    os.makedirs(folder, exist_ok=True)
    try:
        with open(temporary, "xb") as file:  # never write through a link
            yield HashingSink(file)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def _put(fs: fsspec.AbstractFileSystem, local: str, path: str) -> None:
    """Uploads a local file to a path in a remote store."""
    if is_web(fs):
        raise OSError(errno.EROFS, "web servers are read-only: build the corpus on a disk or in an object store", path)
    if ({fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)) & _PUT_IS_COMMIT:
        retried(fs, lambda: fs.put_file(local, path))
        return
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/{TEMPORARY}{name}-{uuid.uuid4().hex[:12]}"
    retried(fs, lambda: fs.makedirs(folder, exist_ok=True))
    try:
        retried(fs, lambda: fs.put_file(local, temporary))
        retried(fs, lambda: _replace(fs, temporary, path))
    except BaseException:
        if fs.exists(temporary):
            fs.rm_file(temporary)
        raise


def _replace(fs: fsspec.AbstractFileSystem, temporary: str, path: str) -> None:
    if not fs.exists(temporary) and fs.exists(path):
        return  # an earlier attempt succeeded, and only the response was lost
    if fs.exists(path):
        fs.rm_file(path)
    fs.mv(temporary, path)


def open_read(url: str, compression: str | None = None) -> IO[bytes]:
    """Opens a file for reading; transient errors of remote stores are retried.

    compression: an fsspec compression name, or "infer" (from the file's name). Raises FileNotFoundError when the file is missing,
    OSError when it is a pipe or a device, which might block or never end.
    """
    fs, path = filesystem(url)
    file: Any = open_regular(path) if is_local_filesystem(fs) else RetryingReader(fs, path)
    packing = get_compression(path, compression)
    return compr[packing](file, mode="rb") if packing else file


def open_regular(path: str) -> IO[bytes]:
    """Opens a local file for reading. Raises OSError, without blocking, for a folder, pipe, socket or device."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise OSError(
            errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL,
            "a folder, not a file" if stat.S_ISDIR(mode) else "a pipe, socket or device, not a file",
            path,
        )
    return open(path, "rb")


_VERSION_FIELDS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")


def copy(source: str, target: str) -> str:
    """Copies a file, atomically, and returns the SHA-256 (hex) of its bytes."""
    with open_read(source) as file, atomic_write(target) as sink:
        while piece := file.read(1 << 22):
            sink.write(piece)
    return sink.sha256


def version_stamp(url: str) -> tuple[Any, ...] | None:
    """A value that changes when a file is rewritten; None when its store reports neither ETag nor time. Raises FileNotFoundError."""
    fs, path = filesystem(url)
    if is_local_filesystem(fs):
        found = os.stat(path)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    fs.invalidate_cache(path)
    info = retried(fs, lambda: fs.info(path))
    reported = tuple(str(info[name]) for name in _VERSION_FIELDS if info.get(name) is not None)
    return (*reported, info.get("size")) if reported else None


def write_json(url: str, value: Any) -> None:
    """Writes JSON (sorted keys, indented by two spaces) atomically."""
    with atomic_write(url) as sink:
        sink.write(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n")


def read_json(url: str) -> Any:
    """The JSON value at `url`; None when the file is missing or not valid JSON."""
    try:
        with open_read(url) as file:
            return json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
        return None


@dataclass(frozen=True)
class Entry:
    """A folder's entry; `size` in bytes, 0 unless it is a file. Links are not followed: their kind is "link", whatever they point to."""

    name: str
    kind: Literal["file", "folder", "link", "other"]
    size: int


def entries(url: str) -> list[Entry]:
    """The entries of a folder, sorted by name; empty when the folder does not exist."""
    fs, path = filesystem(url)
    if is_local_filesystem(fs):
        return _local_entries(path)
    fs.invalidate_cache(path)
    try:
        found = retried(fs, lambda: fs.ls(path, detail=True))
    except (FileNotFoundError, NotADirectoryError):
        return []
    below = [entry for entry in found if entry["name"].strip("/") != path.strip("/")]  # some stores list the folder itself
    made = (
        Entry(entry["name"].rstrip("/").rpartition("/")[2], *(("file", entry["size"]) if entry["type"] == "file" else ("folder", 0)))
        for entry in below
    )
    return sorted(made, key=lambda entry: entry.name)


def _local_entries(path: str) -> list[Entry]:
    try:
        with os.scandir(path) as found:
            return sorted(map(_local_entry, found), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _local_entry(entry: os.DirEntry[str]) -> Entry:
    if entry.is_symlink():
        return Entry(entry.name, "link", 0)
    if entry.is_dir(follow_symlinks=False):
        return Entry(entry.name, "folder", 0)
    if entry.is_file(follow_symlinks=False):
        return Entry(entry.name, "file", entry.stat(follow_symlinks=False).st_size)
    return Entry(entry.name, "other", 0)


def listing(url: str) -> dict[str, int]:
    """Name and size (bytes) of each file in a folder, without links; empty when the folder does not exist."""
    return {entry.name: entry.size for entry in entries(url) if entry.kind == "file"}


def folders(url: str) -> list[str]:
    """Names of the folders in a folder, without links; empty when it does not exist."""
    return [entry.name for entry in entries(url) if entry.kind == "folder"]


def size_of(url: str) -> int | None:
    """Size of a file in bytes, None when it does not exist."""
    fs, path = filesystem(url)
    fs.invalidate_cache(path)
    try:
        return int(retried(fs, lambda: fs.size(path)))
    except (FileNotFoundError, NotADirectoryError):
        return None


def remove(url: str, names: list[str]) -> None:
    """Removes files from a folder."""
    fs, path = filesystem(url)
    for name in names:
        retried(fs, partial(_remove_one, fs, f"{path.rstrip('/')}/{name}"))


def remove_empty(url: str) -> None:
    """Removes a local folder if it is empty; stores have no empty folders."""
    if is_local(url):
        with suppress(OSError):
            os.rmdir(local_path(url))


def _remove_one(fs: fsspec.AbstractFileSystem, path: str) -> None:
    try:
        fs.rm_file(path)
    except FileNotFoundError:
        if is_local_filesystem(fs):
            raise  # on a remote store, an earlier attempt may have succeeded, and only the response was lost


def is_temporary(name: str, is_own: Callable[[str], bool]) -> bool:
    """Whether `name` is a temporary name that `atomic_write` uses for a file whose final name satisfies `is_own`."""
    found = _TEMPORARY_NAME.fullmatch(name)
    return found is not None and is_own(found[1])


def sweep_temporaries(url: str, is_own: Callable[[str], bool]) -> list[str]:
    """Removes temporary files (see `is_temporary`) that killed writers left in a folder; returns their names."""
    left = [name for name in listing(url) if is_temporary(name, is_own)]
    remove(url, left)
    return left


def sha256_of(url: str) -> str:
    """SHA-256 (hex) of a file's bytes, read in chunks of 4 MiB."""
    digest = hashlib.sha256()
    with open_read(url) as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
    return digest.hexdigest()
