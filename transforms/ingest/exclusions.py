"""Images to exclude, e.g. the test images of downstream benchmarks, and how images are matched against the lists."""

from __future__ import annotations

import json
import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from schemas import files
from schemas.text import quoted
from transforms.ingest.exclusion_lists import ExclusionList, Listing, read_list
from transforms.ingest.limits import Limits

_FLICKR_URL = re.compile(r"/(\d+)_[0-9a-f]+")
_FLICKR_PAGE = re.compile(r"flickr\.com/photos/[^/]+/(\d+)")
_FLICKR_FILE = re.compile(r"(?:^|/)(\d+)_[0-9a-f]{6,}(?:_[a-z0-9])?(?:\.[A-Za-z]+)?$")
# Flickr30k's file names are bare photo ids. Twelve digits make a COCO name, and photo ids have no leading zeros.
_FLICKR30K_FILE = re.compile(r"(?:^|/)([1-9]\d{4,10})\.[A-Za-z]+$")
_COCO_FILE = re.compile(r"(?:^|/)(?:COCO_[a-z]+20\d\d_)?(\d{12})(?:\.[A-Za-z]+)?$")
_COCO_SITE = re.compile(r"^[a-z]+://[^/]*(?:cocodataset|mscoco)|/COCO_[a-z]+20\d\d_\d{12}")
_EXTENSION = re.compile(r"\.(?:jpe?g|png|gif|webp|bmp|tiff?|avif)$", re.IGNORECASE)

Hit = tuple[int, int]  # the indices of a list and of an entry in it


def normal_url(url: str) -> str:
    """`url` without scheme, default port, fragment and trailing slash, its host in lower case; the query is kept."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:  # e.g. an unclosed [ in the host: not a URL, matched verbatim
        return url.strip()
    host = parts.netloc.lower()
    for port in (":80", ":443"):
        host = host.removesuffix(port)
    return host + parts.path.rstrip("/") + (f"?{parts.query}" if parts.query else "")


def normal_key(key: str) -> str:
    """`key` in its normal form: NFC, forward slashes, no image extension, whole numbers without leading zeros."""
    path = unicodedata.normalize("NFC", key.strip().replace("\\", "/")).removeprefix("./")
    folder, slash, stem = _EXTENSION.sub("", path).rpartition("/")
    if stem.isascii() and stem.isdigit():
        stem = stem.lstrip("0") or "0"
    return folder + slash + stem


def flickr_photo(url: str) -> str | None:
    """The id of the Flickr photo that `url` points to, in any size; None if it is not a Flickr URL."""
    if "flickr" not in url:
        return None
    match = _FLICKR_URL.search(url) or _FLICKR_PAGE.search(url)
    return match.group(1) if match else None


def coco_number(name: str) -> str | None:
    """The id of a COCO image from its 2014 (`COCO_val2014_000000391895.jpg`) or 2017 (`000000391895.jpg`) file name."""
    match = _COCO_FILE.search(name.strip().replace("\\", "/"))
    return None if match is None else match.group(1).lstrip("0") or "0"


class ExclusionRules(BaseModel):
    """Images to exclude, e.g. the test images of downstream benchmarks: lists in files (.txt, .csv, .tsv, .json) or inline."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: list[str | ExclusionList] = Field(
        default_factory=list, description="files with keys, file names or URLs, or {file, split, column} to select part of a file"
    )
    ids: list[str] = Field(default_factory=list, description="keys, file names, or ids that include the collection (coco/139)")
    urls: list[str] = Field(default_factory=list, description="URLs")
    flickr_files: list[str | ExclusionList] = Field(
        default_factory=list, description="files with Flickr photo numbers, or file names of Flickr8k or Flickr30k"
    )
    flickr_ids: list[str] = Field(default_factory=list, description="Flickr photo numbers")
    allow_unmatched: bool = Field(default=False, description="allow lists that match no image at all; otherwise that is an error")


@lru_cache(maxsize=2)
def _read(rules: str, limits: str, _: tuple[object, ...]) -> Exclusions:
    held, within = ExclusionRules.model_validate_json(rules), Limits.model_validate_json(limits)
    lists = [*(read_list(file, within) for file in held.files), *(read_list(file, within, flickr=True) for file in held.flickr_files)]
    return Exclusions(held.ids, held.urls, held.flickr_ids, lists)


def _stamp(url: str) -> tuple[object, ...] | None:
    """What changes when a list is rewritten; None if it must be read again because that cannot be told, or reading it reports an error."""
    try:
        return files.version_stamp(url)
    except Exception:
        return None


class Exclusions:
    """Images to exclude, matched by key or id, file name, COCO id, URL or Flickr photo.

    A file name matches with or without its folder: one path must be a suffix of the other. COCO's 2014 and 2017 file names match
    the image's id, which is its key in COCO's files. UNITER removed Flickr30k's photos from COCO by Flickr photo. Build one with
    `from_rules`.
    """

    def __init__(self, ids: Iterable[str] = (), urls: Iterable[str] = (), flickr: Iterable[str] = (), lists: Sequence[Listing] = ()):
        inline = [
            Listing("exclude.ids", [(one,) for one in ids if one.strip()]),
            Listing("exclude.urls", [(one,) for one in urls if one.strip()]),
            Listing("exclude.flickr_ids", [(one,) for one in flickr if one.strip()], flickr=True),
        ]
        self.lists = [*lists, *(listing for listing in inline if listing.entries)]
        self._keys: defaultdict[str, list[Hit]] = defaultdict(list)
        self._names: defaultdict[str, list[tuple[tuple[str, ...], bool, Hit]]] = defaultdict(list)
        self._urls: defaultdict[str, list[Hit]] = defaultdict(list)
        self._photos: defaultdict[str, list[Hit]] = defaultdict(list)
        for number, listing in enumerate(self.lists):
            for index, entry in enumerate(listing.entries):
                for value in entry:
                    self._add(value.strip(), (number, index), listing.flickr)

    @classmethod
    def from_rules(cls, rules: ExclusionRules, limits: Limits | None = None) -> Exclusions:
        """Reads the lists, once per process as long as their files do not change.

        Raises SourceError naming a file that is missing or not a list of images.
        """
        named = [file if isinstance(file, str) else file.file for file in (*rules.files, *rules.flickr_files)]
        stamps = tuple(_stamp(url) for url in named)
        read = _read if None not in stamps else _read.__wrapped__
        return read(rules.model_dump_json(), (limits or Limits()).model_dump_json(), stamps)

    def _add(self, value: str, hit: Hit, flickr: bool) -> None:
        if "://" in value:
            self._urls[normal_url(value)].append(hit)
            if (photo := flickr_photo(value)) is not None:
                self._photos[photo].append(hit)
            if _COCO_SITE.search(value) and (number := coco_number(urlsplit(value).path)) is not None:
                self._keys[number].append(hit)
        elif flickr:
            self._photos[re.split(r"[_.]", value.rpartition("/")[2], maxsplit=1)[0]].append(hit)
        else:
            key = normal_key(value)
            self._keys[key].append(hit)
            folder, _, stem = key.rpartition("/")
            if folder or _EXTENSION.search(value):
                self._names[stem].append((tuple(folder.split("/")) if folder else (), bool(_EXTENSION.search(value)), hit))
            number = coco_number(value)
            if number is not None and number != key:
                self._keys[number].append(hit)

    def __len__(self) -> int:
        return sum(len(listing.entries) for listing in self.lists)

    @property
    def fingerprint(self) -> str:
        """Changes whenever the lists would match other images."""
        names = sorted({f"{'/'.join(folder)}\0{stem}\0{named}" for stem, held in self._names.items() for folder, named, _ in held})
        parts = [sorted(self._keys), names, sorted(self._urls), sorted(self._photos)]
        return blake2b(json.dumps(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def match(self, source: str, keys: pa.Array, names: pa.Array, urls: pa.Array) -> list[list[Hit]]:
        """The entries that each row matches, [n]; empty for a row to keep.

        `keys` string [n] of collection `source`; `names` string [n], file names as given by the source, or null; `urls` string [n],
        each null or one URL per line.
        """
        if not self.lists:
            return [[] for _ in range(len(keys))]
        rows = zip(keys.to_pylist(), names.to_pylist(), urls.to_pylist(), strict=True)
        return [sorted(set(self._hits(source, *row))) for row in rows]

    def _hits(self, source: str, key: str | None, name: str | None, urls: str | None) -> Iterator[Hit]:
        for text in {text for text in (key, name) if text}:
            normal = normal_key(text)
            numbers = {normal, normal.rpartition("/")[2], coco_number(text) or normal}
            for one in numbers:
                yield from self._keys.get(one, ())
                yield from self._keys.get(f"{source}/{one}", ())
            yield from self._named(text, normal)
            if self._photos:
                photo = _FLICKR_FILE.search(text) or (_FLICKR30K_FILE.search(text) if text == (name or key) else None)
                yield from self._photos.get(photo.group(1), ()) if photo else ()
        if key and self._photos and name is None and key.isdigit() and len(key) > 6 and key[0] != "0":
            yield from self._photos.get(key, ())
        for url in (urls or "").split("\n"):
            if url:
                yield from self._urls.get(normal_url(url), ())
                yield from self._photos.get(flickr_photo(url) or "", ())
                if _COCO_SITE.search(url) and (number := coco_number(_path(url))) is not None:
                    yield from self._keys.get(number, ())

    def _named(self, text: str, normal: str) -> Iterator[Hit]:
        """Entries that are file names, or have a folder, and match a suffix of `text`. A bare number is an id, not a file name."""
        if normal.isdigit() and not _EXTENSION.search(text):
            return
        folder, _, stem = normal.rpartition("/")
        here = tuple(folder.split("/")) if folder else ()
        for there, is_file, hit in self._names.get(stem, ()):
            if here[len(here) - len(there) :] == there if len(here) >= len(there) else is_file and there[len(there) - len(here) :] == here:
                yield hit

    def why(self, hits: Sequence[Hit]) -> str:
        """The detail of an excluded row: its first list and entry."""
        number, index = hits[0]
        listing = self.lists[number]
        return f"on the list {posixpath.basename(listing.name)}: {quoted(', '.join(listing.entries[index]))}"

    def summary(self, matched: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
        """Per list: its entries, how many matched, and how many images they excluded. `matched`: each task's `matched_by`."""
        entries: dict[int, set[int]] = defaultdict(set)
        images: dict[int, int] = defaultdict(int)
        for task in matched:
            for number, found in task.items():
                entries[int(number)] |= set(found["entries"])
                images[int(number)] += found["images"]
        return {
            listing.name: {"entries": len(listing.entries), "matched": len(entries[number]), "images": images[number]}
            for number, listing in enumerate(self.lists)
        }


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def matched_by(hits: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """A task's excluded rows, given as (image id, hits from `encode`), summed up per list as JSON types."""
    entries: dict[int, set[int]] = defaultdict(set)
    images: dict[int, set[str]] = defaultdict(set)
    for image_id, text in hits:
        for one in text.split():
            number, _, index = one.partition(":")
            entries[int(number)].add(int(index))
            images[int(number)].add(image_id)
    return {str(number): {"entries": sorted(found), "images": len(images[number])} for number, found in sorted(entries.items())}


def encode(hits: Sequence[Hit]) -> str | None:
    """Hits as text, to cross the shuffle; None if there are none."""
    return " ".join(f"{number}:{index}" for number, index in hits) or None


def unmatched(summaries: Sequence[Mapping[str, Mapping[str, int]]]) -> str | None:
    """The error if a list matched no image in any of the stages with these `summaries`; else None."""
    unused = [name for name in (summaries[0] if summaries else {}) if not any(one.get(name, {}).get("matched") for one in summaries)]
    if not unused:
        return None
    return (
        f"the exclusion list {unused[0]} matches no image: does it use the names of these collections? "
        "(set exclude.allow_unmatched: true if this is intended)"
    )
