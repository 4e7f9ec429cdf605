"""Opens plain and compressed files and members of zips, and reads them whole or line by line, within limits."""

from __future__ import annotations

import errno
import io
import posixpath
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from fsspec.implementations.local import LocalFileSystem

from schemas import files as store
from schemas.errors import CmclError, SourceError
from schemas.text import quoted
from transforms.ingest.limits import Limits

_CHUNK = 1 << 20
_FREE = 64 << 20  # bytes that any file may expand to, however small it is
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".lzma", ".zip")
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})


def is_grave(error: BaseException) -> bool:
    """Whether an error is not the input's fault (memory, a full disk, an interrupt) or already names its file."""
    return (
        isinstance(error, (MemoryError, CmclError, InterruptedError))
        or not isinstance(error, Exception)
        or (isinstance(error, OSError) and error.errno in _DISK)
    )


@contextmanager
def wrap_source_errors(url: str) -> Iterator[None]:
    """Turns any error of the file or store behind `url` into a SourceError that names it."""
    try:
        yield
    except Exception as error:
        if is_grave(error):
            raise
        raise SourceError(f"{quoted(url, 500)}{_why(error)}") from error


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return ": no such file"
    if isinstance(error, IsADirectoryError):
        return " is a folder, not a file"
    if isinstance(error, PermissionError):
        return ": permission denied"
    kind = type(error)
    if (
        isinstance(error, (EOFError, zipfile.BadZipFile))
        or "ompress" in f"{kind.__module__}{error}"
        or kind.__module__ in ("gzip", "zlib", "lzma", "_lzma", "bz2", "_bz2", "zstandard", "compression.zstd", "lz4.frame")
        or _is_bz2(error)
    ):
        return f": the compressed data is damaged or truncated ({quoted(error)})"
    if isinstance(error, OSError) and error.strerror:
        return f": {quoted(error.strerror)}"
    return f": {kind.__name__}: {quoted(error, 400)}"


def _is_bz2(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno is None and "nvalid data stream" in str(error)


def filesystem_of(url: str) -> tuple[Any, str]:
    """The filesystem of a path or URL, and the path in it. "::" is part of the name in a path, but chains filesystems in a URL."""
    return store.filesystem(url) if "://" in url else (LocalFileSystem(), LocalFileSystem._strip_protocol(url))


class _Bounded(io.RawIOBase):
    """The decompressed bytes of a file, up to a limit."""

    def __init__(self, inner: Any, url: str, bound: int):
        self._inner, self._url, self._bound, self._seen = inner, url, bound, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer; raises SourceError beyond the limit."""
        data = self._inner.read(memoryview(buffer).nbytes)
        self._seen += len(data)
        if self._seen > self._bound:
            raise SourceError(f"{quoted(self._url, 500)} expands to more than {self._bound} bytes, which exceeds `limits`")
        memoryview(buffer).cast("B")[: len(data)] = data
        return len(data)


def _bound(limits: Limits, packed: int | None) -> int:
    """How many bytes `packed` compressed bytes (None: unknown) may expand to."""
    return limits.inflated_bytes if packed is None else min(limits.inflated_bytes, max(_FREE, packed * limits.inflation))


@contextmanager
def open_binary(url: str, compression: str | None = "infer", limits: Limits | None = None) -> Iterator[IO[bytes]]:
    """Opens `url` for reading bytes, decompressing .gz, .bz2, .xz, .zst and .lz4 by name; errors become SourceErrors that name it."""
    with wrap_source_errors(url):
        packed = compression == "infer" and url.lower().endswith(_PACKED)
        with store.open_read(url, compression) as handle:
            if packed:
                handle = io.BufferedReader(_Bounded(handle, url, _bound(limits or Limits(), store.size_of(url))), _CHUNK)
            yield handle


@contextmanager
def open_parts(url: str, limits: Limits) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """The files in `url`, each with its name for messages: every member of a .zip, sorted by name, else the file itself.

    Folders, `__MACOSX/` and names that start with a dot are skipped. Raises SourceError for a zip that cannot be read completely.
    """
    if not url.lower().endswith(".zip"):
        with open_binary(url, limits=limits) as handle:
            yield iter([(url, handle)])
        return
    with open_binary(url, compression=None) as handle, wrap_source_errors(url):
        yield _members(url, zipfile.ZipFile(handle), limits)


def _members(url: str, archive: zipfile.ZipFile, limits: Limits) -> Iterator[tuple[str, IO[bytes]]]:
    infos = [info for info in archive.infolist() if not info.is_dir() and not _is_ignored(info.filename)]
    if not infos:
        raise SourceError(f"{quoted(url, 500)} contains no files")
    if len(infos) > limits.zip_members:
        raise SourceError(f"{quoted(url, 500)} contains {len(infos)} files; `limits.zip_members` is {limits.zip_members}")
    for info in sorted(infos, key=lambda info: info.filename):
        name = f"{url}/{info.filename}"
        with wrap_source_errors(name), archive.open(info) as member:
            yield name, io.BufferedReader(_Bounded(member, name, _bound(limits, info.compress_size)), _CHUNK)


def _is_ignored(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return "__MACOSX" in parts or posixpath.basename(name).startswith(".")


def read_whole(url: str, limits: Limits) -> bytes:
    """All bytes of a file, decompressed. Raises SourceError beyond `limits.whole_bytes` and for a zip of several files."""
    with open_parts(url, limits) as parts:
        held = [read_bounded(name, handle, limits) for name, handle in parts]
    if len(held) != 1:
        raise SourceError(f"{quoted(url, 500)} contains {len(held)} files instead of one")
    return held[0]


def read_bounded(name: str, handle: IO[bytes], limits: Limits) -> bytes:
    """The rest of an open file. Raises SourceError beyond `limits.whole_bytes`."""
    data = handle.read(limits.whole_bytes + 1)
    if len(data) > limits.whole_bytes:
        raise SourceError(f"{quoted(name, 500)} has more than {limits.whole_bytes} bytes (`limits.whole_bytes`)")
    return data


def read_lines(handle: IO[bytes], limit: int = Limits().line_bytes) -> Iterator[tuple[int, bytes | None]]:
    """The lines of `handle`, numbered from 1, without line endings; None for a line of more than `limit` bytes.

    Lines end in LF or CR LF, or in CR if the first MiB has no LF. A UTF-8 byte order mark at the start is dropped. Raises
    SourceError for UTF-16, which would be read as lines of garbage.
    """
    number, rest, overflow, first, end = 1, b"", False, True, b"\n"
    while chunk := handle.read(_CHUNK):
        if first:
            first = False
            if chunk.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise SourceError(f"{quoted(getattr(handle, 'name', 'the file'))} is UTF-16; convert it: iconv -f UTF-16 -t UTF-8")
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
            end = b"\r" if b"\r" in chunk.rstrip(b"\r") and b"\n" not in chunk else b"\n"
        *whole, rest = (rest + chunk).split(end)
        for line in whole:
            yield number, None if overflow or len(line) > limit else line.removesuffix(b"\r")
            number, overflow = number + 1, False
        if len(rest) > limit:
            rest, overflow = b"", True
    if rest or overflow:
        yield number, None if overflow else rest.removesuffix(b"\r")
