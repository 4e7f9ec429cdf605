"""A folder of images: as a collection of its own (no captions), and as the place where captions find their images."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field, PrivateAttr

from schemas.errors import SourceError
from schemas.rejects import Reason
from transforms.ingest.sources.base import Found, Source, Split, list_folder, listing_stamp, pair_rows

IMAGE_EXTENSIONS = ("avif", "bmp", "gif", "jfif", "jpeg", "jpg", "png", "tif", "tiff", "webp")
_CORPUS_INDEX = "corpus.json"  # the file at the top of every corpus


def has_image_extension(name: str) -> bool:
    """Whether `name` ends like an image; what a file really is its bytes tell later."""
    return name.rpartition(".")[2].lower() in IMAGE_EXTENSIONS


class ImageIndex:
    """Finds images of one folder by the name that a caption file gives: its path below the folder, or its bare name if unique."""

    def __init__(self, folder: str, files: dict[str, Found]):
        self.folder = folder
        self._files = files
        self._bare: dict[str, str | None] = {}  # bare name -> path below the folder; None: several
        for name in files:
            bare = posixpath.basename(name)
            self._bare[bare] = None if bare in self._bare else name

    def find(self, name: str) -> tuple[Found | None, Reason, str]:
        """The file called `name`, or None with the reason and detail of its reject. Only files of the listing can be found."""
        path = name.replace("\\", "/")
        if path.startswith("/") and path.startswith(self.folder.rstrip("/") + "/"):
            path = path[len(self.folder.rstrip("/")) + 1:]
        if path.startswith("/") or ".." in path.split("/"):
            return None, Reason.UNSAFE_PATH, f"the image {name!r} lies outside the folder of images"
        path = posixpath.normpath(path)
        found = self._files.get(path)
        if found is None and path in self._bare:
            place = self._bare[path]
            if place is None:
                return None, Reason.BAD_ROW, f"several images below {self.folder} are called {name!r}: give their path below it"
            found = self._files[place]
        if found is None:
            return None, Reason.IMAGE_MISSING, f"no image {name!r} below {self.folder}"
        return found, Reason.BAD_ROW, ""


class _Listed:
    """Holds an index for one settings object; it is no part of the settings: not compared, and left behind when they travel."""

    def __init__(self) -> None:
        self.index: ImageIndex | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Listed)

    def __hash__(self) -> int:
        return 0

    def __reduce__(self) -> tuple[type[_Listed], tuple[()]]:
        return _Listed, ()


class CaptionSource(Source):
    """A source whose captions lie in files of their own, beside an optional folder of images."""

    images: str | None = Field(default=None, description="folder of the images, searched recursively; null: captions alone")
    missing_images: Literal["reject", "exclude"] = Field(
        default="reject", description="a caption whose image is not in the folder is a bad row, or left out on purpose")

    _listed: _Listed = PrivateAttr(default_factory=lambda: _Listed())

    def index(self) -> ImageIndex | None:
        """The listing of the folder of images, made once for this object; null when there is no folder.

        Raises SourceError when the folder is missing.
        """
        if self.images is not None and self._listed.index is None:
            self._listed.index = ImageIndex(self.images, list_folder(self.images))
        return self._listed.index

    def extra_inputs(self) -> list[str]:
        """The stamp of the folder's images, looked at anew.

        Of files with an image's extension alone, and of none in a corpus below the folder: what a run writes there (a log, its
        report) must not make that run stale.
        """
        self._listed.index = None
        if self.images is None:
            return []
        files = list_folder(self.images)
        corpora = tuple(f"{name.rpartition('/')[0]}/" for name in files if name.endswith(f"/{_CORPUS_INDEX}"))
        return [listing_stamp({name: file for name, file in files.items()
                               if has_image_extension(name) and not name.startswith(corpora)})]

    def place(self, name: str) -> tuple[dict[str, Any], Reason | None, str]:
        """Columns `uri` and `stamp` of the image called `name`, or the reason and detail why it cannot be had."""
        index = self.index()
        if index is None:
            return {"uri": None, "stamp": ""}, None, ""
        found, reason, detail = index.find(name)
        if found is None:
            if reason is Reason.IMAGE_MISSING and self.missing_images == "exclude":
                reason = Reason.IMAGE_NOT_HELD
            return {}, reason, detail
        return {"uri": found.url, "stamp": found.stamp}, None, ""


class FolderSource(Source):
    """Images without captions: every file with an image's extension below `images`.

    The key is the path below the folder with its extension, so `a.jpg` and `a.png` stay two images. Other files, and names that
    start with a dot, are no images and are passed over.
    """

    format: Literal["folder"]
    images: str = Field(description="folder of the images, searched recursively")

    def splits(self) -> list[Split]:
        """One split, the folder; its stamp is that of its listing. Raises SourceError when it is missing or holds no image."""
        files = self._images(self.images)
        if not files:
            raise SourceError(f"{self.images} holds no image (files that end in {', '.join(IMAGE_EXTENSIONS)})")
        return [Split(self.images, listing_stamp(files), len(files))]

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Image-only rows, sorted by key."""
        rows = pair_rows()
        for name, file in self._images(split.url).items():
            if not name.isprintable():
                rows.reject(file.url, Reason.BAD_ENCODING, "the file's name is not printable UTF-8")
            else:
                rows.add(key=name, uri=file.url, stamp=file.stamp, where=file.url)
            yield from rows.full()
        yield from rows.rest()

    @staticmethod
    def _images(folder: str) -> dict[str, Found]:
        return {name: file for name, file in list_folder(folder).items() if has_image_extension(name)}
