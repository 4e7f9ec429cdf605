"""What a source hands over: rows as people hold them, before cleaning. Never stored; they live between a reader and `ingest`."""

from __future__ import annotations

import pyarrow as pa

# One row per caption (`caption` set), or per image of an image-only collection (`caption` null), or per row that the reader
# itself found to be bad (`reason` set, a `Reason` value; then only `where` and `detail` need be there).
RAW_PAIRS = pa.schema([
    ("key", pa.string()),  # the image's key in its collection; with the source's name it makes the image id
    ("name", pa.string()),  # the image's file name as the source gives it, for exclusion lists; null when it gives none
    ("caption", pa.binary()),  # bytes as found: cleaning decodes them
    ("uri", pa.string()),  # null: not known (captions alone)
    ("offset", pa.int64()),  # null: the whole file
    ("length", pa.int64()),
    ("width", pa.int32()),  # as declared by the source, null when it declares none
    ("height", pa.int32()),
    ("url", pa.string()),  # where the image came from on the web, for exclusion lists; null when unknown
    ("stamp", pa.string()),  # changes when the image's bytes change: size and modification time or ETag; empty when unknown
    ("where", pa.string()),  # file and line, key or member, for the detail of a reject
    ("reason", pa.string()),
    ("detail", pa.string()),
])

# One row per document or paragraph, still to be split into sentences.
RAW_TEXTS = pa.schema([
    ("text", pa.binary()),
    ("where", pa.string()),
    ("reason", pa.string()),
    ("detail", pa.string()),
])
