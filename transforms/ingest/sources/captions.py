"""Common parts of caption sources: parsing captions, keys and sizes, and captions that belong to a folder of images."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from typing import Any, Literal

from pydantic import Field, PrivateAttr

from schemas.rejects import Reason
from schemas.text import quoted
from transforms.ingest.sources.base import Source, as_bytes
from transforms.ingest.sources.listing import Found, list_folder, listing_stamp

IMAGE_EXTENSIONS = ("avif", "bmp", "gif", "jfif", "jpeg", "jpg", "png", "tif", "tiff", "webp")
_STORES = ("http://", "https://", "s3://", "gs://", "gcs://", "az://", "abfs://", "abfss://", "hdfs://")
_CORPUS_INDEX = "corpus.json"  # the file at the top of every corpus
_CAPTION_NUMBER = re.compile(rf"\.(?:{'|'.join(IMAGE_EXTENSIONS)})(#\d+[a-z]?)$", re.IGNORECASE)


def has_image_extension(name: str) -> bool:
    """Whether `name` has an image extension; the content is checked later."""
    return name.rpartition(".")[2].lower() in IMAGE_EXTENSIONS


def without_caption_number(name: str) -> str:
    """The image name in `1000092795.jpg#0`, as Flickr8k and Flickr30k number captions (results.token). URLs are left alone."""
    number = _CAPTION_NUMBER.search(name) if "#" in name and "://" not in name else None
    return name[: number.start(1)] if number else name


def is_address(value: str | None) -> bool:
    """Whether an image may be read from `value`: a web or object store URL, never a local path."""
    return value is not None and value.startswith(_STORES)


def key_text(value: object) -> str | None:
    """The key in a cell: printable text or a whole number; else None."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return without_caption_number(value) if isinstance(value, str) and value and value.isprintable() else None


def side(value: object) -> int | None:
    """A declared width or height in pixels; None if invalid."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31 else None


def captions_of(value: object) -> tuple[list[bytes], str]:
    """The captions in a cell of text, bytes, or a list of these, and what is wrong with any others ("": nothing).

    Nulls are skipped.
    """
    captions: list[bytes] = []
    problem = ""
    for one in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(one, (str, bytes)):
            captions.append(one if isinstance(one, bytes) else as_bytes(one))
        elif one is not None:
            problem = f"the caption is not a string: {quoted(one)}"
    return captions, problem


class ImageIndex:
    """Finds images in a folder by their name in a caption file: the path below the folder, or the bare name if unique."""

    def __init__(self, folder: str, files: dict[str, Found]):
        self.folder = folder
        self._files = files
        self._bare: dict[str, str | None] = {}  # bare name -> path below the folder; None: ambiguous
        for name in files:
            bare = posixpath.basename(name)
            self._bare[bare] = None if bare in self._bare else name

    def find(self, name: str) -> tuple[Found | None, Reason, str]:
        """The file called `name`, in any Unicode form; else None with the reason and detail of its reject."""
        path = name.replace("\\", "/")
        if path.startswith("/") and path.startswith(self.folder.rstrip("/") + "/"):
            path = path[len(self.folder.rstrip("/")) + 1 :]
        if path.startswith("/") or ".." in path.split("/"):
            return None, Reason.UNSAFE_PATH, f"the image {quoted(name)!r} is outside the folder of images"
        path = posixpath.normpath(path)
        for form in dict.fromkeys((path, unicodedata.normalize("NFC", path))):
            if form in self._files:
                return self._files[form], Reason.BAD_ROW, ""
            if form in self._bare:
                path_below = self._bare[form]
                if path_below is None:
                    return (
                        None,
                        Reason.BAD_ROW,
                        (f"several images below {self.folder} are called {quoted(name)!r}: give the path below the folder"),
                    )
                return self._files[path_below], Reason.BAD_ROW, ""
        return None, Reason.IMAGE_MISSING, f"no image {quoted(name)!r} below {self.folder}"

    def ending(self, name: str) -> str:
        """The longest suffix of the path `name` found in the folder (`val2014/1.jpg` of `/export/val2014/1.jpg`); else `name`."""
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        for start in range(len(parts)):
            found = "/".join(parts[start:])
            if self.find(found)[1] is not Reason.IMAGE_MISSING:
                return found
        return name


class _Listed:
    """Caches the index of one settings object; not part of the settings: neither compared nor pickled."""

    def __init__(self) -> None:
        self.index: ImageIndex | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Listed)

    def __hash__(self) -> int:
        return 0

    def __reduce__(self) -> tuple[type[_Listed], tuple[()]]:
        return _Listed, ()


class CaptionSource(Source):
    """A source with captions in separate files and, optionally, a folder of images."""

    images: str | None = Field(default=None, description="folder of the images, searched recursively; null: captions only")
    missing_images: Literal["reject", "exclude"] = Field(
        default="reject", description="whether a caption whose image is not in the folder is rejected as a bad row, or excluded"
    )

    _listed: _Listed = PrivateAttr(default_factory=lambda: _Listed())

    def index(self) -> ImageIndex | None:
        """The listing of the folder of images, cached in this object; None without a folder.

        Raises SourceError if the folder is missing.
        """
        if self.images is not None and self._listed.index is None:
            self._listed.index = ImageIndex(self.images, list_folder(self.images, self.limits))
        return self._listed.index

    def extra_inputs(self) -> list[str]:
        """The stamp of the images in the folder, listed again.

        Covers only files with an image extension, none in a corpus below the folder: files that a run writes there (a log, its
        report) must not make that run stale.
        """
        self._listed.index = None
        if self.images is None:
            return []
        files = list_folder(self.images, self.limits)
        corpora = tuple(f"{name.rpartition('/')[0]}/" for name in files if name.endswith(f"/{_CORPUS_INDEX}"))
        return [listing_stamp({name: file for name, file in files.items() if has_image_extension(name) and not name.startswith(corpora)})]

    def locate(self, name: str) -> tuple[dict[str, Any], Reason | None, str]:
        """Columns `uri` and `stamp` of the image called `name`, or the reason and detail of its reject."""
        index = self.index()
        if index is None:
            return {"uri": None, "stamp": ""}, None, ""
        found, reason, detail = index.find(name)
        if found is None:
            if reason is Reason.IMAGE_MISSING and self.missing_images == "exclude":
                reason = Reason.IMAGE_NOT_HELD
            return {}, reason, detail
        return {"uri": found.url, "stamp": found.stamp}, None, ""
