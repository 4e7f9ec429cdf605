"""The Arrow schemas of the TF-IDF stages' intermediate tables, versioned like all tables of a corpus.

A sparse matrix is stored as list columns: a list column's offsets are the CSR `indptr`, its values the `indices` or `data`, so a
memory-mapped record batch becomes a scipy matrix without copies.
"""

from __future__ import annotations

import pyarrow as pa

from schemas.errors import SchemaError
from schemas.tables import table_schema

DOCUMENTS_KEY = b"documents"


def _required(*fields: tuple[str, pa.DataType]) -> list[pa.Field]:
    return [pa.field(name, kind, nullable=False) for name, kind in fields]


_CAPTION = _required(
    ("pair_id", pa.string()),
    ("caption", pa.string()),
    ("image_key", pa.uint64()),  # hash of the image id
    ("content_key", pa.uint64()),  # first 8 bytes of the image's SHA-256; the image key if unknown
    ("text_key", pa.uint64()),  # hash of the caption's words, lower case, in order, without punctuation
)

# Term counts of the captions of one partition; `terms` are rows of that partition's `tfidf_terms`, ascending within a caption.
TFIDF_COUNTS = table_schema(
    "tfidf_counts",
    1,
    [
        *_CAPTION,
        *_required(
            ("terms", pa.list_(pa.field("item", pa.int32(), nullable=False))),
            ("counts", pa.list_(pa.field("item", pa.int32(), nullable=False))),
        ),
    ],
)

# The words of one partition in code point order, with the number of captions that contain each.
TFIDF_TERMS = table_schema("tfidf_terms", 1, _required(("term", pa.string()), ("df", pa.int64())))

# Unit vectors of the captions of one partition; `terms` are columns of the corpus's vocabulary, ascending within a caption.
TFIDF_VECTORS = table_schema(
    "tfidf_vectors",
    1,
    [
        *_CAPTION,
        *_required(
            ("terms", pa.list_(pa.field("item", pa.int32(), nullable=False))),
            ("weights", pa.list_(pa.field("item", pa.float64(), nullable=False))),
        ),
    ],
)

# Where the postings of a frequent word are cut off: captions with (weight, order) >= this row's (weight, order) are kept.
TFIDF_CHAMPIONS = table_schema("tfidf_champions", 1, _required(("column", pa.int32()), ("weight", pa.float64()), ("order", pa.uint64())))


def vocabulary_schema(documents: int) -> pa.Schema:
    """The `tfidf_vocabulary` artefact of a corpus of `documents` captions: every word, in code point order.

    Columns: term, df (captions that contain it), kept (it passed min_df and max_df: the i-th kept word is column i of the vectors),
    idf (ln((1 + documents) / (1 + df)) + 1).
    """
    return table_schema(
        "tfidf_vocabulary",
        1,
        _required(("term", pa.string()), ("df", pa.int64()), ("kept", pa.bool_()), ("idf", pa.float64())),
        {DOCUMENTS_KEY.decode(): str(documents)},
    )


def documents_of(schema: pa.Schema) -> int:
    """The number of captions that a vocabulary was counted on. Raises SchemaError when the schema's metadata lacks it."""
    metadata = schema.metadata or {}
    if DOCUMENTS_KEY not in metadata:
        raise SchemaError("the vocabulary's schema metadata has no number of documents")
    return int(metadata[DOCUMENTS_KEY])
