"""Reads LMDB files page by page, checking every offset.

The library maps the file and trusts it: a truncated file or damaged pages kill the process (SIGBUS, SIGSEGV). Here they raise. Covers
only the required part of the format: the main database, read-only, keys in default order, one value per key. The format is that of
liblmdb's mdb.c (version 1, little-endian, 64 bits).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_HEADER = 16
_META = struct.Struct("<II16x" + "IHHQQQQQ" * 2 + "QQ")  # magic, version, two databases (free pages, main), last page, transaction
_BRANCH, _LEAF, _OVERFLOW = 1, 2, 4
_BIG, _SPECIAL = 1, 6  # node flags: data on overflow pages; sub-databases and sorted duplicates
_NO_PAGE = (1 << 64) - 1
_DEEPEST = 32


class LmdbError(ValueError):
    """A file that is not LMDB, truncated, damaged or uses unsupported features; the text names the file and the problem."""


def data_file(path: str) -> Path:
    """The file with the data: `path`, or `data.mdb` in it. Raises LmdbError if it does not exist."""
    file = Path(path) / "data.mdb" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise LmdbError(f"no LMDB in {path}: a local folder with data.mdb is required")
    return file


class LmdbFile:
    """A database file, opened for reading. Thread-safe: only the descriptor is shared.

    path: `data.mdb` or its folder. Raises LmdbError, OSError.
    """

    def __init__(self, path: str):
        self.path = data_file(path)
        self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115 - closed by close()
        size = os.fstat(self._file.fileno()).st_size
        first = self._meta(0)
        self._page_size = first[2]
        if self._page_size < 256 or self._page_size & (self._page_size - 1) or self._page_size > 1 << 16:
            raise LmdbError(f"{self.path} is damaged: it declares a page size of {self._page_size} bytes")
        second = self._meta(self._page_size)
        meta = max(first, second, key=lambda one: one[-1])
        flags, self._depth, self.entries, self._root, last = meta[11], meta[12], meta[16], meta[17], meta[18]
        if flags & ~0x08:  # 0x08: integer keys, which have another order
            raise LmdbError(f"{self.path} has several values per key, or another key order, which is not supported")
        if flags:
            raise LmdbError(f"{self.path} has integer keys, which are not supported")
        if (last + 1) * self._page_size > size:
            raise LmdbError(f"{self.path} is truncated: {size} bytes, but its pages take {(last + 1) * self._page_size}; copy it again")
        self._last = last

    def _meta(self, offset: int) -> tuple[int, ...]:
        data = os.pread(self._file.fileno(), _META.size, offset + _HEADER)
        if len(data) < _META.size or struct.unpack_from("<II", data) != (_MAGIC, _VERSION):
            raise LmdbError(f"{self.path} is not an LMDB file, or has another version or byte order")
        return _META.unpack(data)

    def get(self, key: bytes, max_bytes: int) -> bytes | None:
        """The value of a key, or None. Raises LmdbError for damaged pages and values of more than `max_bytes`."""
        if self._root == _NO_PAGE:
            return None
        number = self._root
        for _ in range(_DEEPEST):
            page, nodes, leaf = self._node_page(number)
            if leaf:
                at = _search(page, nodes, key, 0)
                if at < len(nodes) and self._key(page, nodes[at]) == key:
                    return self._value(page, nodes[at], max_bytes)
                return None
            at = _search(page, nodes, key, 1)
            exact = at < len(nodes) and self._key(page, nodes[at]) == key
            number = self._child(page, nodes[at if exact else at - 1])
        raise self._damaged(number, "the tree is too deep")

    def keys(self) -> Iterator[bytes]:
        """All keys, in order. Raises LmdbError for damaged pages."""
        waiting = [] if self._root == _NO_PAGE else [self._root]
        seen = 0
        while waiting:
            number = waiting.pop()
            seen += 1
            if seen > self._last + 1:
                raise self._damaged(number, "pages form a cycle")
            page, nodes, leaf = self._node_page(number)
            if leaf:
                yield from (self._key(page, node) for node in nodes)
            else:
                waiting.extend(self._child(page, node) for node in reversed(nodes))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _read(self, number: int, size: int) -> bytes:
        if not 2 <= number <= self._last:
            raise self._damaged(number, "page number out of range")
        data = os.pread(self._file.fileno(), size, number * self._page_size)
        if len(data) != size:
            raise self._damaged(number, "the file ends within it")
        return data

    def _node_page(self, number: int) -> tuple[bytes, list[int], bool]:
        """A page, the offsets of its nodes, and whether it is a leaf."""
        page = self._read(number, self._page_size)
        own, _, flags, lower, _ = struct.unpack_from("<QHHHH", page)
        if own != number or flags & 0xF not in (_BRANCH, _LEAF) or not _HEADER <= lower <= len(page) or lower & 1:
            raise self._damaged(number, "its header is invalid")
        nodes = list(struct.unpack_from(f"<{(lower - _HEADER) // 2}H", page, _HEADER))
        if not nodes:
            raise self._damaged(number, "it is empty")
        return page, nodes, bool(flags & _LEAF)

    @staticmethod
    def _key(page: bytes, node: int) -> bytes:  # shorter for a damaged node: slices end where the page does
        return page[node + 8 : node + 8 + int.from_bytes(page[node + 6 : node + 8], "little")]

    @staticmethod
    def _child(page: bytes, node: int) -> int:
        return int.from_bytes(page[node : node + 6], "little")

    def _value(self, page: bytes, node: int, max_bytes: int) -> bytes:
        if node + 8 > len(page):
            raise LmdbError(f"{self.path} is damaged: a node is outside its page")
        low, high, flags, length = struct.unpack_from("<HHHH", page, node)
        size, start = low | high << 16, node + 8 + length
        if flags & _SPECIAL:
            raise LmdbError(f"{self.path} has several values per key, which is not supported")
        if size > max_bytes:
            raise LmdbError(f"a value of {size} bytes; the limit is {max_bytes} (max_entry_bytes)")
        if not flags & _BIG:
            if start + size > len(page):
                raise LmdbError(f"{self.path} is damaged: a value is outside its page")
            return page[start : start + size]
        number = int.from_bytes(page[start : start + 8], "little")
        data = self._read(number, min(_HEADER + size, max(self._last + 1 - number, 0) * self._page_size))
        own, _, kind, pages = struct.unpack_from("<QHHI", data)
        if own != number or kind & 0xF != _OVERFLOW or len(data) != _HEADER + size or pages * self._page_size < len(data):
            raise self._damaged(number, "it does not match the leaf that refers to it")
        return data[_HEADER:]

    def _damaged(self, number: int, what: str) -> LmdbError:
        return LmdbError(f"{self.path} is damaged: page {number}: {what}")


def _search(page: bytes, nodes: list[int], key: bytes, low: int) -> int:
    """The first node from `low` whose key is not less than `key`; a branch's first node has no key."""
    high = len(nodes)
    while low < high:
        middle = (low + high) // 2
        if LmdbFile._key(page, nodes[middle]) < key:
            low = middle + 1
        else:
            high = middle
    return low
