"""Image-text pairs in Parquet with embedded image bytes, as img2dataset (`output_format=parquet`) and others write them.

An image's address is `FILE#column=jpg&row=17`, rows numbered over the whole file; its bytes are not read here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from schemas.errors import SourceError
from schemas.ids import content_id
from schemas.rejects import Reason
from schemas.text import quoted
from transforms.ingest.sources.base import Rows, Source, Split, pair_rows, splits_of
from transforms.ingest.sources.captions import captions_of, key_text, side
from transforms.ingest.sources.columns import is_bytes, open_table, plain_type, read_rows
from transforms.ingest.sources.listing import Urls, expand


def image_column(schema: pa.Schema, name: str) -> str | None:
    """The bytes column `name`, or its field `bytes` if it is a struct (Hugging Face `Image`); None if it is neither."""
    index = schema.get_field_index(name)
    if index < 0:
        return None
    kind = plain_type(schema.field(index).type)
    if is_bytes(kind):
        return name
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return f"{name}.bytes"
    return None


class ParquetSource(Source):
    """Parquet files of pairs. A missing column is an error, except for those that only some writers provide.

    Excluded: rows with a `status` other than "success" (failed downloads). Rejected: rows without a valid key, with a caption that
    is not a string, or with an unreadable value. A null image is found only when it is read. The metadata tables that img2dataset
    writes next to tar shards contain no images and raise SourceError.
    """

    format: Literal["parquet"]
    files: Urls = Field(description="*.parquet: a path, URL or glob, or a list of these")
    image: str = Field(default="jpg", description="column with the encoded images: bytes, or a struct with `bytes`")
    caption: str | None = Field(default="caption", description="column with the caption, or list of captions; null: images only")
    key: str | None = Field(default="key", description="column with the key; null: derive it from the URL")
    url: str | None = Field(default="url", description="column with the URL; may be missing unless `key` is null")
    missing_images: Literal["reject", "exclude"] = Field(
        default="exclude",
        description="whether a row whose download failed, according to its `status`, is rejected as a bad row, or excluded",
    )
    keep_uncaptioned: bool = Field(
        default=False, description="under `images`: keep rows with a null caption as image-only rows; under `pairs` they are rejected"
    )

    def splits(self) -> list[Split]:
        """One split per file."""
        return splits_of(expand(self.files))

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Rows in file order, without reading the images. Raises SourceError if a column is missing."""
        with open_table(split.url, self.limits) as file:
            yield from self._read(split, file)

    def _read(self, split: Split, file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
        schema = file.schema_arrow
        column = image_column(schema, self.image)
        if column is None:
            raise SourceError(
                f"{quoted(split.url, 500)} has no image column {self.image!r}; it has {quoted(schema.names)}. If it is "
                "the metadata table of a tar shard, read the tars instead, with `format: webdataset`"
            )
        needed = [name for name in (self.caption, self.key, None if self.key else self.url) if name is not None]
        missing = [name for name in needed if name not in schema.names]
        if missing or (self.key is None and self.url is None):
            raise SourceError(
                f"{quoted(split.url, 500)} has no column {missing[0]!r}; it has {quoted(schema.names)}"
                if missing
                else f"{quoted(split.url, 500)}: name the column of the key or of the URL"
            )
        optional = [name for name in (self.url, "status", "error_message", "width", "height") if name is not None and name in schema.names]
        if duplicated := [name for name in {*needed, *optional} if schema.names.count(name) > 1]:
            raise SourceError(f"{quoted(split.url, 500)} has several columns {min(duplicated)!r}: {quoted(schema.names)}")
        rows = pair_rows()
        as_text = [self.caption] if self.caption else []
        for number, values in enumerate(read_rows(file, sorted({*needed, *optional}), as_text, self.limits)):
            where = f"{split.url}: row {number}"
            if values is None:
                rows.reject(where, Reason.TOO_LONG, f"a text of more than {self.limits.line_bytes} bytes")
            elif isinstance(values, Exception):
                rows.reject(
                    where, Reason.BAD_ENCODING if isinstance(values, UnicodeError) else Reason.BAD_ROW, f"{type(values).__name__}: {values}"
                )
            else:
                rows.attempt(where, self._row, where, split, column, number, values, rows)
            yield from rows.full()
        yield from rows.rest()

    def _row(self, where: str, split: Split, column: str, number: int, values: dict[str, Any], rows: Rows) -> None:
        url = values.get(self.url) if self.url else None
        url = url if isinstance(url, str) else None
        key = key_text(values[self.key]) if self.key else content_id(url) if url else None
        if key is None:
            rows.reject(where, Reason.BAD_ROW, f"the key is empty or not printable text: {quoted(values.get(self.key or ''))}")
            return
        status = values.get("status")
        if status is not None and status != "success":
            reason = Reason.IMAGE_NOT_HELD if self.missing_images == "exclude" else Reason.IMAGE_MISSING
            rows.reject(where, reason, f"status {quoted(status)}: {quoted(values.get('error_message'))}", key=key)
            return
        captions, problem = captions_of(values[self.caption]) if self.caption else ([], "")
        if problem:
            rows.reject(where, Reason.BAD_ROW, problem, key=key)
        if not captions and self.caption and not self.keep_uncaptioned:
            if not problem:
                rows.reject(where, Reason.CAPTION_MISSING, "the row has no caption", key=key)
        elif captions or not problem:
            uri = f"{split.url}#{urlencode({'column': column, 'row': number})}"
            for caption in captions or (None,):
                rows.add(
                    key=key,
                    name=key,
                    caption=caption,
                    uri=uri,
                    width=side(values.get("width")),
                    height=side(values.get("height")),
                    url=url,
                    stamp=split.stamp,
                    where=where,
                )
