"""Text collections: .txt, Markdown, JSON Lines and Parquet, one row per paragraph, line or document.

Paragraphs are split into sentences later, after cleaning, by `transforms.ingest.sentences`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any, Literal

import pyarrow as pa
from pydantic import Field

from schemas.errors import SourceError
from schemas.rejects import Reason
from schemas.text import quoted
from transforms.ingest.sources.base import Rows, Source, Split, as_bytes, read_parts, splits_of, text_rows
from transforms.ingest.sources.columns import is_text, open_table, read_rows
from transforms.ingest.sources.listing import Urls, expand
from transforms.ingest.sources.markdown import markdown_paragraphs
from transforms.ingest.sources.opening import read_lines
from transforms.ingest.sources.tokenised import detokenise, is_tokenised_heading

_FRONT_LINES = 1000  # of front matter, which must fit into one block
_MARKDOWN_BLOCK = 1 << 18  # bytes of Markdown parsed at a time, to the next blank line


class TextFilesSource(Source):
    """Settings common to all text sources."""

    files: Urls = Field(description="the files: a path, URL or glob, or a list of these")
    detokenise: bool = Field(default=False, description='undo the tokenisation of WikiText ("@-@", " , "), leave out its " = headings = "')
    unknown: Literal["keep", "remove"] = Field(default="keep", description="with detokenise: what to do with the word <unk>")

    def splits(self) -> list[Split]:
        """One split per file."""
        return splits_of(expand(self.files))

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Rows in file order, a .zip's members sorted by name. Raises SourceError if the file cannot be read."""
        rows = text_rows()
        yield from read_parts(split.url, self.limits, rows, partial(self._file, rows))

    def _file(self, rows: Rows, url: str, handle: IO[bytes]) -> Iterator[pa.RecordBatch]:
        for where, add, value in self._entries(url, handle, rows):
            rows.attempt(where, add, rows, where, value)
            yield from rows.full()

    def _entries(self, url: str, handle: IO[bytes], rows: Rows) -> Iterator[tuple[str, Callable[..., None], Any]]:
        """For each entry of a file: where it is, the function that adds its rows, and that function's argument."""
        raise NotImplementedError

    def _too_long(self, rows: Rows, where: str, what: str) -> None:
        rows.reject(where, Reason.TOO_LONG, f"{what} of more than {self.limits.line_bytes} bytes")

    def _add(self, rows: Rows, where: str, text: bytes) -> None:
        """Adds one text, detokenised if configured; blank texts are skipped, undecodable ones kept for cleaning to reject.

        Headings that `detokenise` leaves out count as excluded, texts that it empties as EMPTY.
        """
        if not text.strip():
            return
        if self.detokenise:
            decoded = text.decode("utf-8", "surrogateescape")
            if is_tokenised_heading(decoded):
                rows.reject(where, Reason.EXCLUDED, f"detokenise leaves out headings: {quoted(decoded.strip())}")
                return
            text = as_bytes(detokenise(decoded, self.unknown))
            if not text.strip():
                rows.reject(where, Reason.EMPTY, f"empty after detokenise: {quoted(decoded.strip())}")
                return
        rows.add(text=text, where=where)

    def _add_value(self, rows: Rows, where: str, value: object, what: str) -> None:
        if isinstance(value, (str, bytes)):
            self._add(rows, where, as_bytes(value) if isinstance(value, str) else value)
        elif value is not None:  # null is a blank row
            rows.reject(where, Reason.BAD_ROW, f"{what} is not a string: {quoted(value)}")


def _paragraphs(handle: IO[bytes], limit: int) -> Iterator[tuple[int, bytes | None]]:
    """Runs of non-blank lines, with the number of their first line; None for one that is too long."""
    start, size, too_long = 0, 0, False
    lines: list[bytes] = []
    for number, line in read_lines(handle, limit):
        if line is not None and not line.strip():
            if lines:
                yield start, None if too_long else b"\n".join(lines)
            lines, size, too_long = [], 0, False
            continue
        start = start if lines else number
        size += len(line or b"") + 1
        too_long = too_long or line is None or size > limit
        if too_long:
            lines = [b""]
        else:
            lines.append(line or b"")
    if lines:
        yield start, None if too_long else b"\n".join(lines)


class TextSource(TextFilesSource):
    """Plain text: one row per paragraph (lines up to a blank one) or per line."""

    format: Literal["text"]
    unit: Literal["paragraph", "line"] = Field(
        default="paragraph", description="paragraph: rows are separated by blank lines; line: every line is a row"
    )

    def _entries(self, url: str, handle: IO[bytes], rows: Rows) -> Iterator[tuple[str, Callable[..., None], Any]]:
        limit = self.limits.line_bytes
        for number, text in read_lines(handle, limit) if self.unit == "line" else _paragraphs(handle, limit):
            if text is None:
                yield f"{url}:{number}", self._too_long, f"a {self.unit}"
            else:
                yield f"{url}:{number}", self._add, text


class MarkdownSource(TextFilesSource):
    """Markdown: paragraphs, list items and quotations without markup; headings if configured.

    Front matter, code, HTML, tables, rules and images are left out; of links the text is kept.
    """

    format: Literal["markdown"]
    headings: bool = Field(default=False, description="keep headings as text")

    def _entries(self, url: str, handle: IO[bytes], rows: Rows) -> Iterator[tuple[str, Callable[..., None], Any]]:
        for first, block in self._blocks(url, handle, rows):
            yield f"{url}:{first}", self._block, (url, first, block)

    def _block(self, rows: Rows, where: str, value: tuple[str, int, str]) -> None:
        """Adds the paragraphs of one block of the file."""
        url, first, block = value
        for offset, text in markdown_paragraphs(block, self.headings, front_matter=first == 1):
            self._add(rows, f"{url}:{first + offset}", as_bytes(text))

    def _blocks(self, url: str, handle: IO[bytes], rows: Rows) -> Iterator[tuple[int, str]]:
        """Blocks of the file that end at a blank line outside fenced code, each with the number of its first line."""
        first, lines, size = 1, [], 0
        fence = ""
        front = False
        for number, line in read_lines(handle, self.limits.line_bytes):
            if line is None:
                self._too_long(rows, f"{url}:{number}", "a line")
                line = b""
            text = line.decode("utf-8", "surrogateescape")
            mark = text.strip()
            if number == 1 and mark in ("---", "+++"):
                front = True
            elif front:
                front = mark not in ("---", "...", "+++") and number <= _FRONT_LINES
            elif fence:
                fence = "" if mark.startswith(fence) and not mark.strip(fence[0]) else fence
            elif mark.startswith(("```", "~~~")):
                fence = mark[:3]
            lines.append(text)
            size += len(line) + 1
            if not mark and not fence and not front and size > _MARKDOWN_BLOCK:
                yield first, "\n".join(lines)
                first, lines, size = number + 1, [], 0
        yield first, "\n".join(lines)


class JsonLinesSource(TextFilesSource):
    """JSON Lines: one object per line, the text in one of its fields."""

    format: Literal["jsonl"]
    field: str = Field(default="text", description="the field with the text")

    def _entries(self, url: str, handle: IO[bytes], rows: Rows) -> Iterator[tuple[str, Callable[..., None], Any]]:
        for number, line in read_lines(handle, self.limits.line_bytes):
            if line is None:
                yield f"{url}:{number}", self._too_long, "a line"
            elif line.strip():
                yield f"{url}:{number}", self._line, line

    def _line(self, rows: Rows, where: str, line: bytes) -> None:
        try:
            value = json.loads(line.decode("utf-8", "surrogateescape"))
        except (ValueError, RecursionError) as error:
            rows.reject(where, Reason.BAD_ROW, f"not valid JSON: {error}")
            return
        if not isinstance(value, dict) or self.field not in value:
            what = f"an object with the fields {quoted(sorted(value)[:10])}" if isinstance(value, dict) else f"a {type(value).__name__}"
            rows.reject(where, Reason.BAD_ROW, f"{what}, without the field {self.field!r}")
            return
        self._add_value(rows, where, value[self.field], f"field {self.field!r}")


class ParquetTextSource(TextFilesSource):
    """Parquet: the text in one column of strings or bytes."""

    format: Literal["parquet"]
    column: str = Field(default="text", description="the column with the text")

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Rows in file order. Raises SourceError if the column is missing or not text."""
        rows = text_rows()
        with open_table(split.url, self.limits) as file:
            kind = file.schema_arrow.field(self.column).type if file.schema_arrow.names.count(self.column) == 1 else None
            if kind is None:
                raise SourceError(
                    f"{quoted(split.url, 500)} must have exactly one column {self.column!r}; it has {quoted(file.schema_arrow.names)}"
                )
            if not is_text(kind):
                raise SourceError(f"{quoted(split.url, 500)}: column {self.column!r} has type {quoted(kind)}, not text")
            for number, values in enumerate(read_rows(file, [self.column], [self.column], self.limits)):
                where = f"{split.url}: row {number}"
                if values is None:
                    self._too_long(rows, where, "a text")
                elif isinstance(values, Exception):
                    rows.reject(where, Reason.BAD_ROW, f"{type(values).__name__}: {values}")
                else:  # as bytes: a string column may contain invalid UTF-8, which cleaning rejects
                    rows.attempt(where, self._add_value, rows, where, values[self.column], f"column {self.column!r}")
                yield from rows.full()
        yield from rows.rest()
