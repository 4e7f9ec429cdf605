"""What every reader of people's collections shares: settings, splits, file listings, rows of record batches.

A source is a frozen pydantic settings object. `splits()` lists what there is to read (cheap, sorted), `read(split)` streams one
split as record batches of at most `BATCH` rows. A bad row is a row with `reason`, `detail` and `where` set; a file that cannot be
read as a whole raises SourceError. All paths are local paths or fsspec URLs, with globs (`*`, `?`, `[...]`, `**`).
"""

from __future__ import annotations

import gzip
import lzma
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import blake2b
from typing import IO, Annotated, Any

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem
from pydantic import BaseModel, ConfigDict, Field

from schemas import files as store
from schemas.errors import SourceError
from schemas.raw import RAW_PAIRS, RAW_TEXTS
from schemas.rejects import Reason
from schemas.retries import is_there, retried, strict

BATCH = 4096  # rows of a record batch
LINE_LIMIT = 4 << 20  # bytes of one line: beyond it the line becomes a reject instead of filling memory
_CHUNK = 1 << 20
_COMPRESSION_ERRORS = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)

Urls = str | list[str]


@dataclass(frozen=True)
class Split:
    """One piece of a source that one task reads: a file, or a folder.

    `stamp` changes when the content does: an ETag, or "size:mtime_ns"; `rows` is a hint, null when it costs a read to know.
    """

    url: str
    stamp: str
    rows: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The split as JSON types; `Split(**it)` gives it back."""
        return asdict(self)


@dataclass(frozen=True)
class Found:
    """One file of a listing: its absolute path or URL, bytes (-1: the store does not tell) and stamp."""

    url: str
    size: int
    stamp: str


class Source(BaseModel):
    """Settings that all sources share, and the protocol they follow: `splits`, `read`, `extra_inputs`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[^\s/]+$", description="name of the collection, the first part of its ids")]

    def splits(self) -> list[Split]:
        """What there is to read, sorted by URL. Raises SourceError naming the path where a file, or every match, is missing."""
        raise NotImplementedError

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Streams `split` as record batches of at most `BATCH` rows of RAW_PAIRS (RAW_TEXTS for texts).

        Raises SourceError when the file as a whole is not what the settings say.
        """
        raise NotImplementedError

    def extra_inputs(self) -> list[str]:
        """Stamps of what `read` looks at besides the splits, so that a fingerprint changes when it does."""
        return []


@contextmanager
def naming(url: str) -> Iterator[None]:
    """Turns what goes wrong with the file or store behind `url` into a SourceError that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise SourceError(f"{url}: no such file") from error
    except IsADirectoryError as error:
        raise SourceError(f"{url} is a folder, not a file") from error
    except _COMPRESSION_ERRORS as error:
        raise SourceError(f"{url}: the compressed data is damaged or breaks off ({error})") from error
    except (OSError, ImportError) as error:
        raise SourceError(f"{url}: {type(error).__name__}: {error}") from error
    except ValueError as error:
        if "rotocol" not in str(error):  # fsspec tells an unknown protocol by a ValueError alone
            raise
        raise SourceError(f"{url}: {error}") from error


def stamp_of(info: dict[str, Any]) -> str:
    """The stamp of one fsspec listing entry: its ETag, else "size:time"; "" when the store tells neither size nor time."""
    for name in ("ETag", "etag", "md5Hash", "checksum"):
        if info.get(name):
            return str(info[name]).strip('"')
    when = next((info[name] for name in ("mtime", "last_modified", "LastModified", "Last-Modified", "updated", "created")
                 if info.get(name) is not None), "")
    if isinstance(when, float):  # seconds: local files. The nearest microsecond is what a float still tells apart
        when = round(when * 1_000_000) * 1000
    size = info.get("size")
    return f"{size if size is not None else ''}:{when}" if size is not None or when else ""


def _found(fs: fsspec.AbstractFileSystem, info: dict[str, Any]) -> Found:
    local = "file" in fs.protocol if not isinstance(fs.protocol, str) else fs.protocol == "file"
    if local and info.get("islink"):
        info = fs.info(info["name"])
    url = info["name"] if local else fs.unstrip_protocol(info["name"])
    size = info.get("size")
    return Found(url, -1 if size is None else int(size), stamp_of(info))


def _is_file(info: dict[str, Any]) -> bool:
    return info["type"] == "file" or (bool(info.get("islink")) and os.path.isfile(info["name"]))


def _filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The filesystem of a path or URL, and the path in it. In a path "::" is part of a name, in a URL it chains filesystems."""
    return fsspec.core.url_to_fs(url) if "://" in url else (LocalFileSystem(), LocalFileSystem._strip_protocol(url))


def expand(urls: Urls) -> list[Found]:
    """The files that `urls` (paths or URLs, with globs) name, sorted, each once.

    Raises SourceError naming the first that is missing, is a folder, or matches nothing.
    """
    found: dict[str, Found] = {}
    for url in [urls] if isinstance(urls, str) else urls:
        with naming(url):
            fs, path = _filesystem(url)
            magic = "*[" if url.startswith(("http://", "https://")) else "*[?"  # a URL's query is no pattern
            if any(character in path for character in magic) and not fs.exists(path):
                files = [info for info in retried(fs, partial(fs.glob, path, detail=True, **strict(fs))).values() if _is_file(info)]
                if not files:
                    raise SourceError(f"{url} matches no file")
            else:
                info = retried(fs, partial(fs.info, path))
                if info["type"] == "directory":
                    raise SourceError(f"{url} is a folder, not a file; for the files in it write {url.rstrip('/')}/*")
                files = [info]
            for info in files:
                one = _found(fs, info)
                found[one.url] = one
    if not found:
        raise SourceError("no file is given")
    return [found[url] for url in sorted(found)]


def list_folder(url: str) -> dict[str, Found]:
    """All files below the folder `url`, by path relative to it, sorted; one listing, no look-up a file.

    Names that start with a dot are left out. Links to files are followed, links to folders are not.
    Raises SourceError when there is no such folder.
    """
    with naming(url):
        fs, path = _filesystem(url)
        if not is_there(fs, partial(fs.isdir, path)):
            raise SourceError(f"{url}: no such folder" if not fs.exists(path) else f"{url} is a file, not a folder")
        files = retried(fs, partial(fs.find, path, detail=True, **strict(fs)))
        start = len(path.rstrip("/")) + 1
        names = {name[start:]: info for name, info in sorted(files.items())}
        return {name: _found(fs, info) for name, info in names.items()
                if _is_file(info) and not any(part.startswith(".") for part in name.split("/"))}


def listing_stamp(files: dict[str, Found]) -> str:
    """One stamp for a folder's listing: changes when a file is added, removed, renamed or rewritten."""
    digest = blake2b(digest_size=16)
    for name, file in files.items():
        digest.update(f"{name}\0{file.size}\0{file.stamp}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


@contextmanager
def open_binary(url: str, compression: str | None = "infer") -> Iterator[IO[bytes]]:
    """Opens `url` for reading bytes, unpacking .gz, .bz2, .xz and .zip by name; errors become a SourceError that names it."""
    with naming(url):
        with store.open_read(url, compression) if "://" in url else LocalFileSystem().open(url, "rb", compression=compression) as handle:
            yield handle


def read_lines(handle: IO[bytes], limit: int = LINE_LIMIT) -> Iterator[tuple[int, bytes | None]]:
    """The lines of `handle` with their numbers from 1, without line ends; None for a line of more than `limit` bytes.

    A UTF-8 byte order mark at the start is dropped. Raises SourceError for UTF-16, which would pass for lines of garbage.
    """
    number, rest, overflow, first = 1, b"", False, True
    while chunk := handle.read(_CHUNK):
        if first:
            first = False
            if chunk.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise SourceError(f"{getattr(handle, 'name', 'the file')} is UTF-16; convert it: iconv -f UTF-16 -t UTF-8")
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield number, None if overflow or len(line) > limit else line.removesuffix(b"\r")
            number, overflow = number + 1, False
        if len(rest) > limit:
            rest, overflow = b"", True
    if rest or overflow:
        yield number, None if overflow else rest.removesuffix(b"\r")


def as_bytes(text: str) -> bytes:
    """The bytes of `text` as found: bytes that were no UTF-8 (kept as surrogates by the decoder) come out as they were."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")  # a lone surrogate from a JSON escape: stays invalid, cleaning rejects it


def printable(text: object, limit: int = 200) -> str:
    """`text` for a detail: cut to `limit` characters, undecodable bytes escaped."""
    return str(text)[:limit].encode("utf-8", "backslashreplace").decode()


class Rows:
    """Collects rows and yields them as record batches of at most `BATCH` rows of `schema`."""

    def __init__(self, schema: pa.Schema):
        self.schema = schema
        self._rows: list[dict[str, Any]] = []

    def add(self, **values: Any) -> None:
        """Adds one row; columns that are not named are null. `where` may hold undecodable bytes; they are escaped."""
        if "where" in values:
            values["where"] = printable(values["where"], 1000)
        self._rows.append(values)

    def reject(self, where: str, reason: Reason, detail: str, **values: Any) -> None:
        """Adds one bad row."""
        self.add(where=where, reason=reason.value, detail=printable(detail, 500), **values)

    def full(self) -> Iterator[pa.RecordBatch]:
        """Yields a batch if one is full: call it after each row."""
        if len(self._rows) >= BATCH:
            yield from self.rest()

    def rest(self) -> Iterator[pa.RecordBatch]:
        """Yields what there is."""
        for start in range(0, len(self._rows), BATCH):
            yield pa.RecordBatch.from_pylist(self._rows[start:start + BATCH], schema=self.schema)
        self._rows = []


def pair_rows() -> Rows:
    """An empty collector of RAW_PAIRS."""
    return Rows(RAW_PAIRS)


def text_rows() -> Rows:
    """An empty collector of RAW_TEXTS."""
    return Rows(RAW_TEXTS)


def splits_of(files: Iterable[Found]) -> list[Split]:
    """One split a file."""
    return [Split(file.url, file.stamp) for file in files]
