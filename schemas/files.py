"""Files at any fsspec URL: written whole or not at all, hashed on the way, listed, swept.

A file is written under a temporary name beside its place and moved there when whole. Object stores make a put visible only
when it is complete, so there the put itself is the commit. Elsewhere the move is as atomic as the filesystem's rename (local and
HDFS: atomic).
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

TEMPORARY = ".tmp-"
_PUT_IS_COMMIT = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl"})


def filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The filesystem of a URL or local path, and the path in it."""
    return url_to_fs(os.path.abspath(url) if "://" not in url else url)


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
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    if protocols & _PUT_IS_COMMIT:
        file = fs.open(path, "wb")
        try:
            yield HashingSink(file)
        except BaseException:
            file.discard()  # an aborted put leaves nothing; closing would complete it
            file.closed = True
            raise
        file.close()
        return
    temporary = f"{folder}/{TEMPORARY}{name}-{uuid.uuid4().hex[:12]}"
    fs.makedirs(folder, exist_ok=True)
    try:
        with fs.open(temporary, "wb") as file:
            yield HashingSink(file)
        if isinstance(fs, LocalFileSystem):
            os.replace(temporary, path)
        else:
            fs.mv(temporary, path)
    except BaseException:
        if fs.exists(temporary):
            fs.rm(temporary)
        raise


def write_json(url: str, value: Any) -> None:
    """Writes JSON (sorted keys, two spaces) whole or not at all."""
    with atomic_write(url) as sink:
        sink.write(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n")


def read_json(url: str) -> Any:
    """The JSON at `url`; None when there is no such file or it is not whole JSON."""
    fs, path = filesystem(url)
    try:
        with fs.open(path, "rb") as file:
            return json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def listing(url: str) -> dict[str, int]:
    """Name and size (bytes) of each file directly below a folder; empty when there is none."""
    fs, path = filesystem(url)
    fs.invalidate_cache(path)
    try:
        entries = fs.ls(path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {entry["name"].rstrip("/").rpartition("/")[2]: entry["size"] for entry in entries if entry["type"] == "file"}


def size_of(url: str) -> int | None:
    """Bytes of a file, None when it is absent."""
    fs, path = filesystem(url)
    fs.invalidate_cache(path)
    try:
        return int(fs.size(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def remove(url: str, names: list[str]) -> None:
    """Removes files of a folder."""
    fs, path = filesystem(url)
    for name in names:
        fs.rm(f"{path.rstrip('/')}/{name}")


def sweep_temporaries(url: str) -> list[str]:
    """Removes the temporary files that a killed writer left in a folder; returns their names."""
    left = [name for name in listing(url) if name.startswith(TEMPORARY)]
    remove(url, left)
    return left


def sha256_of(url: str) -> str:
    """SHA-256 (hex) of a file's bytes, read in pieces of 4 MiB."""
    fs, path = filesystem(url)
    digest = hashlib.sha256()
    with fs.open(path, "rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
    return digest.hexdigest()
