"""Captions in published JSON files: Karpathy's splits, BLIP's annotations, SBU's parallel lists."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from functools import partial
from typing import IO, Any, Literal

import pyarrow as pa
from pydantic import Field

from schemas.errors import SourceError
from schemas.ids import content_id
from schemas.rejects import Reason
from schemas.text import quoted
from transforms.ingest.sources.base import Rows, Split, pair_rows, read_parts, splits_of
from transforms.ingest.sources.captions import CaptionSource, captions_of, is_address, key_text, without_caption_number
from transforms.ingest.sources.coco import parse_json
from transforms.ingest.sources.listing import Urls, expand
from transforms.ingest.sources.opening import read_bounded


class JsonSource(CaptionSource):
    """One JSON value per file, read whole; each entry contains the captions of one image."""

    captions: Urls = Field(description="the .json: a path, URL or glob, or a list of these")

    def splits(self) -> list[Split]:
        """One split per file."""
        return splits_of(expand(self.captions))

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Rows in file order. Raises SourceError if the file is not in this format."""
        rows = pair_rows()
        yield from read_parts(split.url, self.limits, rows, partial(self._file, rows))

    def _file(self, rows: Rows, url: str, handle: IO[bytes]) -> Iterator[pa.RecordBatch]:
        entries = self._entries(url, parse_json(url, read_bounded(url, handle, self.limits)))
        for number, entry in enumerate(entries):
            where = f"{url}: entry {number}"
            rows.attempt(where, self._entry, where, entry, rows)
            yield from rows.full()

    def _entries(self, url: str, found: Any) -> list[Any]:
        raise NotImplementedError

    def _entry(self, where: str, entry: Any, rows: Rows) -> None:
        raise NotImplementedError

    def _add(self, where: str, key: str, name: str | None, url: str | None, value: object, rows: Rows) -> None:
        """Adds the rows of one image: one per caption, or a reject; an invalid caption among good ones is an additional reject."""
        captions, problem = captions_of(value)
        if problem:
            rows.reject(where, Reason.BAD_ROW, problem, key=key)
        elif not captions:
            rows.reject(where, Reason.CAPTION_MISSING, "the image has no caption", key=key)
        location: dict[str, Any]
        if self.images is not None and name is not None:
            location, reason, detail = self.locate(name)
        elif self.images is not None:
            location, reason, detail = {}, Reason.BAD_ROW, "the entry names no image"
        else:
            location, reason, detail = {"uri": url if is_address(url) else None, "stamp": ""}, None, ""
        for caption in captions:
            if reason is not None:
                rows.reject(where, reason, detail, key=key)
            else:
                rows.add(key=key, name=name, caption=caption, url=url, where=where, **location)


def _chosen(url: str, entries: list[Any], split: str | tuple[str, ...]) -> list[Any]:
    """The entries of the selected splits, or all if none is selected. Raises SourceError listing the splits if one has no entry."""
    wanted = (split,) if isinstance(split, str) else split
    if not wanted:
        return entries
    held = {str(entry.get("split")) for entry in entries if isinstance(entry, dict) and entry.get("split") is not None}
    if missing := [one for one in wanted if one not in held]:
        raise SourceError(f"{quoted(url, 500)} has no split {missing[0]!r}; it has {quoted(', '.join(sorted(held))) or 'none'}")
    # An entry that is not an object has no split: it is rejected when it is read.
    return [entry for entry in entries if not isinstance(entry, dict) or str(entry.get("split")) in wanted]


class KarpathySource(JsonSource):
    """Karpathy's dataset_coco.json, dataset_flickr8k.json and dataset_flickr30k.json: images with sentences and a split.

    Key: `cocoid` if present, as in COCO's own files, else the file name. Rejected: images without a name or sentence,
    sentences without text.
    """

    format: Literal["karpathy"]
    split: str | tuple[str, ...] = Field(
        min_length=1, description="splits to read, e.g. [train, restval]; others are not part of the collection"
    )

    def _entries(self, url: str, found: Any) -> list[Any]:
        images = found.get("images") if isinstance(found, dict) else None
        if not isinstance(images, list) or (images and not any(isinstance(one, dict) and "sentences" in one for one in images)):
            raise SourceError(f"{quoted(url, 500)} is not one of Karpathy's files: it has no list 'images' with 'sentences'")
        return _chosen(url, images, self.split)

    def _entry(self, where: str, entry: Any, rows: Rows) -> None:
        if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str) or not entry["filename"]:
            rows.reject(where, Reason.BAD_ROW, f"an image requires a 'filename': {quoted(entry)}")
            return
        name = without_caption_number(entry["filename"])
        key = key_text(entry["cocoid"]) if entry.get("cocoid") is not None else key_text(name)
        if key is None:
            rows.reject(where, Reason.BAD_ROW, f"the image's id is neither a number nor printable text: {quoted(entry)}")
            return
        sentences = entry.get("sentences")
        texts = [_sentence(one) for one in sentences] if isinstance(sentences, list) else sentences
        folder = entry.get("filepath")
        if isinstance(folder, str) and folder:
            full = posixpath.join(folder, name)
            index = self.index()
            name = full if index is None or index.find(full)[0] is not None else name
        self._add(where, key, name, None, texts, rows)


def _sentence(value: Any) -> Any:
    """The text of one of Karpathy's sentences: `raw`, or the joined tokens if it has none."""
    if isinstance(value, dict):
        tokens = value.get("tokens")
        joined = " ".join(tokens) if isinstance(tokens, list) and all(isinstance(one, str) for one in tokens) else None
        return value["raw"] if isinstance(value.get("raw"), str) else joined if joined is not None else value
    return value


class BlipSource(JsonSource):
    """BLIP's and ALBEF's annotations: a list of objects with `image`, a path, and `caption`, a text or a list of texts.

    Key: the path as given. Of a foreign path (`/export/home/...`) the longest suffix found in the folder of images is used. `url`
    is read if present. Rejected: entries without an image or a caption.
    """

    format: Literal["blip"]
    split: str | tuple[str, ...] = Field(default=(), description="splits to read, if entries have a `split`; none: all")

    def _entries(self, url: str, found: Any) -> list[Any]:
        if not isinstance(found, list) or (found and not any(isinstance(one, dict) and "caption" in one for one in found)):
            raise SourceError(f"{quoted(url, 500)} is not one of BLIP's files: it is not a list of objects with 'image' and 'caption'")
        return _chosen(url, found, self.split)

    def _entry(self, where: str, entry: Any, rows: Rows) -> None:
        image, link = (entry.get("image"), entry.get("url")) if isinstance(entry, dict) else (None, None)
        link = link if isinstance(link, str) and link.isprintable() and link else None
        name = without_caption_number(image) if isinstance(image, str) and image.isprintable() and image else None
        if name is None and link is None:
            rows.reject(where, Reason.BAD_ROW, f"an entry requires an 'image' or a 'url': {quoted(entry)}")
            return
        index = self.index()
        if name is not None and index is not None:
            name = index.ending(name)
        key = posixpath.normpath(name.replace("\\", "/")).lstrip("/") if name is not None else content_id(link or "")
        self._add(where, key, name, link, entry.get("caption"), rows)


class SbuSource(JsonSource):
    """SBU's sbu-captions-all.json: parallel lists `image_urls` and `captions`.

    Key: the content id of the URL, as for `csv` with URLs; with a folder of images, the image is the last part of the URL's path.
    Rejected: entries whose URL or caption is not text.
    """

    format: Literal["sbu"]

    def _entries(self, url: str, found: Any) -> list[Any]:
        urls, captions = (found.get("image_urls"), found.get("captions")) if isinstance(found, dict) else (None, None)
        if not isinstance(urls, list) or not isinstance(captions, list):
            raise SourceError(f"{quoted(url, 500)} is not SBU's file: it has no lists 'image_urls' and 'captions'")
        if len(urls) != len(captions):
            raise SourceError(f"{quoted(url, 500)} has {len(urls)} URLs but {len(captions)} captions")
        return list(zip(urls, captions, strict=True))

    def _entry(self, where: str, entry: Any, rows: Rows) -> None:
        link, caption = entry
        if not isinstance(link, str) or not link or not link.isprintable():
            rows.reject(where, Reason.BAD_ROW, f"the URL is not printable text: {quoted(link)}")
            return
        name = posixpath.basename(link.partition("?")[0]) if self.images is not None else None
        self._add(where, content_id(link), name, link, caption, rows)
