"""Image-text pairs in Parquet with the image bytes inside, as img2dataset (`output_format=parquet`) and others write them.

An image's address is `FILE#column=jpg&row=17`, row numbers counted over the whole file; its bytes are not read here.
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
from transforms.ingest.sources.base import Rows, Source, Split, Urls, as_bytes, expand, open_binary, pair_rows, printable, splits_of

_ROWS = 1024  # rows read at a time


def key_text(value: object) -> str | None:
    """A key from a cell: printable text or a whole number, else None."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value and value.isprintable() else None


def side(value: object) -> int | None:
    """A width or height in pixels as declared, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31 else None


def captions_of(value: object) -> tuple[list[bytes], str]:
    """The captions in a cell of text, bytes, or a list of them; or no caption and what is wrong with it ("": it is absent)."""
    if value is None:
        return [], ""
    captions: list[bytes] = []
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, (str, bytes)):
            return [], f"the caption is no string: {printable(value)}"
        captions.append(one if isinstance(one, bytes) else as_bytes(one))
    return captions, ""


def image_column(schema: pa.Schema, name: str) -> str | None:
    """The column of bytes called `name`, or its member `bytes` where it is a struct (Hugging Face `Image`); None: neither."""
    index = schema.get_field_index(name)
    if index < 0:
        return None
    kind = schema.field(index).type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return name
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return f"{name}.bytes"
    return None


class ParquetSource(Source):
    """Parquet files of pairs. Columns that are named but absent are an error, except those that only some writers give.

    Rejected: rows whose `status` is not "success", without a usable key, with a caption that is no string. A null image shows
    when it is read. The metadata tables that img2dataset writes next to tar shards hold no images and raise SourceError.
    """

    format: Literal["parquet"]
    files: Urls = Field(description="*.parquet, a path, URL or glob, or several")
    image: str = Field(default="jpg", description="column of the encoded images: bytes, or a struct with `bytes`")
    caption: str | None = Field(default="caption", description="column of the caption, or list of captions; null: images alone")
    key: str | None = Field(default="key", description="column of the key; null: made from the URL")
    url: str | None = Field(
        default="url", description="column of the URL; passed over when the file has none, unless `key` is null")
    keep_uncaptioned: bool = Field(
        default=False, description="keep rows with a null caption as image-only rows, under `images`; under `pairs` they are rejected")

    def splits(self) -> list[Split]:
        """One split a file."""
        return splits_of(expand(self.files))

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Rows in the order of the file, without reading the images. Raises SourceError when a column is missing."""
        with open_binary(split.url, compression=None) as handle:
            try:
                file = pq.ParquetFile(handle)
                yield from self._read(split, file)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise SourceError(f"{split.url} is no readable Parquet file: {error}") from error

    def _read(self, split: Split, file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
        schema = file.schema_arrow
        column = image_column(schema, self.image)
        if column is None:
            raise SourceError(f"{split.url} has no column {self.image!r} of images; it has {schema.names}. If it lies next to a "
                              "tar shard it is its table of metadata: read the tars, with `format: webdataset`")
        needed = [name for name in (self.caption, self.key, None if self.key else self.url) if name is not None]
        missing = [name for name in needed if name not in schema.names]
        if missing or (self.key is None and self.url is None):
            raise SourceError(f"{split.url} has no column {missing[0]!r}; it has {schema.names}" if missing
                              else f"{split.url}: name the column of the key or of the URL")
        optional = [name for name in (self.url, "status", "error_message", "width", "height")
                    if name is not None and name in schema.names]
        rows, number = pair_rows(), 0
        for batch in file.iter_batches(batch_size=_ROWS, columns=sorted({*needed, *optional})):
            for values in batch.to_pylist():
                self._row(split, column, number, values, rows)
                number += 1
                yield from rows.full()
        yield from rows.rest()

    def _row(self, split: Split, column: str, number: int, values: dict[str, Any], rows: Rows) -> None:
        url = values.get(self.url) if self.url else None
        url = url if isinstance(url, str) else None
        key = key_text(values[self.key]) if self.key else content_id(url) if url else None
        where = f"{split.url}: row {number}"
        if key is None:
            rows.reject(where, Reason.BAD_ROW, f"the key is empty or no printable text: {printable(values.get(self.key or ''))}")
            return
        status = values.get("status")
        if status is not None and status != "success":
            rows.reject(where, Reason.IMAGE_MISSING, f"status {status}: {values.get('error_message')}", key=key)
            return
        captions, problem = captions_of(values[self.caption]) if self.caption else ([], "")
        if problem:
            rows.reject(where, Reason.BAD_ROW, problem, key=key)
        elif not captions and self.caption and not self.keep_uncaptioned:
            rows.reject(where, Reason.CAPTION_MISSING, "the row has no caption", key=key)
        else:
            uri = f"{split.url}#{urlencode({'column': column, 'row': number})}"
            for caption in captions or (None,):
                rows.add(key=key, caption=caption, uri=uri, width=side(values.get("width")), height=side(values.get("height")),
                         url=url, stamp=split.stamp, where=where)
