"""Captions in COCO format: one JSON file with `images` and `annotations`.

The file is read whole (its parts may come in any order), but each entry is reduced to the required fields as soon as it is parsed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any, Literal, NamedTuple

import pyarrow as pa
from pydantic import Field

from schemas.errors import SourceError
from schemas.rejects import Reason
from schemas.text import quoted
from transforms.ingest.sources.base import Rows, Split, as_bytes, pair_rows, read_parts, splits_of
from transforms.ingest.sources.captions import CaptionSource, side
from transforms.ingest.sources.listing import Urls, expand
from transforms.ingest.sources.opening import read_bounded


class _Image(NamedTuple):
    id: Any
    file_name: Any
    url: str | None
    width: Any
    height: Any


class _Caption(NamedTuple):
    id: Any
    image: Any
    text: Any


def _shorten(entry: dict[str, Any]) -> Any:
    if "image_id" in entry and "caption" in entry:
        return _Caption(entry.get("id"), entry["image_id"], entry["caption"])
    if "file_name" in entry and "id" in entry:
        urls = [entry[name] for name in ("coco_url", "flickr_url") if isinstance(entry.get(name), str) and entry[name]]
        url = "\n".join(quoted(url, 2000) for url in urls) or None
        return _Image(entry["id"], entry["file_name"], url, entry.get("width"), entry.get("height"))
    return entry


def _key(value: object) -> str | None:
    """The key for an image id, a whole number or non-empty printable string; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return str(value)
    return value if isinstance(value, str) and value and value.isprintable() else None


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= 1000 else float(digits)  # infinity, which is not a valid id, size or text


def parse_json(url: str, data: bytes, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Parses a captions file. Undecodable bytes stay in their caption, so only that is rejected later. Raises SourceError."""
    if not data.strip():
        raise SourceError(f"{quoted(url, 500)} is empty")
    text = data.decode("utf-8-sig", "surrogateescape")
    try:
        try:
            return json.loads(text, object_hook=object_hook)
        except json.JSONDecodeError:
            raise
        except ValueError:  # a number with thousands of digits, which Python refuses to convert: only its entry is rejected
            return json.loads(text, object_hook=object_hook, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{quoted(url, 500)} is not valid JSON: {error}") from error


class CocoSource(CaptionSource):
    """COCO captions. Key: the image's id; `url`: its `coco_url` and `flickr_url`, one per line: exclusion lists match either.

    Rejected: an annotation with an unknown image, or without a string as its caption; every caption of an id shared by two images
    (which one it describes is unknown), and the second image; an image without captions unless `keep_uncaptioned`.
    """

    format: Literal["coco"]
    captions: Urls = Field(description="captions_*.json: a path, URL or glob, or a list of these")
    keep_uncaptioned: bool = Field(
        default=False, description="under `images`: keep images without captions as image-only rows; under `pairs` they are rejected"
    )

    def splits(self) -> list[Split]:
        """One split per captions file."""
        return splits_of(expand(self.captions))

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Rows in file order: captions, then images without one. Raises SourceError if it is not a COCO captions file."""
        rows = pair_rows()
        yield from read_parts(split.url, self.limits, rows, partial(self._file, rows))

    def _file(self, rows: Rows, url: str, handle: IO[bytes]) -> Iterator[pa.RecordBatch]:
        images, annotations = self._parsed(url, read_bounded(url, handle, self.limits))
        known, claimed = self._images(url, images, rows)
        captioned: set[str] = set()
        for number, annotation in enumerate(annotations):
            where = f"{url}: annotation {getattr(annotation, 'id', None) or f'number {number}'}"
            rows.attempt(where, self._caption, where, annotation, known, claimed, captioned, rows)
            yield from rows.full()
        for key, image in known.items():
            if key not in captioned:
                where = f"{url}: image {key}"
                if self.keep_uncaptioned:
                    rows.attempt(where, self._row, where, key, image, None, rows)
                else:
                    rows.reject(where, Reason.CAPTION_MISSING, "the image has no caption", key=key)
                yield from rows.full()

    @staticmethod
    def _parsed(url: str, data: bytes) -> tuple[list[Any], list[Any]]:
        found = parse_json(url, data, _shorten)
        if not isinstance(found, dict) or not all(isinstance(found.get(name), list) for name in ("images", "annotations")):
            what = f"an object with the keys {quoted(sorted(found)[:10])}" if isinstance(found, dict) else f"a {type(found).__name__}"
            raise SourceError(f"{url} is not a COCO captions file: expected the lists 'images' and 'annotations', found {what}")
        annotations = found["annotations"]
        if annotations and not any(isinstance(entry, _Caption) for entry in annotations):
            first = annotations[0]
            keys = quoted(sorted(first)) if isinstance(first, dict) else type(first).__name__
            raise SourceError(f"{url} contains no captions: no annotation has 'image_id' and 'caption' (the first has {keys})")
        return found["images"], annotations

    @staticmethod
    def _images(url: str, images: list[Any], rows: Rows) -> tuple[dict[str, _Image], set[str]]:
        """The images by key, and the keys shared by several images; bad entries go to `rows`."""
        known: dict[str, _Image] = {}
        claimed: set[str] = set()
        for number, image in enumerate(images):
            key = _key(image.id) if isinstance(image, _Image) else None
            if key is None or not isinstance(image.file_name, str) or not image.file_name:
                where = f"{url}: image number {number}"
                rows.reject(where, Reason.BAD_ROW, f"an image requires an 'id' and a 'file_name': {quoted(image)}", key=key)
            elif key in known and known[key].file_name != image.file_name:
                claimed.add(key)
                rows.reject(
                    f"{url}: image {key}",
                    Reason.DUPLICATE_ID,
                    f"both {known[key].file_name!r} and {image.file_name!r} have the id {key}",
                    key=key,
                )
            else:
                known.setdefault(key, image)
        return known, claimed

    def _caption(self, where: str, annotation: Any, known: dict[str, _Image], claimed: set[str], captioned: set[str], rows: Rows) -> None:
        if not isinstance(annotation, _Caption):
            rows.reject(where, Reason.BAD_ROW, f"an annotation requires an 'image_id' and a 'caption': {quoted(annotation)}")
            return
        key = _key(annotation.image)
        if key is None or key not in known:
            rows.reject(where, Reason.IMAGE_MISSING, f"image_id {quoted(annotation.image)} is not among the images", key=key)
            return
        captioned.add(key)
        if key in claimed:
            rows.reject(where, Reason.DUPLICATE_ID, f"several images have the id {key}: the caption is ambiguous", key=key)
        elif not isinstance(annotation.text, str):
            reason = Reason.CAPTION_MISSING if annotation.text is None else Reason.BAD_ROW
            rows.reject(where, reason, f"the caption is not a string: {quoted(annotation.text)}", key=key)
        else:
            self._row(where, key, known[key], as_bytes(annotation.text), rows)

    def _row(self, where: str, key: str, image: _Image, caption: bytes | None, rows: Rows) -> None:
        location, reason, detail = self.locate(image.file_name)
        if reason is not None:
            rows.reject(where, reason, detail, key=key)
            return
        rows.add(
            key=key,
            name=image.file_name,
            caption=caption,
            url=image.url,
            width=side(image.width),
            height=side(image.height),
            where=where,
            **location,
        )
