"""Files at any fsspec URL: written whole or not at all, hashed on the way, listed, swept.

On this machine's disk a file is written under a temporary name beside its place and renamed there when whole: atomic. For a remote
store it is first written to a local temporary file (in TMPDIR), then put. S3, Google and Azure make a put visible only when it is
complete, so there the put is the commit. Other stores get a put under a temporary name and a move, as atomic as theirs is: on HDFS
the rename is, but to replace a file it has to be removed first, so for a moment there is none; where a move is a copy and a removal
(FTP, WebDAV, fsspec's memory) a reader may meet half a file. Task records, written last, name every file with its size and hash.

Errors of remote stores that may pass are tried again (`schemas/retries.py`).
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
from contextlib import contextmanager
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
    if "://" not in url:  # fsspec would read `::` in a plain path as a chain of URLs
        return LocalFileSystem(), os.path.abspath(url)
    return url_to_fs(url, **(web_arguments() if url.startswith(("http://", "https://")) else {}))


def is_local(url: str) -> bool:
    """Whether a URL lies on this machine's filesystem, so that it can be memory-mapped."""
    return "://" not in url or url.startswith(("file://", "local://"))


def local_path(url: str) -> str:
    """The path of a local URL."""
    filesystem_, path = filesystem(url)
    if not isinstance(filesystem_, LocalFileSystem):
        raise ValueError(f"{url} is not on a local filesystem")
    return path


def join(url: str, *names: str) -> str:
    """A URL below another."""
    return "/".join([url.rstrip("/"), *names])


class HashingSink:
    """A binary sink that counts and hashes (SHA-256) what passes to the file behind it."""

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
        """Nothing: the file behind is flushed when it is closed."""

    def close(self) -> None:
        """Marks the sink closed; the file behind belongs to `atomic_write`."""
        self.closed = True

    @property
    def sha256(self) -> str:
        """Hex digest of what has been written."""
        return self._digest.hexdigest()


@contextmanager
def atomic_write(url: str) -> Iterator[HashingSink]:
    """Opens a sink whose content appears at `url` when the block ends well, and vanishes when it raises.

    Raises OSError when the place cannot be written.
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
        with open(temporary, "xb") as file:  # never through a link
            yield HashingSink(file)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def _put(fs: fsspec.AbstractFileSystem, local: str, path: str) -> None:
    """Puts a whole local file at a path of a remote store."""
    if is_web(fs):
        raise OSError(errno.EROFS, "a web server is for input alone: make the corpus on a disk or in an object store", path)
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
        return  # an earlier try did it, and only its answer was lost
    if fs.exists(path):
        fs.rm_file(path)
    fs.mv(temporary, path)


def open_read(url: str, compression: str | None = None) -> IO[bytes]:
    """Opens a file for reading; one on a remote store survives errors that may pass.

    compression: a name that fsspec knows, or "infer": by the name of the file. Raises FileNotFoundError when it is absent, OSError when
    it is a pipe or a device, which might never end or never begin.
    """
    fs, path = filesystem(url)
    file: Any = open_regular(path) if is_local_filesystem(fs) else RetryingReader(fs, path)
    packing = get_compression(path, compression)
    return compr[packing](file, mode="rb") if packing else file


def open_regular(path: str) -> IO[bytes]:
    """Opens a local file for reading. Raises OSError, without waiting, for a folder, a pipe, a socket or a device."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL,
                      "a folder, not a file" if stat.S_ISDIR(mode) else "a pipe, socket or device, not a file", path)
    return open(path, "rb")


_TELLING = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")


def version_stamp(url: str) -> tuple[Any, ...] | None:
    """What changes when a file is written anew; None when its store tells no ETag and no time. Raises FileNotFoundError."""
    fs, path = filesystem(url)
    if is_local_filesystem(fs):
        found = os.stat(path)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    fs.invalidate_cache(path)
    info = retried(fs, lambda: fs.info(path))
    told = tuple(str(info[name]) for name in _TELLING if info.get(name) is not None)
    return (*told, info.get("size")) if told else None


def write_json(url: str, value: Any) -> None:
    """Writes JSON (sorted keys, two spaces) whole or not at all."""
    with atomic_write(url) as sink:
        sink.write(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n")


def read_json(url: str) -> Any:
    """The JSON at `url`; None when there is no such file or it is not whole JSON."""
    try:
        with open_read(url) as file:
            return json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
        return None


@dataclass(frozen=True)
class Entry:
    """One name in a folder; `size` in bytes, 0 for what is not a file. A link is never followed: it is a link, whatever it leads to."""

    name: str
    kind: Literal["file", "folder", "link", "other"]
    size: int


def entries(url: str) -> list[Entry]:
    """What stands directly below a folder, sorted by name; empty when there is no such folder."""
    fs, path = filesystem(url)
    if is_local_filesystem(fs):
        return _local_entries(path)
    fs.invalidate_cache(path)
    try:
        found = retried(fs, lambda: fs.ls(path, detail=True))
    except (FileNotFoundError, NotADirectoryError):
        return []
    below = [entry for entry in found if entry["name"].strip("/") != path.strip("/")]  # stores list a marker of the folder itself
    made = (Entry(entry["name"].rstrip("/").rpartition("/")[2], *(("file", entry["size"]) if entry["type"] == "file" else ("folder", 0)))
            for entry in below)
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
    """Name and size (bytes) of each file directly below a folder, links left out; empty when there is none."""
    return {entry.name: entry.size for entry in entries(url) if entry.kind == "file"}


def folders(url: str) -> list[str]:
    """Names of the folders directly below a folder, links left out; none when it is absent."""
    return [entry.name for entry in entries(url) if entry.kind == "folder"]


def size_of(url: str) -> int | None:
    """Bytes of a file, None when it is absent."""
    fs, path = filesystem(url)
    fs.invalidate_cache(path)
    try:
        return int(retried(fs, lambda: fs.size(path)))
    except (FileNotFoundError, NotADirectoryError):
        return None


def remove(url: str, names: list[str]) -> None:
    """Removes files of a folder."""
    fs, path = filesystem(url)
    for name in names:
        retried(fs, partial(_remove_one, fs, f"{path.rstrip('/')}/{name}"))


def _remove_one(fs: fsspec.AbstractFileSystem, path: str) -> None:
    try:
        fs.rm_file(path)
    except FileNotFoundError:
        if is_local_filesystem(fs):
            raise  # elsewhere an earlier try may have done it, and only its answer was lost


def is_temporary(name: str, is_own: Callable[[str], bool]) -> bool:
    """Whether `name` is one that `atomic_write` writes under before the file of a name that `is_own` takes is whole."""
    found = _TEMPORARY_NAME.fullmatch(name)
    return found is not None and is_own(found[1])


def sweep_temporaries(url: str, is_own: Callable[[str], bool]) -> list[str]:
    """Removes what a killed writer of the files that `is_own` takes by name left in a folder; returns the names removed."""
    left = [name for name in listing(url) if is_temporary(name, is_own)]
    remove(url, left)
    return left


def sha256_of(url: str) -> str:
    """SHA-256 (hex) of a file's bytes, read in pieces of 4 MiB."""
    digest = hashlib.sha256()
    with open_read(url) as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
    return digest.hexdigest()
