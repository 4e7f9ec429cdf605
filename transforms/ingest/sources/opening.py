"""Opens plain and compressed files and members of zips, and reads them whole or line by line, within limits."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import IO, Any, cast

from fsspec.compression import compr
from fsspec.core import get_compression
from fsspec.implementations.local import LocalFileSystem

from schemas import files as store
from schemas.errors import CmclError, SourceError
from schemas.text import quoted
from transforms.ingest.limits import Limits

_CHUNK = 1 << 20
_FREE = 64 << 20  # bytes that any file may expand to, however small it is
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".lzma", ".zip")


@contextmanager
def wrap_source_errors(url: str) -> Iterator[None]:
    """Turns any error of the file or store behind `url` into a SourceError that names it."""
    try:
        yield
    except (CmclError, MemoryError, InterruptedError):
        raise
    except Exception as error:
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

    @property
    def name(self) -> str:
        """The file's URL, or its name in an archive."""
        return self._url

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


Part = tuple[str, Callable[[], AbstractContextManager[IO[bytes]]]]


@contextmanager
def open_parts(url: str, limits: Limits) -> Iterator[list[Part]]:
    """The files in `url`, each with its name for messages and a function that opens it: every member of a .zip, sorted by name,
    decompressed by name; else the file itself.

    Folders, `__MACOSX/` and names that start with a dot are skipped. Raises SourceError for a zip without a readable directory; a
    damaged member raises it when it is opened or read.
    """
    if not url.lower().endswith(".zip"):
        yield [(url, partial(open_binary, url, limits=limits))]
        return
    with open_binary(url, compression=None) as handle:
        with wrap_source_errors(url):
            archive = zipfile.ZipFile(handle)
            infos = _files(url, archive, limits)
        yield [(name := f"{url}/{info.filename}", partial(_open_member, name, archive, info, limits)) for info in infos]


@contextmanager
def _open_member(name: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo, limits: Limits) -> Iterator[IO[bytes]]:
    if name.lower().endswith(".zip"):
        raise SourceError(f"{quoted(name, 500)} is a zip in a zip: unpack it")
    with wrap_source_errors(name), archive.open(info) as member:
        packing = get_compression(name, "infer")
        unpacked = compr[packing](member, mode="rb") if packing else member
        bound = _bound(limits, min(info.compress_size, archive.start_dir))  # the directory may claim any size
        yield cast(IO[bytes], io.BufferedReader(_Bounded(unpacked, name, bound), _CHUNK))


def _files(url: str, archive: zipfile.ZipFile, limits: Limits) -> list[zipfile.ZipInfo]:
    infos = [info for info in archive.infolist() if not info.is_dir() and not _is_ignored(info.filename)]
    if not infos:
        raise SourceError(f"{quoted(url, 500)} contains no files")
    if len(infos) > limits.zip_members:
        raise SourceError(f"{quoted(url, 500)} contains {len(infos)} files; `limits.zip_members` is {limits.zip_members}")
    return sorted(infos, key=lambda info: info.filename)


def _is_ignored(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return "__MACOSX" in parts or posixpath.basename(name).startswith(".")


def read_whole(url: str, limits: Limits) -> bytes:
    """All bytes of a file, decompressed. Raises SourceError beyond `limits.whole_bytes` and for a zip of several files."""
    with open_parts(url, limits) as parts:
        if len(parts) != 1:
            raise SourceError(f"{quoted(url, 500)} contains {len(parts)} files instead of one")
        name, opened = parts[0]
        with opened() as handle:
            return read_bounded(name, handle, limits)


def read_bounded(name: str, handle: IO[bytes], limits: Limits) -> bytes:
    """The rest of an open file. Raises SourceError beyond `limits.whole_bytes`, and for a file that is not text in UTF-8."""
    data = handle.read(limits.whole_bytes + 1)
    if other := _not_text(data[:512]):
        raise SourceError(f"{quoted(name, 500)} is {other}")
    if len(data) > limits.whole_bytes:
        raise SourceError(f"{quoted(name, 500)} has more than {limits.whole_bytes} bytes (`limits.whole_bytes`)")
    return data


_MAGIC = {b"\xff\xfe": "UTF-16; convert it: iconv -f UTF-16 -t UTF-8", b"\xfe\xff": "UTF-16; convert it: iconv -f UTF-16 -t UTF-8",
          b"\0\0\xfe\xff": "UTF-32; convert it: iconv -f UTF-32 -t UTF-8",
          b"PK\x03\x04": "a zip archive: its name must end in .zip", b"PAR1": "a Parquet file, not text", b"%PDF-": "a PDF, not text",
          b"\x1f\x8b": "compressed: its name must end in .gz", b"BZh": "compressed: its name must end in .bz2",
          b"\xfd7zXZ\0": "compressed: its name must end in .xz", b"\x28\xb5\x2f\xfd": "compressed: its name must end in .zst",
          b"\x04\x22\x4d\x18": "compressed: its name must end in .lz4"}  # fmt: skip


def _not_text(start: bytes) -> str:
    """What a file with these first bytes is, if it is not text in UTF-8."""
    if start[257:262] == b"ustar":
        return "a tar archive: unpack it, or use the format webdataset"
    found = next((what for magic, what in _MAGIC.items() if start.startswith(magic)), "")
    return "" if found.endswith(".bz2") and start[3:4] not in b"123456789" else found


def read_lines(handle: IO[bytes], limit: int = Limits().line_bytes) -> Iterator[tuple[int, bytes | None]]:
    """The lines of `handle`, numbered from 1, without line endings; None for a line of more than `limit` bytes.

    Lines end in LF or CR LF, or in CR if the first MiB has no LF. A UTF-8 byte order mark at the start is dropped. Raises
    SourceError for UTF-16, archives and compressed data, which would be read as lines of garbage.
    """
    number, rest, overflow, first, end = 1, b"", False, True, b"\n"
    while chunk := handle.read(_CHUNK):
        if first:
            first = False
            if other := _not_text(chunk):
                raise SourceError(f"{quoted(getattr(handle, 'name', 'the file'), 500)} is {other}")
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
