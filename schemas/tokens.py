"""The schemas of the token tables that training reads instead of text: token ids, lengths, and references to related rows.

Ids exclude special tokens. Images and texts are referred to by the placement of their id (`schemas/ids.py`), which determines the
partition and, since rows are sorted by it, the row.
"""

from __future__ import annotations

import re
from hashlib import blake2b

import pyarrow as pa

from schemas.tables import LAYOUT, TABLE_KEY, VERSION_KEY

# Kinds of hard negatives; `negative_kinds` stores positions in this tuple, so append new ones at the end.
NEGATIVE_KINDS = ("tfidf", "object", "attribute", "relation", "count", "order", "negation")
_WORDS = re.compile(r"\w+")


def _list(kind: pa.DataType) -> pa.ListType:
    return pa.list_(pa.field("item", kind, nullable=False))


def _table(name: str, *fields: tuple[str, pa.DataType]) -> pa.Schema:
    columns = [
        pa.field(column, kind, nullable=column == "region_row", metadata=LAYOUT if column == "region_row" else None)
        for column, kind in fields
    ]
    return pa.schema(columns, metadata={TABLE_KEY: name, VERSION_KEY: "1"})


_IDS, _KEYS = _list(pa.int32()), _list(pa.int64())

# An image: placement of its id; `content_key`; its row in the partition's `regions` (null: none extracted); its number of regions.
_IMAGE = (("image", pa.int64()), ("image_key", pa.int64()), ("region_row", pa.int64()), ("regions", pa.int32()))

# A pair, row for row as in `examples`. Keys are `text_key`s; negative_scores: the rewrite's first score, NaN if it has none.
TOKENS = _table(
    "tokens",
    ("pair_id", pa.string()),
    ("caption", _IDS),
    ("positives", _list(_IDS)),
    ("positive_keys", _KEYS),
    ("negatives", _list(_IDS)),
    ("negative_keys", _KEYS),
    ("negative_kinds", _list(pa.int8())),
    ("negative_scores", _list(pa.float32())),
    ("matched_images", _KEYS),
    ("matched_texts", _KEYS),
)

# A sentence of the text collections, row for row as in `texts`.
TEXT_TOKENS = _table("text_tokens", ("text_id", pa.string()), ("tokens", _IDS))

# What the loader reads of all rows before the first batch, in separate, small files: for pairs and sentences, row for row as above (length
# and key of the caption or sentence), and for images without captions, as in the `regions` of the stage `image_regions`.
PAIR_INDEX = _table("pair_index", *_IMAGE, ("length", pa.int32()), ("key", pa.int64()))
TEXT_INDEX = _table("text_index", ("placement", pa.int64()), ("length", pa.int32()), ("key", pa.int64()))
IMAGE_INDEX = _table("image_index", *_IMAGE)

# The files of the corpus's tokenizer (`schemas/tokenizer.py`): name and bytes.
TOKENIZER = _table("tokenizer", ("file", pa.string()), ("data", pa.binary()))


def text_key(text: str) -> int:
    """A hash, int64, of a text's words in order, ignoring case and punctuation; of the whole text if it has no words."""
    words = " ".join(_WORDS.findall(text.casefold())) or text
    return int.from_bytes(blake2b(words.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little", signed=True)


def content_key(sha256: bytes | None, placement: int) -> int:
    """A hash, int64, that identifies an image's content: of its bytes if known, so that copies agree, otherwise of its id."""
    return placement if sha256 is None else int.from_bytes(sha256[:8], "little", signed=True)
