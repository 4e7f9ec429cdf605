"""Cleaning of captions and sentences, and lists of images to leave out. Pure functions over Arrow arrays."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas import files
from schemas.errors import SourceError
from schemas.rejects import Reason, reason_position

KEPT = -1  # in an array of reasons: nothing is wrong with the row

# With their semicolon only: "&copy2" and "?a=1&para=2" are no entities.
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# An ampersand encoded any number of times over: "&amp;amp;", "&#38;#38;".
_AMPERSANDS = re.compile("&(?:(?:amp|AMP|#0{0,5}38|#[xX]0{0,4}26);)+")
_PASSES = 16  # of decoding: what is encoded deeper was made to be
_MARKS = 30  # combining marks in a row, as in Unicode's stream-safe format; real text has two or three
# What has neither shape nor width: controls that are no blanks, soft hyphen, zero-width and direction marks, byte order mark.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
    "\ufff9-\ufffb]")
_PLAIN = re.compile(rb"[!-%'-~]+(?: [!-%'-~]+)*")  # ASCII words, single blanks, no "&": already clean
_BYTES_PER_CHARACTER = 16  # of raw text, entities included: more is too long without a closer look


class CleanRules(BaseModel):
    """What a caption or sentence must be. Lengths count after cleaning."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_words: int = Field(default=1, ge=1, description="fewer are TOO_SHORT")
    max_words: int = Field(default=100, ge=1, description="more are TOO_LONG")
    max_characters: int = Field(default=2000, ge=1, le=100_000, description="more are TOO_LONG")
    entities: bool = Field(default=True, description="turn HTML entities (&amp; &#39;) into the characters that they stand for")

    @model_validator(mode="after")
    def _check(self) -> CleanRules:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words {self.min_words} is above max_words {self.max_words}")
        return self


@dataclass(frozen=True)
class Cleaned:
    """Cleaned texts, n rows.

    `text` string [n], null where the row is bad or was null; `reasons` int8 [n], positions in `REASONS`, `KEPT` where nothing is
    wrong; `details` string [n], "" where nothing is wrong.
    """

    text: pa.StringArray
    reasons: np.ndarray
    details: pa.StringArray


def clean_text(text: str, entities: bool = True) -> str:
    """`text` in Unicode NFC, without control and zero-width characters, blanks collapsed to one and none at the ends.

    `entities`: HTML entities that end in a semicolon are decoded, doubly encoded ones (&amp;amp;) fully. Of a run of combining
    marks the first 30 stay. Idempotent, and about linear in the length of `text`: what is encoded in itself more than 16 times
    over, other than as ampersands, loses its "&".
    """
    for _ in range(_PASSES):
        new = text
        if entities and "&" in new:
            new = _ENTITY.sub(lambda match: html.unescape(match.group()), _AMPERSANDS.sub("&", new))
        new = _INVISIBLE.sub("", new)
        if len(new) > _MARKS and not new.isascii():
            new = _long_mark_runs().sub(r"\1", new)  # sorting a run, a part of NFC, takes the square of its length
        new = " ".join(unicodedata.normalize("NFC", new).split())
        if new == text:
            return new
        text = new
    return clean_text(text.replace("&", " "), entities=False)


@cache
def _long_mark_runs() -> re.Pattern[str]:
    """Runs of more than `_MARKS` characters that are combining marks, or (the Tibetan three) fall apart into such."""
    marks = "".join(chr(code) for code in range(0x300, 0x1F000) if unicodedata.combining(chr(code))) + "\u0f73\u0f75\u0f81"
    return re.compile(f"([{marks}]{{{_MARKS}}})[{marks}]+")


def clean_captions(captions: pa.Array, rules: CleanRules | None = None) -> Cleaned:
    """Cleans binary or string array `captions` [n]; nulls (images without a caption) stay null and are not bad.

    Bad are: bytes that are no UTF-8 (BAD_ENCODING), nothing left (EMPTY), TOO_SHORT, TOO_LONG.
    Raises TypeError for arrays of other types.
    """
    if captions.type not in (pa.binary(), pa.large_binary(), pa.string(), pa.large_string()):
        raise TypeError(f"clean_captions takes an array of bytes or strings, not of {captions.type}")
    rules = rules or CleanRules()
    texts: list[str | None] = []
    details: list[str] = []
    reasons = np.full(len(captions), KEPT, dtype=np.int8)
    for row, data in enumerate(captions.cast(pa.large_binary()).to_pylist()):
        text, reason, detail = (None, None, "") if data is None else _clean_one(data, rules)
        texts.append(text)
        details.append(detail)
        if reason is not None:
            reasons[row] = reason_position(reason)
    return Cleaned(pa.array(texts, pa.string()), reasons, pa.array(details, pa.string()))


def _clean_one(data: bytes, rules: CleanRules) -> tuple[str | None, Reason | None, str]:
    if len(data) > rules.max_characters * _BYTES_PER_CHARACTER:
        return None, Reason.TOO_LONG, f"{len(data)} bytes for at most {rules.max_characters} characters"
    if _PLAIN.fullmatch(data):
        text = data.decode("ascii")
    else:
        try:
            text = clean_text(data.decode("utf-8"), rules.entities)
        except UnicodeDecodeError as error:
            around = data[max(0, error.start - 20):error.start + 20]
            return None, Reason.BAD_ENCODING, f"byte {error.start} is no UTF-8 ({error.reason}), near {around!r}"
    words = text.count(" ") + 1 if text else 0
    if not words:
        return None, Reason.EMPTY, "nothing is left after cleaning"
    if words < rules.min_words:
        return None, Reason.TOO_SHORT, f"{words} words, at least {rules.min_words} are wanted: {text}"
    if words > rules.max_words or len(text) > rules.max_characters:
        return None, Reason.TOO_LONG, (f"{words} words and {len(text)} characters, at most {rules.max_words} and "
                                       f"{rules.max_characters} are allowed: {text[:60]}")
    return text, None, ""


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
