"""Captions in CSV and TSV files, with or without a header (Flickr8k, Conceptual Captions and the like)."""

from __future__ import annotations

import csv
import posixpath
from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import IO, Annotated, Any, Literal

import pyarrow as pa
from pydantic import Field, model_validator

from schemas.errors import SourceError
from schemas.ids import content_id
from schemas.rejects import Reason
from schemas.text import quoted
from transforms.ingest.sources.base import Rows, Split, as_bytes, pair_rows, read_parts, splits_of
from transforms.ingest.sources.captions import CaptionSource, is_address, without_caption_number
from transforms.ingest.sources.listing import Urls, expand
from transforms.ingest.sources.opening import read_lines

_ROW_LINES = 100  # lines that a quoted field may span: beyond them a quote is unclosed


class _Lines:
    """Feeds the csv parser one line at a time, and keeps the lines of the current row.

    A stray quote pulls the following lines into its row: `give_back` lets them be read again, as rows of their own.
    """

    def __init__(self, handle: IO[bytes], limit: int):
        self._lines = read_lines(handle, limit)
        self._taken: list[tuple[int, bytes | None]] = []
        self._again: deque[tuple[int, bytes | None]] = deque()

    @property
    def first(self) -> int:
        """The number of the row's first line."""
        return self._taken[0][0]

    @property
    def last(self) -> int:
        """The number of the row's last line so far."""
        return self._taken[-1][0]

    def start_row(self) -> None:
        self._taken = []

    def give_back(self) -> None:
        """Keeps only the row's first line; the others are read again."""
        self._again.extendleft(reversed(self._taken[1:]))
        self._taken = self._taken[:1]

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        number, line = self._again.popleft() if self._again else next(self._lines)
        self._taken.append((number, line))
        if line is None:
            raise csv.Error("the line is too long")
        if len(self._taken) > _ROW_LINES:
            raise csv.Error(f"a quoted field spans more than {_ROW_LINES} lines: a quote is unclosed")
        return line.decode("utf-8", "surrogateescape") + "\n"


def _decodable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _normal(path: str) -> str:
    return posixpath.normpath(path.replace("\\", "/")) if "/" in path or "\\" in path else path


class DelimitedSource(CaptionSource):
    """Captions in CSV or TSV. Key: column `id` if set, else the image's name, else the content id of the URL.

    A caption number after the image's name (`1.jpg#0`) is removed. Files are UTF-8, with or without a byte order mark, optionally
    compressed (.gz, .bz2, .xz, .zst), or a .zip, of which every file is read; lines end in LF, CR LF or CR. Without a folder of
    images, the image is read from its URL (in the `url` or the `image` column). Rejected: rows with the wrong number of fields,
    broken quoting, an empty or undecodable key, without `image` a `url` that is not a URL, an image that is not in the folder. If a
    row of several lines is broken or has the wrong number of fields, its first line is rejected and the others are read again. Rows of
    one `id` that name different images are detected later, where the rows of an image are collected.
    """

    format: Literal["csv", "tsv"]
    captions: Urls = Field(description="the files: a path, URL or glob, or a list of these")
    caption: str = Field(default="caption", description="column with the caption")
    image: str | None = Field(default="image", description="column with the image's file name; null: none")
    url: str | None = Field(default=None, description="column with the image's original URL")
    id: str | None = Field(default=None, description="column with the image's id")
    columns: list[str] | None = Field(default=None, min_length=1, description="column names, for a file without a header")
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = Field(
        default=None, description="a single character; null: comma for csv, tab for tsv"
    )
    quoting: Literal["minimal", "none"] | None = Field(
        default=None, description='minimal: "..." around fields; none: quotes are text; null: minimal for csv, none for tsv'
    )

    @model_validator(mode="after")
    def _check(self) -> DelimitedSource:
        if self.image is None and self.url is None:
            raise ValueError("image and url are both null: name the column of the images or of their URLs")
        if self.columns is not None:
            if len(set(self.columns)) != len(self.columns):
                raise ValueError(f"columns has duplicates: {self.columns}")
            missing = [name for name in self._wanted() if name not in self.columns]
            if missing:
                raise ValueError(f"columns {self.columns} lacks {missing}")
        return self

    def _wanted(self) -> list[str]:
        return [name for name in (self.caption, self.image, self.url, self.id) if name is not None]

    def splits(self) -> list[Split]:
        """One split per file."""
        return splits_of(expand(self.captions))

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Rows in file order. Raises SourceError, listing the columns found, if a configured column is missing."""
        rows = pair_rows()
        yield from read_parts(split.url, self.limits, rows, partial(self._table, rows))

    def _table(self, rows: Rows, url: str, handle: IO[bytes]) -> Iterator[pa.RecordBatch]:
        lines = _Lines(handle, self.limits.line_bytes)
        parsed = self._rows(lines, url, rows)
        columns = self.columns or self._header(url, parsed)
        for values in parsed:
            if values is not None:
                if len(values) != len(columns):  # a quote may have pulled good lines into this row
                    lines.give_back()
                where = f"{url}:{lines.first}"
                rows.attempt(where, self._row, where, columns, values, rows)
            yield from rows.full()

    def _rows(self, lines: _Lines, url: str, rows: Rows) -> Iterator[list[str] | None]:
        """The rows with at least one non-blank field; None in place of a row that cannot be parsed, which goes to `rows`."""
        quoting = self.quoting or ("minimal" if self.format == "csv" else "none")
        delimiter = self.delimiter or ("," if self.format == "csv" else "\t")
        if quoting == "none":
            parser = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
        else:
            parser = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            lines.start_row()
            try:
                values = next(parser)
            except StopIteration:
                return
            except csv.Error as error:  # after an error the parser starts a new row
                seen = f" (found at line {lines.last})" if lines.last > lines.first else ""
                rows.reject(f"{url}:{lines.first}", Reason.BAD_ROW, f"line {lines.first}: {error}{seen}")
                lines.give_back()
                yield None
                continue
            if any(value.strip() for value in values):
                yield values

    def _header(self, url: str, parsed: Iterator[list[str] | None]) -> list[str]:
        header = next(parsed, None)
        if header is None:
            raise SourceError(f"{quoted(url, 500)} has no header line; for files without a header set `columns`")
        columns = [name.strip() for name in header]
        missing = [name for name in self._wanted() if columns.count(name) != 1]
        if missing:
            raise SourceError(
                f"{quoted(url, 500)} must have exactly one column {missing[0]!r}; it has {quoted(columns)} "
                "(for files without a header set `columns`)"
            )
        return columns

    def _row(self, where: str, columns: list[str], values: list[str], rows: Rows) -> None:
        if len(values) != len(columns):
            rows.reject(where, Reason.BAD_ROW, f"{len(values)} fields instead of {len(columns)} ({', '.join(columns)})")
            return
        row = dict(zip(columns, values, strict=True))
        image, url, own = [row[column].strip() if column is not None else "" for column in (self.image, self.url, self.id)]
        image, own = without_caption_number(image), without_caption_number(own)
        address = image + url + own
        if not _decodable(address):
            rows.reject(where, Reason.BAD_ENCODING, "the image, URL or id is not valid UTF-8")
            return
        key = own if self.id is not None else image or url
        if not key or not address.isprintable():
            rows.reject(where, Reason.BAD_ROW, f"the {'id' if self.id is not None else 'image or URL'} is empty or not printable")
            return
        if self.image is None and url and "://" not in url:
            detail = f"column {self.url!r} contains no URL but {quoted(url)!r}: are the columns swapped, or is this a header?"
            rows.reject(where, Reason.BAD_ROW, detail)
            return
        if self.id is None:
            key = _normal(key) if image and "://" not in key else content_id(key)
        location, reason, detail = self._locate(image, url)
        if reason is not None:
            rows.reject(where, reason, detail, key=key)
            return
        rows.add(key=key, name=image or None, caption=as_bytes(row[self.caption]), url=url or None, where=where, **location)

    def _locate(self, image: str, url: str) -> tuple[dict[str, Any], Reason | None, str]:
        """Where the image is: in the folder, at its URL, or unknown (captions only)."""
        if self.images is not None:
            if not image:
                return {}, Reason.BAD_ROW, "the row names no image"
            return self.locate(image)
        for value in (image, url):
            if is_address(value):
                return {"uri": value, "stamp": ""}, None, ""
        return {"uri": None, "stamp": ""}, None, ""
