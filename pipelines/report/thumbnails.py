"""Thumbnails of photos, decoded within the limits that ingestion keeps, in a pool of processes."""

from __future__ import annotations

import io
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from hashlib import sha256

from schemas.errors import CmclError
from transforms.ingest.images.probe import ImageError, ImageLimits, open_reduced, read_bytes

SIDE, _QUALITY = 320, 80
FEW = 400  # photos for which starting processes does not pay
_AT_ONCE = 32


@dataclass(frozen=True)
class Photo:
    """Where a photo is, and the file of its thumbnail. sha256: of the encoded bytes when the corpus was built, None if unknown."""

    uri: str | None
    offset: int | None
    length: int | None
    sha256: bytes | None
    target: str


def make_thumbnails(photos: Sequence[Photo], limits: ImageLimits, workers: int) -> list[str]:
    """Writes the thumbnails, JPEG of at most 320 px a side; returns, for each photo, why it has none, or "".

    Photos that are missing, broken, beyond the limits or not those that the corpus was built from have none.
    """
    pieces = [photos[start : start + _AT_ONCE] for start in range(0, len(photos), _AT_ONCE)]
    if workers < 2 or len(photos) <= FEW:
        return [note for piece in pieces for note in _make(piece, limits)]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        return [note for notes in pool.map(_make, pieces, [limits] * len(pieces)) for note in notes]


def _make(photos: Sequence[Photo], limits: ImageLimits) -> list[str]:
    return [_made(photo, limits) for photo in photos]


def _made(photo: Photo, limits: ImageLimits) -> str:
    if photo.uri is None:
        return "no photo: the corpus was built from captions alone"
    try:
        data = read_bytes(photo.uri, photo.offset, photo.length, limits.max_bytes)
        if photo.sha256 and sha256(data).digest() != photo.sha256:
            return "the photo has changed since the corpus was built"
        with open_reduced(data, SIDE, limits) as image:
            packed = io.BytesIO()
            image.save(packed, "JPEG", quality=_QUALITY)
    except ImageError as error:
        return f"no photo: {error.reason.value.replace('_', ' ')}"
    except CmclError as error:
        return f"no photo: {type(error).__name__}"
    os.makedirs(os.path.dirname(photo.target), exist_ok=True)
    with open(photo.target, "xb") as file:
        file.write(packed.getbuffer())
    return ""


def thumbnail_name(folder: str, number: int) -> str:
    """The path of a thumbnail in the report: at most 1,000 files a folder."""
    return f"{folder}/{number // 1000:03d}/{number}.jpg"
