"""Tab-separated region files: bottom-up-attention, VinVL, and the lines of UNIMO's retrieval data. Numbers are base64 of float32.

    bottom_up  image_id, image_w, image_h, num_boxes, boxes, features             (Anderson et al., arXiv 1707.07998)
    vinvl      key, JSON {"num_boxes", "features"}: 2048 features and 6 of geometry (Zhang et al., arXiv 2101.00529)
    unimo      file name, w, h, number of boxes, boxes, features, probabilities   (Li et al., arXiv 2012.15409)

A file is read through once to note where each key's line stands; lines are then read one at a time.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import IO

import numpy as np

from schemas import files
from schemas.rejects import Reason
from transforms.regions.files.base import MAX_BOXES, Imported, RegionFileError

MAX_LINE = 64 << 20  # bytes; 1000 regions of 2048 numbers in base64 are 11 MB
_GEOMETRY = 6  # x1, y1, x2, y2, w, h in shares of the image's sides


class TsvStore:
    """Lines of one or more files, by their first field. Several threads may ask.

    parse: turns a line's fields after the key into an entry; see `PARSERS`.
    """

    def __init__(self, urls: Sequence[str], parse: Callable[[list[bytes]], Imported]):
        self._urls = list(urls)
        self._parse = parse
        self._places: dict[str, tuple[int, int, int]] = {}  # by key: file, offset, length
        self._twice: set[str] = set()
        self._lock = Lock()
        self._open: dict[int, IO[bytes]] = {}
        for number, url in enumerate(self._urls):
            self._index(number, url)

    @property
    def stamp(self) -> object:
        """Name and size of each file."""
        return [[url, files.size_of(url)] for url in self._urls]

    def keys(self) -> Iterator[str]:
        """Keys in the order of the lines."""
        return iter(self._places)

    def get(self, key: str) -> Imported | None:
        """The entry of a key; raises RegionFileError when its line is damaged, or two lines have the key."""
        if key in self._twice:
            raise RegionFileError(Reason.DUPLICATE_ID, f"two lines have the key {key!r}")
        if key not in self._places:
            return None
        number, offset, length = self._places[key]
        if length > MAX_LINE:
            raise RegionFileError(Reason.BAD_ROW, f"the line of {key!r} has {length} bytes, {MAX_LINE} are allowed")
        with self._lock:
            file = self._file(number)
            file.seek(offset)
            line = file.read(length)
        try:
            return self._parse(line.rstrip(b"\r\n").split(b"\t")[1:])
        except (ValueError, binascii.Error, RecursionError) as error:
            raise RegionFileError(Reason.BAD_ROW, f"the line of {key!r}: {error}") from error

    def _file(self, number: int) -> IO[bytes]:
        if number not in self._open:
            fs, path = files.filesystem(self._urls[number])
            self._open[number] = fs.open(path, "rb")
        return self._open[number]

    def _index(self, number: int, url: str) -> None:
        fs, path = files.filesystem(url)
        offset = 0
        with fs.open(path, "rb") as file:
            while head := file.readline(1 << 20):
                length = len(head)
                key, tab, _ = head.partition(b"\t")
                while not head.endswith(b"\n") and (head := file.readline(1 << 20)):  # a long line comes in pieces
                    length += len(head)
                if tab:
                    name = key.decode("utf-8", "replace")
                    if name in self._places:
                        self._twice.add(name)
                    self._places[name] = number, offset, length
                offset += length


def parse_bottom_up(fields: list[bytes]) -> Imported:
    """image_w, image_h, num_boxes, boxes, features. Raises ValueError."""
    width, height, count = _integers(_some(fields, 5)[:3])
    return Imported(_floats(fields[3], count, "boxes"), _floats(fields[4], count, "features"), width=width, height=height)


def parse_unimo(fields: list[bytes]) -> Imported:
    """w, h, number of boxes, boxes, features, probabilities. Raises ValueError."""
    width, height, count = _integers(_some(fields, 6)[:3])
    return Imported(_floats(fields[3], count, "boxes"), _floats(fields[4], count, "features"),
                    soft_labels=_floats(fields[5], count, "probabilities"), width=width, height=height)


def parse_vinvl(fields: list[bytes]) -> Imported:
    """One field of JSON. Raises ValueError."""
    said = json.loads(_some(fields, 1)[0])
    if not isinstance(said, dict) or not isinstance(said.get("num_boxes"), int) or not isinstance(said.get("features"), str):
        raise ValueError("the JSON has no num_boxes and features")
    values = _floats(said["features"].encode(), _integers([str(said["num_boxes"]).encode()])[0], "features")
    if values.shape[1] <= _GEOMETRY:
        raise ValueError(f"{values.shape[1]} numbers a region leave none for features beside {_GEOMETRY} of geometry")
    return Imported(values[:, -_GEOMETRY:-2], values[:, :-_GEOMETRY])


PARSERS: dict[str, Callable[[list[bytes]], Imported]] = {"bottom_up": parse_bottom_up, "vinvl": parse_vinvl, "unimo": parse_unimo}


def _some(fields: list[bytes], count: int) -> list[bytes]:
    if len(fields) != count:
        raise ValueError(f"{len(fields)} fields after the key, not {count}")
    return fields


def _integers(fields: list[bytes]) -> list[int]:
    values = [int(field) for field in fields]
    if min(values) < 0 or values[-1] > MAX_BOXES or (len(values) > 1 and min(values[:2]) < 1):
        raise ValueError(f"sizes and number of boxes are {values}: at most {MAX_BOXES} boxes, sides of at least 1")
    return values


def _floats(text: bytes, count: int, name: str) -> np.ndarray:
    """Float32 [count, width], the width being what the bytes make it."""
    values = np.frombuffer(base64.b64decode(text, validate=True), "<f4")
    if count == 0 or not len(values) or len(values) % count:
        raise ValueError(f"{len(values)} numbers of {name} are not so many for each of {count} regions")
    return values.reshape(count, -1)
