"""The Arrow schemas of a corpus's tables, with versions in their metadata.

A table is stored as one Arrow IPC file per stage and partition (see `schemas/corpus.py`). Columns whose content depends on a corpus's
location or partitioning (paths, row numbers) carry the field metadata `layout`, and are left out of corpus hashes.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from schemas.errors import SchemaError

TABLE_KEY, VERSION_KEY = b"cmcl.table", b"cmcl.version"
LAYOUT = {"layout": "1"}

# Few distinct values repeated over millions of rows: one byte each.
LABEL = pa.dictionary(pa.int8(), pa.string())


def column(name: str, kind: pa.DataType, nullable: bool = False, layout: bool = False) -> pa.Field:
    """A column; `layout`: it depends on a corpus's location or partitioning, and is left out of corpus hashes."""
    return pa.field(name, kind, nullable=nullable, metadata=LAYOUT if layout else None)


def table_schema(name: str, version: int, columns: list[pa.Field], extra: Mapping[str, str] | None = None) -> pa.Schema:
    """The schema of a table, with its name, version and `extra` in its metadata."""
    metadata = {TABLE_KEY.decode(): name, VERSION_KEY.decode(): str(version), **(extra or {})}
    return pa.schema(columns, metadata=metadata)


IMAGES = table_schema(
    "images",
    1,
    [
        column("image_id", pa.string()),
        column("source", pa.string()),
        column("uri", pa.string(), nullable=True, layout=True),  # null: captions only
        column("offset", pa.int64(), nullable=True, layout=True),  # null: the whole file; else bytes from the start of `uri`
        column("length", pa.int64(), nullable=True, layout=True),
        column("width", pa.int32(), nullable=True),  # pixels, after EXIF orientation
        column("height", pa.int32(), nullable=True),
        column("sha256", pa.binary(32), nullable=True),  # of the encoded bytes
    ],
)

PAIRS = table_schema(
    "pairs",
    1,
    [
        column("pair_id", pa.string()),
        column("image_id", pa.string()),
        column("caption", pa.string()),
        column("source", pa.string()),
    ],
)

TEXTS = table_schema(
    "texts",
    1,
    [
        column("text_id", pa.string()),
        column("text", pa.string()),
        column("source", pa.string()),
    ],
)

_SPAN = [("start", pa.int32()), ("end", pa.int32())]  # characters (code points) of the caption, end exclusive

_WORDS = [("text", pa.string()), ("lemma", pa.string()), *_SPAN]  # of a node; `text` is what the span covers
_OBJECT = pa.int32()  # index of an object in the row's `objects`

GRAPHS = table_schema(
    "graphs",
    1,
    [
        column("pair_id", pa.string()),
        column(
            "objects",
            pa.list_(
                pa.struct(
                    [
                        *_WORDS,
                        ("number", pa.string()),  # singular, plural
                        ("head", pa.string()),  # lemma of the head noun: hydrant
                        ("count", pa.int32()),  # the number that the caption states; 0: none
                        ("phrase_start", pa.int32()),
                        ("phrase_end", pa.int32()),  # with determiner and premodifiers
                    ]
                )
            ),
        ),
        column(
            "attributes",
            pa.list_(
                pa.struct(
                    [
                        ("object", _OBJECT),
                        *_WORDS,
                        ("number", pa.string()),
                        ("tag", pa.string()),  # Penn tag
                        ("place", pa.string()),  # before, predicate, clause, measure
                    ]
                )
            ),
        ),
        column(
            "relations",
            pa.list_(
                pa.struct(
                    [
                        ("subject", _OBJECT),
                        ("object", _OBJECT),
                        *_WORDS,
                        ("number", pa.string()),  # of a finite verb
                        ("head", pa.string()),
                        ("tag", pa.string()),  # lemma and Penn tag of its first word
                        ("voice", pa.string()),  # active, passive, inverse (the caption names the graph's object first)
                    ]
                )
            ),
        ),
        column("counts", pa.list_(pa.struct([("object", _OBJECT), *_WORDS, ("value", pa.int32())]))),  # value 0: not exact (several)
    ],
)

TEXT_GRAPHS = table_schema("text_graphs", 1, [column("text_id", pa.string()), *list(GRAPHS)[1:]])  # of the text collections' sentences

# Counts of words and word combinations in a corpus's captions, as one artefact (see `transforms/graphs/vocabulary.py`).
VOCABULARY = table_schema(
    "vocabulary",
    1,
    [
        *(column(name, pa.string()) for name in ("kind", "first", "second", "third")),
        column("count", pa.int64()),
    ],
)

# How often each word survives the round trip through a pivot (see `transforms/back_translation/known_words.py`).
_KEPT = (
    *((name, pa.string()) for name in ("pivot", "word", "part")),  # part of speech: noun, adjective, number
    ("kept", pa.float32()),  # share of the sentences tried, 0 to 1
)
TRANSLATOR_WORDS = table_schema("translator_words", 1, [column(*one) for one in _KEPT])
STAND_INS = table_schema("stand_ins", 1, [column(*one) for one in _KEPT])
PAIR_WORDS = table_schema("pair_words", 1, [column("pair_id", pa.string()), column("words", pa.list_(pa.struct(_KEPT)))])

SCORE = pa.struct([("name", LABEL), ("value", pa.float32())])

REWRITES = table_schema(
    "rewrites",
    2,
    [
        column("pair_id", pa.string()),
        column("text", pa.string()),
        column("polarity", LABEL),  # positive, negative
        column("level", LABEL),  # sentence, phrase, word
        column("kind", LABEL),  # tfidf, back_translation, rewording, object, attribute, relation, count, order, negation
        column("edits", pa.list_(pa.struct([*_SPAN, ("text", pa.string())])), nullable=True),  # null: not an edit of the caption
        column("origin", pa.string(), nullable=True),  # the pair a negative was taken from, or the model that wrote it
        column("scores", pa.list_(SCORE)),
        column("why", LABEL),  # why the rewrite was kept
        # The judge's probability that the text is true of the image, rounded to millionths; null: not judged.
        column("truth", pa.float32(), nullable=True),
    ],
)

MATCHES = table_schema(
    "matches",
    2,
    [
        column("query_id", pa.string()),  # the query: a pair's image for images, a pair for texts
        column("modality", LABEL),  # image, text
        column("matched_id", pa.string()),
        column("rank", pa.int32()),  # from 0
        column("score", pa.float32()),  # what the list is sorted by; images: (1 - w) visual + w objects
        column("visual", pa.float32(), nullable=True),  # cosines of features and of object counts; null: a text, or not part of the score
        column("objects", pa.float32(), nullable=True),
        column("text", pa.string(), nullable=True),  # null: an image
        # The matched row: partition, and row in that partition of the image-only collections' `regions`, or of `texts`.
        column("partition", pa.int32(), layout=True),
        column("row", pa.int64(), layout=True),
    ],
)

REJECTS = table_schema(
    "rejects",
    1,
    [
        column("stage", pa.string()),
        column("id", pa.string()),
        column("reason", LABEL),
        column("detail", pa.string(), layout=True),  # may name paths
    ],
)

_IMAGE_REFERENCE = pa.struct(
    [
        column("uri", pa.string(), nullable=True, layout=True),
        column("offset", pa.int64(), nullable=True, layout=True),
        column("length", pa.int64(), nullable=True, layout=True),
        column("width", pa.int32(), nullable=True),
        column("height", pa.int32(), nullable=True),
    ]
)
# Plain strings rather than dictionaries, which `datasets` cannot read.
_REWRITE = [("text", pa.string()), ("level", pa.string()), ("kind", pa.string())]
_TRUTH = ("truth", pa.float32())  # as in `rewrites`
# Retrieved for a pair: as in `matches`, whose columns say what each is.
_MATCH = pa.struct(
    [
        column("id", pa.string()),
        column("score", pa.float32()),
        column("visual", pa.float32(), nullable=True),
        column("objects", pa.float32(), nullable=True),
        column("text", pa.string(), nullable=True),
        column("partition", pa.int32(), layout=True),
        column("row", pa.int64(), layout=True),
    ]
)

EXAMPLES = table_schema(
    "examples",
    3,
    [
        column("pair_id", pa.string()),
        column("image_id", pa.string()),
        column("caption", pa.string()),
        column("source", pa.string()),
        column("image", _IMAGE_REFERENCE),
        # The row of the image's regions in the same partition of the regions table. Null: none were extracted.
        column("region_row", pa.int64(), nullable=True, layout=True),
        column("positives", pa.list_(pa.struct([*_REWRITE, _TRUTH]))),
        # score: the rewrite's first (cosine, hardness)
        column("negatives", pa.list_(pa.struct([*_REWRITE, ("score", pa.float32()), _TRUTH]))),
        column("matches_image", pa.list_(_MATCH)),
        column("matches_text", pa.list_(_MATCH)),
    ],
)


def regions_schema(features: int, classes: int) -> pa.Schema:
    """The `regions` table of a detector with `features`-wide pooled features and `classes` soft labels (background included).

    Columns, n regions an image: width and height (px), boxes float32 [n, 4] (xyxy, px), confidence float32 [n], features
    float16 [n, D], soft_labels float16 [n, C] (null: the detector has none), class int32 [n], attributes int32 [n] (likewise).

    Raises ValueError when a width is not positive.
    """
    if features < 1 or classes < 1:
        raise ValueError(f"features and classes must be positive, not {features} and {classes}")
    return table_schema(
        "regions",
        1,
        [
            column("image_id", pa.string()),
            column("width", pa.int32()),
            column("height", pa.int32()),
            column("boxes", pa.list_(pa.list_(pa.float32(), 4))),
            column("confidence", pa.list_(pa.float32())),
            column("features", pa.list_(pa.list_(pa.float16(), features))),
            column("soft_labels", pa.list_(pa.list_(pa.float16(), classes)), nullable=True),
            column("class", pa.list_(pa.int32())),
            column("attributes", pa.list_(pa.int32()), nullable=True),
        ],
        {"features": str(features), "classes": str(classes)},
    )


SCHEMAS: dict[str, pa.Schema] = {
    "images": IMAGES,
    "pairs": PAIRS,
    "texts": TEXTS,
    "graphs": GRAPHS,
    "rewrites": REWRITES,
    "matches": MATCHES,
    "rejects": REJECTS,
    "examples": EXAMPLES,
}

# Rows of one record batch: what a stage holds of a table at a time. Tables that are not named are one batch a partition.
BATCH_ROWS: dict[str, int] = {
    "images": 1024, "pairs": 1024, "texts": 4096, "graphs": 1024, "text_graphs": 1024, "rewrites": 16384, "matches": 16384,
    "rejects": 16384, "regions": 64, "examples": 256, "tokens": 1024, "text_tokens": 16384,
    "pair_index": 65536, "text_index": 65536, "image_index": 65536, "vectors": 8192, "query_vectors": 8192, "neighbours": 1024,
}  # fmt: skip


def name_of(schema: pa.Schema) -> str:
    """The table name in a schema's metadata. Raises SchemaError when there is none."""
    metadata = schema.metadata or {}
    if TABLE_KEY not in metadata:
        raise SchemaError("the file is not a cmcl table (its schema metadata has no cmcl.table)")
    return metadata[TABLE_KEY].decode()


def version_of(schema: pa.Schema) -> int:
    """The version in a schema's metadata. Raises SchemaError when there is none."""
    metadata = schema.metadata or {}
    if VERSION_KEY not in metadata:
        raise SchemaError("the file's schema metadata has no cmcl.version")
    return int(metadata[VERSION_KEY])


def check_schema(found: pa.Schema, table: str, where: str, expected: pa.Schema | None = None) -> None:
    """Raises SchemaError, naming `where`, unless `found` is the schema of `table` in the version that this release reads.

    `expected`: the schema of a table that is not in `SCHEMAS` (regions and stages' artefacts); without it, only the name of such a table
    is checked.
    """
    expected = expected if expected is not None else SCHEMAS.get(table)
    try:
        name, version = name_of(found), version_of(found)
    except SchemaError as error:
        raise SchemaError(f"{where}: {error}") from None
    if name != table:
        raise SchemaError(f"{where} contains the table {name!r}, not {table!r}")
    if expected is None:
        return
    if version != version_of(expected):
        raise SchemaError(
            f"{where} contains version {version} of {table!r}; this release reads version {version_of(expected)}: "
            "rebuild the corpus, or read it with the release that wrote it"
        )
    if not found.equals(expected, check_metadata=False):
        raise SchemaError(f"{where} claims to be version {version} of {table!r}, but its columns differ: {found.names}")
