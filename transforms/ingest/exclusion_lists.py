"""Reads exclusion lists: text files, table columns, and the JSON files that benchmarks publish."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import SourceError
from schemas.text import quoted
from transforms.ingest.limits import Limits
from transforms.ingest.sources.opening import read_whole

_NAME_FIELDS = ("image", "file_name", "filename", "image_path", "url", "coco_url", "flickr_url")
_ID_FIELDS = ("image_id", "cocoid", "coco_id")
_FALLBACK_FIELDS = ("id", "key")  # may number captions or lines: used only if no other field names the image, or in COCO's `images`
_LISTS = ("images", "annotations", "data")
CAPTION_NUMBER = re.compile(r"(\.[A-Za-z]{3,4})#\d+$")

Entry = tuple[str, ...]  # the names, ids and URLs with which one line or object of a list identifies its image


class ExclusionList(BaseModel):
    """An exclusion list in a file, and which part of the file to use."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(description="the list, a .txt, .csv, .tsv or .json file")
    split: str | tuple[str, ...] = Field(default=(), description="json: the splits to leave out, such as [val, test]")
    column: str | None = Field(default=None, description="the column (csv, tsv) or field (json) that names the image")

    @property
    def name(self) -> str:
        """The file, followed by the selected splits if any."""
        return f"{self.file} ({', '.join(self.wanted)})" if self.wanted else self.file

    @property
    def wanted(self) -> tuple[str, ...]:
        """The splits as a tuple."""
        return (self.split,) if isinstance(self.split, str) else self.split


@dataclass(frozen=True)
class Listing:
    """An exclusion list in memory: its name in messages, and its entries."""

    name: str
    entries: list[Entry]
    flickr: bool = False  # bare numbers are Flickr photo ids


def read_list(given: str | ExclusionList, limits: Limits | None = None, flickr: bool = False) -> Listing:
    """Reads one list, completely or not at all.

    .txt: one entry per line (up to a tab); `#` starts a comment line. .csv, .tsv: the configured column; otherwise the columns that
    name images (image, file_name, image_id, url and the like), or all columns if none does. .json: strings, numbers, or objects with
    such fields, in a list, under `images` or `annotations`, or by split. Raises SourceError for a file that is missing, empty or not
    such a list, and for one with several splits if none is selected.
    """
    settings = ExclusionList(file=given) if isinstance(given, str) else given
    url = settings.file
    try:
        text = read_whole(url, limits or Limits()).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{url}: the exclusion list is not valid UTF-8: {error}") from error
    name = url.rpartition("/")[2].lower()
    if ".json" in name:
        entries = list(_json_entries(settings, text))
    elif settings.wanted:
        raise SourceError(f"{url}: `split` applies only to .json lists")
    elif ".csv" in name or ".tsv" in name:
        entries = list(_table_entries(settings, text, "\t" if ".tsv" in name else ","))
    else:
        lines = (_plain(line.split("\t")[0]) for line in text.splitlines())
        entries = [(line,) for line in lines if line and not line.startswith("#")]
    if not entries:
        raise SourceError(f"{settings.name}: the exclusion list is empty")
    return Listing(settings.name, entries, flickr)


def _plain(value: str) -> str:
    """A value without surrounding whitespace and quotes, and without a caption number after the file name (`1.jpg#0`)."""
    return CAPTION_NUMBER.sub(r"\1", value.strip().strip("\"'").rstrip(",").strip("\"'").strip())


def _table_entries(settings: ExclusionList, text: str, delimiter: str) -> Iterator[Entry]:
    """The entries of a table. Raises SourceError for an unclosed quote: the entries it swallows would stay in the corpus."""
    url, rows = settings.file, []
    lines = re.split(r"\r\n|\n|\r", text)
    parser = csv.reader((line + "\n" for line in lines), delimiter=delimiter, strict=True)
    begun = 0
    while True:
        try:
            row = next(parser)
        except StopIteration:
            break
        except csv.Error as error:
            raise SourceError(f"{url}: line {begun + 1} of the exclusion list: {error}; is a quote unclosed?") from error
        inner = lines[begun + 1 : parser.line_num]
        if inner and any(_fields(line, delimiter) == len(row) for line in inner):
            raise SourceError(f"{url}: line {begun + 1} of the exclusion list opens a quote that swallows the lines below it")
        begun = parser.line_num
        if any(cell.strip() for cell in row):
            rows.append([cell.strip() for cell in row])
    if not rows:
        return
    header = rows[0]
    if settings.column is not None:
        if header.count(settings.column) != 1:
            raise SourceError(f"{url} must have exactly one column {settings.column!r}; it has {quoted(header)}")
        wanted = [header.index(settings.column)]
    else:
        wanted = [header.index(name) for name in _fields_that_name(header)]
    for row in rows[1:] if wanted else rows:
        cells = [_plain(row[i]) for i in wanted if i < len(row)] if wanted else [_plain(cell) for cell in row]
        if any(cells):
            yield tuple(cell for cell in cells if cell)


def _fields(line: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader([line], delimiter=delimiter), []))
    except csv.Error:
        return 0


def _fields_that_name(names: Iterable[str], with_last: bool = False) -> list[str]:
    """The columns or fields that name an image."""
    held = list(names)
    found = [name for name in (*_ID_FIELDS, *_NAME_FIELDS) if name in held]
    return found + [name for name in _FALLBACK_FIELDS if name in held and (with_last or not found)]


def _json_entries(settings: ExclusionList, text: str) -> Iterator[Entry]:
    url, wanted = settings.file, settings.wanted
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{url}: the exclusion list is not valid JSON: {error}") from error
    under = ""
    if isinstance(found, dict):
        if wanted and all(isinstance(found.get(split), list) for split in wanted):
            found, wanted = [one for split in wanted for one in found[split]], ()
        else:
            under = next((name for name in _LISTS if isinstance(found.get(name), list)), "")
            found = found.get(under)
    if not isinstance(found, list):
        raise SourceError(
            f"{url} must be a list of ids, names or URLs, or an object with such a list under {', '.join(_LISTS)}"
            + (f" or {', '.join(wanted)}" if wanted else "")
        )
    splits = sorted({str(one["split"]) for one in found if isinstance(one, dict) and one.get("split") is not None})
    if splits and not wanted:
        raise SourceError(
            f"{url} has the splits {quoted(', '.join(splits))}; select those to exclude: {{file: ..., split: [{quoted(splits[-1])}]}}"
        )
    if missing := [split for split in wanted if split not in splits]:
        raise SourceError(f"{url} has no split {missing[0]!r}; it has {quoted(', '.join(splits)) or 'none'}")
    for one in found:
        if not wanted or (isinstance(one, dict) and str(one.get("split")) in wanted):
            yield _json_entry(settings, one, under == "images")


def _json_entry(settings: ExclusionList, entry: Any, of_images: bool) -> Entry:
    if isinstance(entry, dict):
        names = [settings.column] if settings.column else _fields_that_name(entry, with_last=of_images)
        values = [entry.get(name) for name in names]
        if not settings.column and isinstance(entry.get("filepath"), str) and isinstance(entry.get("filename"), str):
            values.append(f"{entry['filepath']}/{entry['filename']}")
    else:
        values = [entry]
    known = [_plain(str(value)) for value in values if isinstance(value, (str, int)) and not isinstance(value, bool)]
    if not any(known):
        raise SourceError(f"{settings.file}: an entry is not an id, name or URL, nor an object with one: {quoted(entry, 100)}")
    return tuple(value for value in known if value)
