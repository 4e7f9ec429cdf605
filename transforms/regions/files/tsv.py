"""Tab-separated region files, one image a line (`layouts`).

A file is read through once to note where each key's lines stand; lines are then read one at a time. Extraction that broke off and was
taken up again leaves lines that repeat, are cut or empty: of a key's lines the sound one is taken.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import IO, Any

import numpy as np

from schemas import files
from schemas.rejects import Reason
from transforms.regions.files.base import Bounds, Imported, RegionFileError
from transforms.regions.files.layouts import Parse

_PIECE = 1 << 20
Place = tuple[int, int, int]  # file, offset, length


class TsvStore:
    """Lines of one or more files, by their first field. Several threads may ask. Raises OSError when a file cannot be read."""

    def __init__(self, urls: Sequence[str], parse: Parse, bounds: Bounds | None = None):
        self._urls = list(urls)
        self._parse = parse
        self._bounds = bounds or Bounds()
        self._places: dict[str, Place] = {}
        self._more: dict[str, list[Place]] = {}  # further lines of a key
        self._lock = Lock()
        self._open: dict[int, IO[bytes]] = {}
        for number, url in enumerate(self._urls):
            self._index(number, url)

    def keys(self) -> Iterator[str]:
        """Keys in the order of their first lines."""
        return iter(self._places)

    def get(self, key: str) -> Imported | None:
        """The entry of a key; of several lines the sound one, one with regions before one without.

        Raises RegionFileError when all lines are damaged, or sound ones hold different regions.
        """
        if key not in self._places:
            return None
        if key not in self._more:
            return self._read(key, self._places[key])
        sound: list[Imported] = []
        fault: RegionFileError | None = None
        for place in (self._places[key], *self._more[key]):
            try:
                sound.append(self._read(key, place))
            except RegionFileError as error:
                fault = fault or error
        taken = [one for one in sound if len(one.boxes)] or sound
        if not taken:
            assert fault is not None
            raise RegionFileError(fault.reason, f"{len(self._more[key]) + 1} lines, none sound; {fault.detail}")
        if not all(_same(taken[0], one) for one in taken[1:]):
            raise RegionFileError(Reason.DUPLICATE_ID, f"{len(taken)} lines have the key {key!r} and hold different regions")
        return taken[0]

    def _read(self, key: str, place: Place) -> Imported:
        number, offset, length = place
        if length > self._bounds.max_bytes:
            raise RegionFileError(Reason.BAD_ROW, f"the line of {key!r} has {length} bytes, {self._bounds.max_bytes} are allowed "
                                  "(max_entry_bytes)")
        with self._lock:
            file = self._file(number)
            file.seek(offset)
            line = file.read(length)
        name, *fields = line.rstrip(b"\r\n").split(b"\t")
        if len(line) != length or _name(name) != key:
            raise RegionFileError(Reason.BAD_ROW, f"the line of {key!r} is no longer where it was: {self._urls[number]} has changed")
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
                length = len(head)
                key, tab, _ = head.partition(b"\t")
                while not head.endswith(b"\n") and (head := file.readline(_PIECE)):  # a long line comes in pieces
                    length += len(head)
                if tab:
                    self._note(_name(key), (number, offset, length))
                offset += length

    def _note(self, key: str, place: Place) -> None:
        if key in self._places:
            self._more.setdefault(key, []).append(place)
        else:
            self._places[key] = place


def _name(key: bytes) -> str:
    return key.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")


def _opened(url: str) -> IO[bytes]:
    file: Any = files.open_read(url)
    return file if files.is_local(url) else io.BufferedReader(file, _PIECE)


def _same(first: Imported, second: Imported) -> bool:
    return all(
        (one is None) == (other is None) and (one is None or np.array_equal(one, other, equal_nan=True))
        for one, other in ((getattr(first, name), getattr(second, name)) for name in vars(first)))
