"""Collections of plain text: .txt, Markdown, JSON Lines and Parquet, one row a paragraph, line or document.

Nothing here cuts paragraphs into sentences: `transforms.ingest.sentences` does, after cleaning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from schemas.errors import SourceError
from schemas.rejects import Reason
from transforms.ingest.sources.base import (
    LINE_LIMIT,
    Rows,
    Source,
    Split,
    Urls,
    as_bytes,
    expand,
    open_binary,
    printable,
    read_lines,
    splits_of,
    text_rows,
)
from transforms.ingest.sources.plain import detokenise, is_tokenised_heading, markdown_paragraphs

_MARKDOWN_BLOCK = 1 << 18  # bytes of Markdown parsed at a time, to the next blank line


class TextFilesSource(Source):
    """Settings that all text sources share."""

    files: Urls = Field(description="files, a path, URL or glob, or several")
    detokenise: bool = Field(
        default=False, description='undo the tokenisation of WikiText ("@-@", " , "), leave out its " = headings = "')
    unknown: Literal["keep", "remove"] = Field(default="keep", description="with detokenise: what becomes of the word <unk>")

    def splits(self) -> list[Split]:
        """One split a file."""
        return splits_of(expand(self.files))

    def _add(self, rows: Rows, where: str, text: bytes) -> None:
        """Adds one text, detokenised where that is set; blank ones are no rows, undecodable ones go on as found.

        Headings that `detokenise` leaves out count as left out on purpose, texts of which it leaves nothing as empty.
        """
        if not text.strip():
            return
        if self.detokenise:
            decoded = text.decode("utf-8", "surrogateescape")
            if is_tokenised_heading(decoded):
                rows.reject(where, Reason.EXCLUDED, f"detokenise leaves headings out: {printable(decoded.strip())}")
                return
            text = as_bytes(detokenise(decoded, self.unknown))
            if not text.strip():
                rows.reject(where, Reason.EMPTY, f"detokenise leaves nothing: {printable(decoded.strip())}")
                return
        rows.add(text=text, where=where)

    def _add_value(self, rows: Rows, where: str, value: object, what: str) -> None:
        if isinstance(value, (str, bytes)):
            data = as_bytes(value) if isinstance(value, str) else value
            if not data.strip():
                rows.reject(where, Reason.EMPTY, f"{what} is empty")
            else:
                self._add(rows, where, data)
        else:
            rows.reject(where, Reason.BAD_ROW, f"{what} is no string: {printable(value)}")


def _paragraphs(handle: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Runs of lines between blank ones, with the number of their first line; None for one that is too long."""
    start, size, too_long = 0, 0, False
    lines: list[bytes] = []
    for number, line in read_lines(handle):
        if line is not None and not line.strip():
            if lines:
                yield start, None if too_long else b"\n".join(lines)
            lines, size, too_long = [], 0, False
            continue
        start = start if lines else number
        size += len(line or b"") + 1
        too_long = too_long or line is None or size > LINE_LIMIT
        if too_long:
            lines = [b""]
        else:
            lines.append(line or b"")
    if lines:
        yield start, None if too_long else b"\n".join(lines)


class TextSource(TextFilesSource):
    """Plain text: every paragraph (lines up to a blank one) or every line is a row."""

    format: Literal["text"]
    unit: Literal["paragraph", "line"] = Field(
        default="paragraph", description="paragraph: blank lines part rows; line: every line is one")

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Rows in the order of the file; a paragraph or line of more than 4 MiB is rejected."""
        rows = text_rows()
        with open_binary(split.url) as handle:
            for number, text in read_lines(handle) if self.unit == "line" else _paragraphs(handle):
                where = f"{split.url}:{number}"
                if text is None:
                    rows.reject(where, Reason.TOO_LONG, f"a {self.unit} of more than {LINE_LIMIT} bytes")
                else:
                    self._add(rows, where, text)
                yield from rows.full()
        yield from rows.rest()


class MarkdownSource(TextFilesSource):
    """Markdown: paragraphs, list items and quotations without their markup; headings on demand.

    Front matter, code, HTML, tables, rules and images are left out; of a link its text stays.
    """

    format: Literal["markdown"]
    headings: bool = Field(default=False, description="keep headings as texts")

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Rows in the order of the file, parsed block by block."""
        rows = text_rows()
        with open_binary(split.url) as handle:
            for first, block in self._blocks(split.url, handle, rows):
                for offset, text in markdown_paragraphs(block, self.headings):
                    self._add(rows, f"{split.url}:{first + offset}", as_bytes(text))
                    yield from rows.full()
        yield from rows.rest()

    @staticmethod
    def _blocks(url: str, handle: IO[bytes], rows: Rows) -> Iterator[tuple[int, str]]:
        """Stretches of the file that end at a blank line outside fenced code, each with the number of its first line."""
        first, lines, size = 1, [], 0
        fence = ""
        front = False
        for number, line in read_lines(handle):
            if line is None:
                rows.reject(f"{url}:{number}", Reason.TOO_LONG, f"a line of more than {LINE_LIMIT} bytes")
                line = b""
            text = line.decode("utf-8", "surrogateescape")
            mark = text.strip()
            if number == 1 and mark == "---":
                front = True
            elif front:
                front = mark not in ("---", "...")
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
    """JSON Lines: one object a line, the text in one of its fields."""

    format: Literal["jsonl"]
    field: str = Field(default="text", description="the field that holds the text")

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Rows in the order of the file; lines that are no JSON object with a string in the field are rejected."""
        rows = text_rows()
        with open_binary(split.url) as handle:
            for number, line in read_lines(handle):
                where = f"{split.url}:{number}"
                if line is None:
                    rows.reject(where, Reason.TOO_LONG, f"a line of more than {LINE_LIMIT} bytes")
                elif line.strip():
                    self._line(rows, where, line)
                yield from rows.full()
        yield from rows.rest()

    def _line(self, rows: Rows, where: str, line: bytes) -> None:
        try:
            value = json.loads(line.decode("utf-8", "surrogateescape"))
        except (ValueError, RecursionError) as error:
            rows.reject(where, Reason.BAD_ROW, f"no JSON: {error}")
            return
        if not isinstance(value, dict) or self.field not in value:
            what = f"an object with the fields {sorted(value)[:10]}" if isinstance(value, dict) else f"a {type(value).__name__}"
            rows.reject(where, Reason.BAD_ROW, f"{what}, without the field {self.field!r}")
            return
        self._add_value(rows, where, value[self.field], f"field {self.field!r}")


class ParquetTextSource(TextFilesSource):
    """Parquet: the text in one column of strings or bytes."""

    format: Literal["parquet"]
    column: str = Field(default="text", description="the column that holds the text")

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Rows in the order of the file. Raises SourceError when the column is missing or holds no text."""
        rows, number = text_rows(), 0
        with open_binary(split.url, compression=None) as handle:
            try:
                file = pq.ParquetFile(handle)
                kind = file.schema_arrow.field(self.column).type if self.column in file.schema_arrow.names else None
                if kind is None:
                    raise SourceError(f"{split.url} has no column {self.column!r}; it has {file.schema_arrow.names}")
                if not any(check(kind) for check in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary,
                                                     pa.types.is_large_binary)):
                    raise SourceError(f"{split.url}: column {self.column!r} holds {kind}, not text")
                for batch in file.iter_batches(batch_size=1024, columns=[self.column]):
                    # As bytes: a string column may hold what is no UTF-8, which is for cleaning to reject.
                    for value in batch.column(0).cast(pa.large_binary()).to_pylist():
                        self._add_value(rows, f"{split.url}: row {number}", value, f"column {self.column!r}")
                        number += 1
                        yield from rows.full()
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise SourceError(f"{split.url} is no readable Parquet file: {error}") from error
        yield from rows.rest()
