"""Opens files only if their bytes match a recorded SHA-256; an unchanged local file is hashed once per process.

A local file is hashed when it is first opened, and again when its inode, size or timestamps have changed. A remote file is copied to
a local temporary file (in TMPDIR), hashed on the way, and read from there.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from typing import IO

import pyarrow as pa

from schemas import files
from schemas.errors import CorpusError

_Stamp = tuple[int, ...]
_sound: dict[str, tuple[_Stamp, str]] = {}  # by path: the file's stat when its bytes had this SHA-256
_PIECE = 1 << 22


def _stamp(found: os.stat_result) -> _Stamp:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def remember(url: str, sha256: str) -> None:
    """Records the hash of a local file that this process has just written."""
    path = files.local_path(url)
    _sound[path] = _stamp(os.stat(path)), sha256


def check(url: str, sha256: str) -> None:
    """Raises CorpusError unless a local file's bytes have this SHA-256 (hex), FileNotFoundError when it is missing."""
    path = files.local_path(url)
    with open(path, "rb") as file:
        before = _stamp(os.fstat(file.fileno()))
        if _sound.get(path) == (before, sha256):
            return
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if found == sha256 and _stamp(os.fstat(file.fileno())) == before:
            _sound[path] = before, sha256
            return
    raise CorpusError(_damaged(url))


def holds(url: str, size: int, sha256: str) -> bool:
    """Whether the file at a URL exists with this size (bytes) and SHA-256 (hex).

    Of a remote file only the size is checked: hashing requires a download, which its reader does anyway.
    """
    if files.size_of(url) != size:
        return False
    if not files.is_local(url):
        return True
    try:
        check(url, sha256)
    except (CorpusError, FileNotFoundError):
        return False
    return True


def check_any(url: str, sha256: str) -> None:
    """Raises CorpusError unless the bytes of a local or remote file have this SHA-256 (hex)."""
    if files.is_local(url):
        check(url, sha256)
    elif files.sha256_of(url) != sha256:
        raise CorpusError(_damaged(url))


def was_checked(url: str) -> bool:
    """Whether this process has read or written the local file at a URL."""
    return files.is_local(url) and files.local_path(url) in _sound


def opened(url: str, sha256: str, mapped: bool = True) -> pa.NativeFile:
    """A file whose bytes must have this SHA-256 (hex): a memory map, or, for one pass in little memory, an open file.

    Raises as `check` does.
    """
    way = pa.memory_map if mapped else pa.OSFile
    if files.is_local(url):
        check(url, sha256)
        return way(files.local_path(url))
    with tempfile.NamedTemporaryFile(prefix="cmcl-get-") as copy:
        if _copied(url, copy) != sha256:
            raise CorpusError(_damaged(url))
        return way(copy.name)  # it outlives the name


def _copied(url: str, copy: IO[bytes]) -> str:
    digest = hashlib.sha256()
    with files.open_read(url) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            copy.write(piece)
    copy.flush()
    return digest.hexdigest()


def _damaged(url: str) -> str:
    return (
        f"{url} is damaged: its content is not what was written (SHA-256 differs): "
        "run `cmcl verify CORPUS --repair`, then `cmcl run`, to rebuild it"
    )
