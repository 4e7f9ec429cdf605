"""Lists of images to leave out, such as the test images of later benchmarks, and how images are matched against them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from schemas import files
from schemas.errors import SourceError

_FLICKR_URL = re.compile(r"/(\d+)_[0-9a-f]+")
_FLICKR_PAGE = re.compile(r"flickr\.com/photos/[^/]+/(\d+)")
_FLICKR_FILE = re.compile(r"(?:^|/)(\d+)_[0-9a-f]{6,}(?:_[a-z0-9])?(?:\.[A-Za-z]+)?$")
_EXTENSION = re.compile(r"\.(?:jpe?g|png|gif|webp|bmp|tiff?|avif)$", re.IGNORECASE)
_ID_COLUMNS = ("image_id", "id", "key", "image", "file_name")
_URL_COLUMNS = ("url", "coco_url", "flickr_url")


def normal_url(url: str) -> str:
    """`url` without scheme, default port, fragment and trailing slash, its host in lower case; the query counts."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:  # such as an unclosed [ in the host: no URL, matched as it is
        return url.strip()
    host = parts.netloc.lower()
    for port in (":80", ":443"):
        host = host.removesuffix(port)
    return host + parts.path.rstrip("/") + (f"?{parts.query}" if parts.query else "")


def normal_key(key: str) -> str:
    """`key` in one of the ways to write it: without an image's extension, whole numbers without leading zeros."""
    folder, slash, stem = _EXTENSION.sub("", key.strip()).rpartition("/")
    if stem.isascii() and stem.isdigit():
        stem = stem.lstrip("0") or "0"
    return folder + slash + stem


def flickr_photo(url: str) -> str | None:
    """The number of the Flickr photo behind `url`, whatever its size; None when it is no address at Flickr."""
    if "flickr" not in url:
        return None
    match = _FLICKR_URL.search(url) or _FLICKR_PAGE.search(url)
    return match.group(1) if match else None


class ExclusionRules(BaseModel):
    """Lists of images to leave out, such as the test images of later benchmarks; in files (.txt, .csv, .tsv, .json) or inline."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: list[str] = Field(default_factory=list, description="files of ids, keys or URLs")
    ids: list[str] = Field(default_factory=list, description="keys, or ids with the collection before them (coco/139)")
    urls: list[str] = Field(default_factory=list, description="URLs")
    flickr_files: list[str] = Field(default_factory=list, description="files of Flickr photo numbers or file names (Flickr30k's)")
    flickr_ids: list[str] = Field(default_factory=list, description="Flickr photo numbers")


class Exclusions:
    """Images to leave out, matched by key or id, by URL, or by the Flickr photo that a URL or file name tells.

    UNITER removed Flickr30k's photos from COCO in the last of these ways. Build one with `from_rules`.
    """

    def __init__(self, ids: Iterable[str] = (), urls: Iterable[str] = (), flickr: Iterable[str] = ()):
        self.ids: frozenset[str] = frozenset(normal_key(entry) for entry in ids if entry.strip())
        urls = [url for url in urls if url.strip()]
        self.urls: frozenset[str] = frozenset(normal_url(url) for url in urls)
        photos = {photo for photo in (flickr_photo(url) for url in urls) if photo is not None}
        self.photos: frozenset[str] = frozenset(photos | {_photo_entry(entry) for entry in flickr if entry.strip()})

    @classmethod
    def from_rules(cls, rules: ExclusionRules) -> Exclusions:
        """Reads the lists. Raises SourceError naming a file that is missing or holds no list of ids or URLs."""
        entries = [*rules.ids, *(entry for file in rules.files for entry in read_entries(file))]
        flickr = [*rules.flickr_ids, *(entry for file in rules.flickr_files for entry in read_entries(file))]
        urls = [*rules.urls, *(entry for entry in entries if "://" in entry)]
        return cls([entry for entry in entries if "://" not in entry], urls, flickr)

    def __len__(self) -> int:
        return len(self.ids) + len(self.urls) + len(self.photos)

    @property
    def fingerprint(self) -> str:
        """Changes when the lists match something else."""
        parts = [sorted(self.ids), sorted(self.urls), sorted(self.photos)]
        return blake2b(json.dumps(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def match(self, source: str, keys: pa.Array, urls: pa.Array) -> np.ndarray:
        """Which rows to leave out, bool [n].

        `keys` string [n] of collection `source`; `urls` string [n], each null, one URL, or several, one a line.
        """
        if not len(self):
            return np.zeros(len(keys), dtype=bool)
        pairs = zip(keys.to_pylist(), urls.to_pylist(), strict=True)
        return np.fromiter((self._matches(source, key, url) for key, url in pairs), dtype=bool, count=len(keys))

    def _matches(self, source: str, key: str | None, urls: str | None) -> bool:
        if key is not None and self.ids and (normal_key(key) in self.ids or normal_key(f"{source}/{key}") in self.ids):
            return True
        if key is not None and self.photos and (named := _FLICKR_FILE.search(key)) and named.group(1) in self.photos:
            return True
        for url in (urls or "").split("\n"):
            if url and (normal_url(url) in self.urls or (self.photos and flickr_photo(url) in self.photos)):
                return True
        return False


def _photo_entry(entry: str) -> str:
    entry = entry.strip()
    return flickr_photo(entry) or re.split(r"[_.]", entry.rpartition("/")[2], maxsplit=1)[0]


def read_entries(url: str) -> list[str]:
    """The ids and URLs that a file lists.

    .txt: one a line, `#` begins a comment line. .csv, .tsv: the columns image_id, id, key, image, file_name, url, coco_url and
    flickr_url that there are, or all of a file without any of them. .json: a list of strings, numbers or objects with such
    fields, or an object with such a list in `images` (COCO). Raises SourceError otherwise.
    """
    try:
        with files.open_read(url, "infer") as handle:
            text = handle.read().decode("utf-8-sig")
        if ".json" in url.rpartition("/")[2]:
            return _json_entries(url, json.loads(text))
    except (OSError, ImportError, ValueError) as error:
        raise SourceError(f"{url}: the list of exclusions cannot be read: {type(error).__name__}: {error}") from error
    name = url.rpartition("/")[2]
    if ".csv" in name or ".tsv" in name:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter="\t" if ".tsv" in name else ",") if row]
        wanted = [i for i, column in enumerate(rows[0]) if column.strip() in (*_ID_COLUMNS, *_URL_COLUMNS)] if rows else []
        cells = [row[i] for row in rows[1:] for i in wanted if i < len(row)] if wanted else [cell for row in rows for cell in row]
        return [cell.strip() for cell in cells if cell.strip()]
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _json_entries(url: str, found: Any) -> list[str]:
    if isinstance(found, dict):
        found = found.get("images")
    if not isinstance(found, list):
        raise SourceError(f"{url} holds no list of ids or URLs, nor an object with such a list in 'images'")
    entries: list[str] = []
    for entry in found:
        values = [entry.get(name) for name in (*_ID_COLUMNS, *_URL_COLUMNS)] if isinstance(entry, dict) else [entry]
        known = [str(value) for value in values if isinstance(value, (str, int)) and not isinstance(value, bool)]
        if not known:
            raise SourceError(f"{url}: an entry is no id, URL or object with one: {str(entry)[:100]}")
        entries.extend(known)
    return entries
