"""Metadata of encoded images: its parts are counted before a parser loops over them, and it is removed where it is damaged.

PNG (ISO/IEC 15948), JPEG (ITU-T T.81) and WebP (RFC 9649) store metadata in separate parts, so an image with damaged metadata can be
read without it, as libpng, libjpeg and browsers do.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from PIL import Image

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = frozenset({b"tRNS", b"acTL", b"fcTL", b"fdAT", b"eXIf"})  # ancillary chunks that affect rendering
_WEBP_KEPT = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"EXIF"})
_SMALL = 64  # bytes; smaller parts with pixels count too
_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # JPEG markers without a length


def parts(data: bytes, limit: int) -> int:
    """How many parts (chunks, segments, sub-blocks) a parser would iterate over, large ones with pixels aside; at most `limit` + 1."""
    if data[:8] == _PNG:
        found: Iterator[Any] = (1 for kind, length, _ in _chunks(data) if kind != b"IDAT" or length < _SMALL)
    elif data[:2] == b"\xff\xd8":
        found = _segments(data)
    else:
        found = _gif_parts(data) if data[:4] == b"GIF8" else iter(())
    return sum(1 for _ in islice(found, limit + 1))


def scans(data: bytes) -> int:
    """An upper bound of a JPEG's number of scans, each of which decodes the whole image. 0 for other formats."""
    return data.count(b"\xff\xda") if data[:2] == b"\xff\xd8" else 0


def without_metadata(data: bytes) -> bytes | None:
    """The same image without metadata, except a valid orientation; None if there is nothing to remove."""
    if data[:8] == _PNG:
        kept = [data[start : start + 12 + length] for kind, length, start in _chunks(data) if _keeps(data, kind, length, start)]
        cleaned = b"".join([_PNG, *kept])
    elif data[:2] == b"\xff\xd8":
        cleaned = _clean_jpeg(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        cleaned = _clean_webp(data)
    else:
        return None
    return cleaned if len(cleaned) < len(data) else None


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, length, offset) of a PNG's chunks; the last may be truncated."""
    at = len(_PNG)
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        yield kind, length, at
        at += 12 + length


def _keeps(data: bytes, kind: bytes, length: int, start: int) -> bool:
    if not kind[0] & 0x20:  # a critical chunk
        return True
    end = start + 8 + length
    return kind in _PNG_KEPT and data[end : end + 4] == zlib.crc32(data[start + 4 : end]).to_bytes(4)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of a JPEG's segments before its first scan."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            at = data.find(b"\xff", at)
            if at < 0:
                return
            continue
        marker = data[at + 1]
        if marker in (0x00, 0xFF):
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker in (_SOS, _EOI):
            return
        else:
            end = at + 2 + max(int.from_bytes(data[at + 2 : at + 4]), 2)
            yield marker, at, end
            at = end


def _clean_jpeg(data: bytes) -> bytes:
    kept, last = [data[:2]], 2
    for marker, start, end in _segments(data):
        last = end
        if marker != _COM and not 0xE0 <= marker <= 0xEF:
            kept.append(data[start:end])
        elif marker == 0xEE and end - start >= 16:  # Adobe's segment, which specifies the colour transform
            kept.append(data[start:end])
        elif marker == 0xE1 and data[start + 4 : start + 10] == b"Exif\0\0" and _is_exif(data[start + 4 : end]):
            kept.append(data[start:end])
    return b"".join([*kept, data[last:]])


def _clean_webp(data: bytes) -> bytes:
    kept: list[tuple[bytes, bytes]] = []
    at = 12
    while at + 8 <= len(data):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + length]
        if kind in _WEBP_KEPT and (kind != b"EXIF" or (len(body) == length and _is_exif(body))):
            kept.append((kind, data[at : at + 8 + length + length % 2]))
        at += 8 + length + length % 2
    exif = any(kind == b"EXIF" for kind, _ in kept)
    chunks = [
        chunk[:8] + bytes([chunk[8] & ~(0x24 if exif else 0x2C)]) + chunk[9:] if kind == b"VP8X" and len(chunk) > 8 else chunk
        for kind, chunk in kept
    ]
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _is_exif(block: bytes) -> bool:
    with suppress(Exception):  # whatever a damaged block raises
        exif = Image.Exif()
        exif.load(block)
        return isinstance(exif.get(0x0112, 1), int)
    return False


def _gif_parts(data: bytes) -> Iterator[int]:
    """Offsets of a GIF's sub-blocks up to its second frame, large ones with pixels aside: Pillow joins a comment's one by one."""
    at = 13 + _table(data[10]) if len(data) > 10 else len(data)
    frames = 0
    while at < len(data) and frames < 2:
        kind = data[at]
        if kind == 0x21:
            at += 2
        elif kind == 0x2C and at + 10 < len(data):
            frames += 1
            at += 11 + _table(data[at + 9])
        else:
            yield at
            at += 1
            continue
        while at < len(data) and data[at]:
            if kind == 0x21 or data[at] < _SMALL:
                yield at
            at += 1 + data[at]
        at += 1


def _table(flags: int) -> int:
    """The size in bytes of the colour table declared by a GIF's flags."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
