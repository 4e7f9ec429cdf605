"""The schemas of tables of vectors: retrieval's, of length 1, with each query's nearest neighbours, and those of the judge of truth.

A vector's position is its row number in the concatenated partitions. Since the order of rows does not depend on the partitioning
(`schemas/ids.py`), neither do positions.
"""

from __future__ import annotations

import pyarrow as pa

from schemas.tables import column, table_schema

WIDTH_KEY, VISUAL_KEY, WEIGHT_KEY, MODEL_KEY, JUDGE_KEY = b"width", b"visual", b"object_weight", b"model", b"judge"


def _list(kind: pa.DataType) -> pa.ListType:
    return pa.list_(pa.field("item", kind, nullable=False))


def _vectors(table: str) -> pa.Schema:
    return table_schema(
        table,
        1,
        [
            column("id", pa.string()),
            column("row", pa.int64(), layout=True),  # of the image in its `regions`, of the sentence in `texts`, of the caption in `pairs`
            column("key", pa.int64()),  # `content_key` of an image, `text_key` of a text (`schemas/tokens.py`)
            column("phash", pa.uint64(), nullable=True),  # perceptual hash of an image; null: a text, or not computed
            column("vector", _list(pa.float16())),
        ],
    )


# Additional metadata: width (of a vector; 0: there are none), visual (how many of an image's dimensions come from features),
# object_weight (the w of its score), model (fingerprint of the text encoder).
VECTORS = _vectors("vectors")  # of the searched collection
QUERY_VECTORS = _vectors("query_vectors")  # of the pairs' images, or of their captions

# Row for row as in `query_vectors`. Scores: inner products of the stored vectors in millionths, best first; ties by position.
NEIGHBOURS = table_schema(
    "neighbours",
    1,
    [
        column("id", pa.string()),
        column("positions", _list(pa.int64())),
        column("scores", _list(pa.int32())),
    ],
)

# An approximate index: its factory string, and the trained, empty index in FAISS format; no bytes if the search is exact.
INDEX = table_schema("index", 1, [column("factory", pa.string()), column("data", pa.large_binary())])
SHARD = table_schema("shard", 1, [column("data", pa.large_binary())])  # the same, filled with a partition's vectors

# The principal components of visual features, one per row.
COMPONENTS = table_schema(
    "components",
    1,
    [
        column("component", _list(pa.float64())),
        column("share", pa.float64()),  # of the sample's sum of squares
    ],
)

# The sentence embedding of each caption, row for row as in `pairs`, as whole numbers (`transforms/truth/evidence.py`); empty without an
# encoder. Additional metadata: width, and judge (the judge's weights, as JSON).
CAPTION_VECTORS = table_schema("caption_vectors", 1, [column("pair_id", pa.string()), column("vector", _list(pa.int16()))])

# Items that more queries want than may use them, with the last query that may: its score in millionths, and its placement. Others with a
# lower score, or the same and a higher placement, may not.
CAPS = table_schema("caps", 1, [column("position", pa.int64()), column("score", pa.int64()), column("query", pa.int64())])
