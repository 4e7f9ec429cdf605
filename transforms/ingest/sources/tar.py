"""Lists the members of a tar block by block: nothing is extracted, and no header is trusted beyond the limits.

The standard library's `tarfile` decodes single header blocks; the walk is our own because `tarfile`'s follows negative sizes, recurses
for each header before a member, reads long names of any size, and ends at the first end-of-archive marker.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from schemas.rejects import Reason
from schemas.text import quoted
from transforms.ingest.limits import Limits
from transforms.ingest.sources.base import Rows

BLOCK = tarfile.BLOCKSIZE
_ZEROS = bytes(BLOCK)
_SKIP = 1 << 20
_EXTENSIONS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_EXTENDED = 482  # offset of the flag in an old GNU sparse header that blocks of its map follow; 504 in those blocks
_MAPS = 10_000  # blocks in one sparse map


class Broken(Exception):
    """The archive is unreadable beyond this point."""


@dataclass
class Member:
    """One member: name, type flag, where its bytes are, and what is wrong with its headers ("": nothing)."""

    name: str
    kind: bytes
    offset: int
    size: int
    sparse: bool = False
    problem: str = ""

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.kind in tarfile.REGULAR_TYPES

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.kind == tarfile.DIRTYPE

    @property
    def is_link(self) -> bool:
        """Whether it is a hard or symbolic link."""
        return self.kind in (tarfile.LNKTYPE, tarfile.SYMTYPE)


class Walk:
    """Walks over the members of an open tar of `size` bytes; `offset` is the current position."""

    def __init__(self, handle: IO[bytes], size: int, limits: Limits):
        self._handle, self._size, self._limits = handle, size, limits
        self.offset = 0
        self.ended = False  # whether the last block was an end-of-archive marker

    def members(self) -> Iterator[Member]:
        """The members of all tars concatenated in the file. Raises Broken where it becomes unreadable."""
        while True:
            block = self._block()
            if len(block) < BLOCK:
                if block.strip(b"\0"):
                    raise Broken(f"{len(block)} bytes are less than a block")
                return
            if block == _ZEROS:
                self.ended = True
                self._past_zeros()
                continue
            self.ended = False
            yield self._member(block)

    def _block(self) -> bytes:
        self._handle.seek(self.offset)
        return self._handle.read(BLOCK)

    def _past_zeros(self) -> None:
        """Moves to the first block that is not all zeros."""
        while data := self._handle.read(_SKIP):
            self.offset += BLOCK if data.startswith(_ZEROS) else 0
            rest = data.lstrip(b"\0")
            if rest:
                self.offset = (self._handle.tell() - len(rest)) // BLOCK * BLOCK
                return
        self.offset = self._size

    def _member(self, block: bytes) -> Member:
        """The member whose headers start with `block`: any number of extension headers, then its own."""
        name, size, sparse, problem, chain = "", None, False, "", 0
        while True:
            try:
                info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except (tarfile.HeaderError, ValueError) as error:
                raise Broken(str(error)) from error
            self.offset += BLOCK
            if info.type not in _EXTENSIONS:
                return self._whole(info, block, name, size, sparse, problem)
            chain += 1
            if chain > self._limits.header_chain:
                problem = f"more than {self._limits.header_chain} headers before the member"
            data = self._payload(info.size)
            if data is None:
                problem = problem or f"a header of {info.size} bytes; the limit is {self._limits.header_bytes}"
            elif info.type == tarfile.GNUTYPE_LONGNAME:
                name = data.partition(b"\0")[0].decode("utf-8", "surrogateescape")
            elif info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                for key, value in _pax(data):
                    if key == b"path":
                        name = value.decode("utf-8", "surrogateescape")
                    elif key == b"size":
                        size = _number(value)
                    sparse = sparse or key.startswith(b"GNU.sparse.")
            block = self._block()
            if len(block) < BLOCK:
                raise Broken("a header is not followed by a member")

    def _payload(self, size: int) -> bytes | None:
        """The data of an extension header; None if it is too long, in which case it is skipped."""
        if size < 0 or self.offset + size > self._size:
            raise Broken(f"a header of {size} bytes")
        self._handle.seek(self.offset)
        self.offset += _blocks(size)
        return self._handle.read(size) if size <= self._limits.header_bytes else None

    def _whole(self, info: tarfile.TarInfo, block: bytes, name: str, size: int | None, sparse: bool, problem: str) -> Member:
        """The member of a header; moves past its bytes."""
        name, size = name or info.name, info.size if size is None else size
        if size < 0:
            raise Broken(f"{quoted(name)} has {size} bytes")
        if info.type == tarfile.GNUTYPE_SPARSE:
            sparse = True
            self._past_map(block)
        kind = tarfile.REGTYPE if info.type == tarfile.GNUTYPE_SPARSE else info.type
        member = Member(name.rstrip("/"), kind, self.offset, size, sparse, problem)
        holds = member.is_file or info.type not in tarfile.SUPPORTED_TYPES
        if holds and self.offset + size > self._size:
            raise Broken(f"{quoted(member.name)} is truncated")
        self.offset += _blocks(size) if holds else 0
        return member

    def _past_map(self, block: bytes) -> None:
        more, count = block[_EXTENDED], 0
        while more:
            extension = self._block()
            if len(extension) < BLOCK or count > _MAPS:
                raise Broken("the map of a sparse file is truncated or too long")
            self.offset += BLOCK
            more, count = extension[504], count + 1


def _blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _number(value: bytes) -> int:
    if not value.isdigit() or len(value) > 20:
        raise Broken(f"the size {quoted(value)} is not a number of bytes")
    return int(value)


def _pax(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The records "length key=value" of a pax header. Raises Broken if they are malformed."""
    while data.strip(b"\0"):
        length, blank, _ = data.partition(b" ")
        if not blank or not length.isdigit() or len(length) > 10 or not len(length) + 1 < int(length) <= len(data):
            raise Broken("a pax header is malformed")
        record = data[len(length) + 1 : int(length)]
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        if not equals:
            raise Broken("a pax header is malformed")
        yield key, value
        data = data[int(length) :]


def members(url: str, handle: IO[bytes], limits: Limits, rows: Rows) -> Iterator[Member]:
    """The members of the tar `url`; if it is truncated or damaged, one reject says so, and the members before are kept."""
    size = handle.seek(0, 2)
    walk = Walk(handle, size, limits)
    try:
        yield from walk.members()
        broken = "" if walk.ended else "no end-of-archive marker"
    except Broken as error:
        broken = str(error)
    if broken:
        rows.reject(
            url,
            Reason.ARCHIVE_BROKEN,
            f"the archive is truncated or damaged at byte {walk.offset} of {size} ({broken}); the samples before are kept",
        )
