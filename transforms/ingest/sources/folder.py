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
    """Images without captions: every file with an image's extension below `images`, links followed.

    The key is the path below the folder, in NFC, with its extension, so `a.jpg` and `a.png` stay two images. Other files, and names
    that start with a dot, are no images and are passed over. Rejected: names that are no printable UTF-8, links to nothing.
    """

    format: Literal["folder"]
    images: str = Field(description="folder of the images, searched recursively")

    def splits(self) -> list[Split]:
        """One split, the folder; its stamp is that of its listing. Raises SourceError when it is missing or holds no image."""
        files = self._images(self.images)
        if not files:
            raise SourceError(f"{quoted(self.images, 500)} holds no image (files that end in {', '.join(IMAGE_EXTENSIONS)})")
        return [Split(self.images, listing_stamp(files), len(files))]

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Image-only rows, sorted by key."""
        rows = pair_rows()
        for name, file in self._images(split.url).items():
            if not name.isprintable():
                rows.reject(file.url, Reason.BAD_ENCODING, "the file's name is not printable UTF-8")
            elif file.stamp == "dangling":
                rows.reject(file.url, Reason.IMAGE_MISSING, "the file is a link to nothing", key=name)
            else:
                rows.add(key=name, name=name, uri=file.url, stamp=file.stamp, where=file.url)
            yield from rows.full()
        yield from rows.rest()

    def _images(self, folder: str) -> dict[str, Found]:
        return {name: file for name, file in list_folder(folder, self.limits).items() if has_image_extension(name)}
