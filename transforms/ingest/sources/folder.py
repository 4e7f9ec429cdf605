"""A folder of images without captions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pyarrow as pa
from pydantic import Field

from schemas.errors import SourceError
from schemas.rejects import Reason
from schemas.text import quoted
from transforms.ingest.sources.base import Source, Split, pair_rows
from transforms.ingest.sources.captions import IMAGE_EXTENSIONS, has_image_extension
from transforms.ingest.sources.listing import Found, list_folder, listing_stamp


class FolderSource(Source):
    """Images without captions: every file with an image extension below `images`, links followed.

    The key is the path below the folder, in NFC, including the extension, so `a.jpg` and `a.png` are two images. Other files, and
    names that start with a dot, are ignored. Rejected: names that are not printable UTF-8, dangling links.
    """

    format: Literal["folder"]
    images: str = Field(description="folder of the images, searched recursively")

    def splits(self) -> list[Split]:
        """One split, the folder, with the stamp of its listing. Raises SourceError if it is missing or contains no image."""
        files = self._images(self.images)
        if not files:
            raise SourceError(f"{quoted(self.images, 500)} contains no images (files ending in {', '.join(IMAGE_EXTENSIONS)})")
        return [Split(self.images, listing_stamp(files), len(files))]

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Image-only rows, sorted by key."""
        rows = pair_rows()
        for name, file in self._images(split.url).items():
            if not name.isprintable():
                rows.reject(file.url, Reason.BAD_ENCODING, "the file's name is not printable UTF-8")
            elif file.stamp == "dangling":
                rows.reject(file.url, Reason.IMAGE_MISSING, "the file is a dangling link", key=name)
            else:
                rows.add(key=name, name=name, uri=file.url, stamp=file.stamp, where=file.url)
            yield from rows.full()
        yield from rows.rest()

    def _images(self, folder: str) -> dict[str, Found]:
        return {name: file for name, file in list_folder(folder, self.limits).items() if has_image_extension(name)}
