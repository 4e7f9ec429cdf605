"""Schemas of the rows that sources deliver, before cleaning. They are passed from a reader to `ingest`, never stored."""

from __future__ import annotations

import pyarrow as pa

# One row per caption (`caption` set), per image of an image-only collection (`caption` null), or per row that the reader itself found
# to be bad (`reason` set, a `Reason` value; then only `where` and `detail` are required).
RAW_PAIRS = pa.schema(
    [
        ("key", pa.string()),  # the image's key in its collection; with the source's name it makes the image id
        ("name", pa.string()),  # the image's file name in the source, for exclusion lists; null when it has none
        ("caption", pa.binary()),  # raw bytes: cleaning decodes them
        ("uri", pa.string()),  # null: unknown (captions only)
        ("offset", pa.int64()),  # null: the whole file
        ("length", pa.int64()),
        ("width", pa.int32()),  # as declared by the source; null when undeclared
        ("height", pa.int32()),
        ("url", pa.string()),  # the image's origin on the web, for exclusion lists; null when unknown
        ("stamp", pa.string()),  # changes when the image's bytes change: size and modification time or ETag; empty when unknown
        ("where", pa.string()),  # file and line, key or archive member, for the detail of a reject
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)

# One row per document or paragraph, to be split into sentences.
RAW_TEXTS = pa.schema(
    [
        ("text", pa.binary()),
        ("where", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
