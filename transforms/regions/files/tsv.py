"""Tab-separated region files, one image per line (see `layouts`).

A file is read once to index the lines by key; lines are then read one at a time. Extraction that was interrupted and resumed leaves
duplicate, truncated or empty lines: of a key's lines the valid one is used.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import IO, Any

import numpy as np

from schemas import files
from schemas.rejects import Reason
from transforms.regions.files.base import Bounds, RawRegions, RegionFileError
from transforms.regions.files.layouts import Parse

_PIECE = 1 << 20
Location = tuple[int, int, int]  # file, offset, length


class TsvStore:
    """Lines of one or more files, by their first field. Thread-safe. Raises OSError if a file cannot be read."""

    def __init__(self, urls: Sequence[str], parse: Parse, bounds: Bounds | None = None, most_fields: int | None = None):
        self._urls = list(urls)
        self._most_fields = most_fields
        self._damaged = ""  # the first line with too many fields, or with none
        self._more_damaged = 0
        self._parse = parse
        self._bounds = bounds or Bounds()
        self._locations: dict[str, Location] = {}
        self._more: dict[str, list[Location]] = {}  # further lines of a key
        self._lock = Lock()
        self._open: dict[int, IO[bytes]] = {}
        for number, url in enumerate(self._urls):
            self._index(number, url)

    @property
    def damage(self) -> str:
        """Lines that may contain another key: without fields, or with too many."""
        others = f" or {self._more_damaged} others" if self._more_damaged else ""
        return f"{self._damaged}{others}, truncated or merged with another line" if self._damaged else ""

    def keys(self) -> Iterator[str]:
        """Keys in the order of their first lines."""
        return iter(self._locations)

    def get(self, key: str) -> RawRegions | None:
        """The entry of a key; of several lines the valid one, preferably one with regions.

        Raises RegionFileError if all lines are invalid, or valid ones have different regions.
        """
        if key not in self._locations:
            return None
        if key not in self._more:
            return self._read(key, self._locations[key])
        valid: list[RawRegions] = []
        fault: RegionFileError | None = None
        for location in (self._locations[key], *self._more[key]):
            try:
                valid.append(self._read(key, location))
            except RegionFileError as error:
                fault = fault or error
        taken = [one for one in valid if len(one.boxes)] or valid
        if not taken:
            assert fault is not None
            raise RegionFileError(fault.reason, f"{len(self._more[key]) + 1} lines, none valid; {fault.detail}")
        if not all(_same(taken[0], one) for one in taken[1:]):
            raise RegionFileError(Reason.DUPLICATE_ID, f"{len(taken)} lines have the key {key!r} but different regions")
        return taken[0]

    def _read(self, key: str, location: Location) -> RawRegions:
        number, offset, length = location
        if length > self._bounds.max_bytes:
            raise RegionFileError(
                Reason.BAD_ROW, f"the line of {key!r} has {length} bytes; the limit is {self._bounds.max_bytes} (max_entry_bytes)"
            )
        with self._lock:
            file = self._file(number)
            file.seek(offset)
            line = file.read(length)
        name, *fields = line.rstrip(b"\r\n").split(b"\t")
        if len(line) != length or _name(name) != key:
            raise RegionFileError(Reason.BAD_ROW, f"the line of {key!r} has moved: {self._urls[number]} has changed")
        try:
            return self._parse(fields, self._bounds)
        except (ValueError, RecursionError) as error:
            raise RegionFileError(Reason.BAD_ROW, f"the line of {key!r}: {error}") from error

    def _file(self, number: int) -> IO[bytes]:
        if number not in self._open:
            self._open[number] = _opened(self._urls[number])
        return self._open[number]

    def _index(self, number: int, url: str) -> None:
        offset = 0
        with _opened(url) as file:
            while head := file.readline(_PIECE):
                length, tabs = len(head), head.count(b"\t")
                key, tab, rest = head.partition(b"\t")
                while not head.endswith(b"\n") and (head := file.readline(_PIECE)):  # a long line is read in pieces
                    length, tabs = length + len(head), tabs + head.count(b"\t")
                if tab:
                    self._note(_name(key), (number, offset, length))
                if key.strip() and (not rest.strip() or self._most_fields is not None and tabs > self._most_fields):
                    self._more_damaged += bool(self._damaged)
                    self._damaged = self._damaged or f"the line at byte {offset} of {url}"
                offset += length

    def _note(self, key: str, location: Location) -> None:
        if key in self._locations:
            self._more.setdefault(key, []).append(location)
        else:
            self._locations[key] = location


def _name(key: bytes) -> str:
    return key.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")


def _opened(url: str) -> IO[bytes]:
    file: Any = files.open_read(url)
    return file if files.is_local(url) else io.BufferedReader(file, _PIECE)


def _same(first: RawRegions, second: RawRegions) -> bool:
    return all(
        (one is None) == (other is None) and (one is None or np.array_equal(one, other, equal_nan=True))
        for one, other in ((getattr(first, name), getattr(second, name)) for name in vars(first))
    )
