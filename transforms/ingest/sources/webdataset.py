"""Image-text pairs in tar shards, as written by webdataset and img2dataset.

Consecutive members that share their name up to the first dot of the base name form one sample. Image bytes stay in the tar: a row
gives their offset and length. Nothing is ever extracted.
"""

from __future__ import annotations

import json
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Literal

import pyarrow as pa
from pydantic import Field

from schemas.errors import SourceError
from schemas.rejects import Reason
from schemas.text import quoted
from transforms.ingest.sources.base import Rows, Source, Split, as_bytes, pair_rows
from transforms.ingest.sources.captions import IMAGE_EXTENSIONS, captions_of, side, without_caption_number
from transforms.ingest.sources.listing import Urls, expand
from transforms.ingest.sources.opening import open_binary
from transforms.ingest.sources.tar import BLOCK, Member, members

_COMPRESSED = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ\x00": "unxz",
    b"\x28\xb5\x2f\xfd": "zstd -d",
}
_TEXTS = ("txt", "json")
_COMPRESSED_NAMES = (".gz", ".tgz", ".bz2", ".xz", ".zst")


@dataclass
class _Sample:
    """The members of one sample; texts are read, images are only located."""

    key: str
    images: list[tuple[str, int, int]] = field(default_factory=list)  # extension, offset, length
    texts: dict[str, bytes] = field(default_factory=dict)  # "txt", "json"
    problem: tuple[Reason, str] | None = None


def split_name(name: str) -> tuple[str, str]:
    """The key (folder and base name up to its first dot) and the extension (the rest) of a member's name."""
    folder, base = posixpath.split(posixpath.normpath(name))
    stem, _, extension = base.partition(".")
    return posixpath.join(folder, stem), extension.lower()


def is_unsafe(name: str) -> bool:
    """Whether a member's name points out of the archive: absolute, with `..`, or with a drive letter."""
    parts = name.replace("\\", "/").split("/")
    return not parts[0] or parts[0].endswith(":") or ".." in parts


class WebDatasetSource(Source):
    """Tar shards. Key: the member's name up to the first dot of its base name, with its folder.

    The captions are the lines of the `.txt` member (or `.jpg.txt`; likewise for `.json`), else field `caption` of the `.json` member,
    which may be a list of captions; `url`, `width`, `height` and `status` come from the `.json`. A shard may be several concatenated
    tars. Rejected: members that are links or devices or whose names point out of the archive (never followed), samples without image
    or caption, with two images, with sparse files, or with a key seen before in the shard, unreadable `.json`; and, as one row, the
    rest of a truncated shard.
    Excluded: samples with a `status` other than "success". Ignored: folders, names that start with a dot, `__names__`, members of
    other kinds, and files other than shards that a pattern matches (img2dataset's `*.parquet` and `*_stats.json`).
    """

    format: Literal["webdataset"]
    shards: Urls = Field(description="*.tar: a path, URL or glob, or a list of these")
    caption: str = Field(default="caption", description="field of the .json member")
    caption_from: Literal["auto", "txt", "json"] = Field(default="auto", description="auto: .txt if there is one, else .json")
    txt: Literal["auto", "lines", "whole"] = Field(
        default="auto",
        description="whether a .txt has one caption per line, or is one caption; auto: lines, unless the .json says that it is one",
    )
    url: str = Field(default="url", description="field of the .json member")
    missing_images: Literal["reject", "exclude"] = Field(
        default="exclude",
        description="whether a sample whose download failed, according to its `status`, is rejected as a bad row, or excluded",
    )
    image: str | None = Field(default=None, description="extension of the image, e.g. `jpg`, if samples have several")
    keys: Literal["global", "shard"] = Field(
        default="global", description="shard: keys are only unique within a shard, so the shard's name is prepended"
    )
    keep_uncaptioned: bool = Field(
        default=False, description="under `images`: keep samples without a caption as image-only rows; under `pairs` they are rejected"
    )

    def splits(self) -> list[Split]:
        """One split per shard. Raises SourceError if there is none, or if shards are compressed."""
        files = expand(self.shards)
        for file in files:
            if file.url.endswith(_COMPRESSED_NAMES):
                raise SourceError(
                    f"{quoted(file.url, 500)} is compressed, so its images have no address: decompress it with gunzip or zstd -d"
                )
        shards = [file for file in files if not file.url.endswith((".parquet", ".json"))]
        if not shards:
            raise SourceError(f"{self.shards} matches no tar shards")
        return [Split(file.url, file.stamp) for file in shards]

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Rows in shard order. Raises SourceError if the file is not a tar."""
        rows = pair_rows()
        seen: set[str] = set()
        with open_binary(split.url, compression=None) as handle:
            if _is_tar(split.url, handle, rows):
                for sample in self._samples(split.url, handle, rows):
                    where = f"{split.url}: {sample.key}"
                    rows.attempt(where, self._rows, where, split, sample, seen, rows)
                    yield from rows.full()
        yield from rows.rest()

    def _samples(self, url: str, handle: IO[bytes], rows: Rows) -> Iterator[_Sample]:
        sample: _Sample | None = None
        for member in members(url, handle, self.limits, rows):
            if not _is_sample(url, member, rows):
                continue
            key, extension = split_name(member.name)
            if sample is None or sample.key != key:
                if sample is not None:
                    yield sample
                sample = _Sample(key)
            self._take(sample, member, extension, handle)
            if not extension:
                rows.reject(f"{url}: {member.name}", Reason.BAD_ROW, "the member's name has no extension")
        if sample is not None:
            yield sample

    def _take(self, sample: _Sample, member: Member, extension: str, handle: IO[bytes]) -> None:
        """Adds a member to its sample: texts are read, images located."""
        name = quoted(member.name)
        image, _, text = extension.rpartition(".")
        if image in IMAGE_EXTENSIONS and text in _TEXTS:  # 1.jpeg.json
            extension = text
        is_text, is_image = extension in _TEXTS, extension.rpartition(".")[2] in IMAGE_EXTENSIONS
        if extension in sample.texts or any(extension == other for other, _, _ in sample.images):
            sample.problem = (Reason.DUPLICATE_ID, f"two members are called {name}")
        if member.sparse and (is_text or is_image):
            sample.problem = (Reason.IMAGE_UNREADABLE if is_image else Reason.BAD_ROW, f"{name} is stored as a sparse file")
        if is_text:
            allowed = self.limits.member_bytes
            if member.size > allowed:
                sample.problem = (Reason.TOO_LONG, f"{name} has {member.size} bytes; the limit is {allowed}")
                sample.texts[extension] = b""
                return
            handle.seek(member.offset)
            sample.texts[extension] = handle.read(member.size)
        elif is_image:
            sample.images.append((extension, member.offset, member.size))

    def _rows(self, where: str, split: Split, sample: _Sample, seen: set[str], rows: Rows) -> None:
        """Adds the rows of one sample: one per caption, or one reject."""
        if not sample.images and not sample.texts and sample.problem is None:
            return  # only members of other kinds (.cls, .npy), or a nameless one already rejected
        stem = without_caption_number(sample.key)
        key = stem if self.keys == "global" else f"{posixpath.basename(split.url).removesuffix('.tar')}/{stem}"
        if not key.isprintable():
            rows.reject(where, Reason.BAD_ENCODING, "the key is not printable UTF-8")
            return
        facts, problem = self._facts(sample)
        problem = problem or sample.problem
        if key in seen:
            problem = Reason.DUPLICATE_ID, f"the key {key!r} is duplicated in this shard"
        seen.add(key)
        image, no_image = self._image(sample)
        captions, no_caption = self._captions(sample, facts)
        problem = problem or no_image or (no_caption if not captions else None)
        if problem is not None:
            rows.reject(where, problem[0], problem[1], key=key)
            return
        if no_caption is not None:
            rows.reject(where, *no_caption, key=key)
        link = facts.get(self.url)
        for caption in captions or (None,):
            rows.add(
                key=key,
                name=stem,
                caption=caption,
                uri=split.url,
                offset=image[1],
                length=image[2],
                width=side(facts.get("width")),
                height=side(facts.get("height")),
                url=quoted(link, 4000) if isinstance(link, str) and link else None,
                stamp=split.stamp,
                where=where,
            )

    def _facts(self, sample: _Sample) -> tuple[dict[str, Any], tuple[Reason, str] | None]:
        """The .json member, and what is wrong with it: without its URL and status a sample cannot be accepted."""
        if "json" not in sample.texts or sample.problem is not None:
            return {}, None
        try:
            facts = json.loads(sample.texts["json"].decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            reason = Reason.BAD_ENCODING if isinstance(error, UnicodeDecodeError) else Reason.BAD_ROW
            return {}, (reason, f"the .json member cannot be read: {error}")
        if not isinstance(facts, dict):
            return {}, (Reason.BAD_ROW, f"the .json member is a {type(facts).__name__}, not an object")
        status = facts.get("status")
        if status is not None and status != "success":
            reason = Reason.IMAGE_NOT_HELD if self.missing_images == "exclude" else Reason.IMAGE_MISSING
            return facts, (reason, f"status {quoted(status)}: {quoted(facts.get('error_message'))}")
        return facts, None

    def _image(self, sample: _Sample) -> tuple[tuple[str, int, int], tuple[Reason, str] | None]:
        images = [image for image in sample.images if self.image is None or image[0] == self.image.lower()]
        if len(images) == 1:
            return images[0], None
        if not images:
            return ("", 0, 0), (Reason.IMAGE_MISSING, "the sample has no image")
        names = ", ".join(sorted(extension for extension, _, _ in images))
        return ("", 0, 0), (Reason.BAD_ROW, f"the sample has several images ({names}): choose one with `image`")

    def _captions(self, sample: _Sample, facts: dict[str, Any]) -> tuple[list[bytes], tuple[Reason, str] | None]:
        """The captions, and what is wrong: an invalid caption, or none at all."""
        if self.caption_from != "json" and "txt" in sample.texts:
            return self._lines(sample.texts["txt"], facts), None
        captions, problem = ([], "") if self.caption_from == "txt" else captions_of(facts.get(self.caption))
        if problem:
            return captions, (Reason.BAD_ROW, problem)
        if not captions and not self.keep_uncaptioned:
            return [], (Reason.CAPTION_MISSING, "the sample has no caption")
        return captions, None

    def _lines(self, text: bytes, facts: dict[str, Any]) -> list[bytes]:
        """The captions of a .txt: its non-blank lines, or all of it as one."""
        lines = [line for line in text.splitlines() if line.strip()]
        caption = facts.get(self.caption)
        if self.txt == "auto" and isinstance(caption, str) and as_bytes(caption).split() == text.split():
            return [text]
        return lines if self.txt != "whole" and len(lines) > 1 else [text]


def _is_sample(url: str, member: Member, rows: Rows) -> bool:
    where = f"{url}: {quoted(member.name, 500)}"
    if member.problem:
        rows.reject(where, Reason.BAD_ROW, member.problem)
        return False
    if is_unsafe(member.name):
        rows.reject(where, Reason.UNSAFE_PATH, "the member's name points out of the archive")
        return False
    if member.is_folder:
        return False
    if not member.is_file:
        kind = "a link" if member.is_link else "not a regular file"
        rows.reject(where, Reason.UNSAFE_PATH, f"the member is {kind}; it was not followed")
        return False
    base = posixpath.basename(member.name)
    return not (base.startswith(".") or base.startswith("__"))


def _is_tar(url: str, handle: IO[bytes], rows: Rows) -> bool:
    """Whether an open file is a tar, possibly an empty one; one truncated in its first block is a reject. Raises SourceError."""
    start = handle.read(BLOCK)
    command = next((command for magic, command in _COMPRESSED.items() if start.startswith(magic)), None)
    if command is not None:
        raise SourceError(f"{quoted(url, 500)} is compressed, so its images have no address: decompress it with `{command}`")
    if len(start) < BLOCK:
        rows.reject(url, Reason.ARCHIVE_BROKEN, f"the archive is truncated after {len(start)} bytes, before its first member")
        return False
    try:
        if start != bytes(BLOCK):
            tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        raise SourceError(f"{quoted(url, 500)} is not a tar archive: {error}") from error
    return True
