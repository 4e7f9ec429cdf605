"""A corpus of random training data, written without Beam or models, for benchmarks and tests of the loader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from schemas import ids
from schemas.corpus import WHOLE, Corpus, StageEntry, write_index
from schemas.manifest import Counts, StageManifest, TaskRecord, table_contents
from schemas.seals import write_sealed
from schemas.store import FileInfo, TableWriter
from schemas.tables import regions_schema
from schemas.tokenizer import Tokenizer
from schemas.tokens import IMAGE_INDEX, PAIR_INDEX, TEXT_INDEX, TEXT_TOKENS, TOKENS

_ROWS = 4096  # pairs per batch


@dataclass(frozen=True)
class Sizes:
    """The corpus's dimensions. captions: per image (one number, or one per image); regions, tokens: (minimum, maximum); positives,
    negatives, matches: per pair."""

    images: int = 100
    captions: int | Sequence[int] = 5
    alone: int = 30
    texts: int = 200
    partitions: int = 3
    features: int = 8
    classes: int = 5
    regions: tuple[int, int] = (2, 9)
    tokens: tuple[int, int] = (4, 20)
    positives: int = 1
    negatives: int = 6
    matches: int = 0
    soft_labels: bool = True
    without_regions: int = 0  # this many images, the first ones, have no regions


def write_corpus(url: str, sizes: Sizes, seed: int = 0) -> Corpus:
    """Writes the tables of the stages `tokens`, `tokenizer`, `regions` and `image_regions`, with manifests."""
    corpus, rng = Corpus(url, sizes.partitions), np.random.default_rng(seed)
    paired, alone = (_placed(name, number, sizes.partitions) for name, number in (("pair", sizes.images), ("alone", sizes.alone)))
    texts = _placed("text", sizes.texts, sizes.partitions)
    per_image = np.broadcast_to(np.asarray(sizes.captions, np.int64), sizes.images)
    matched = np.concatenate([placements for _, placements, _ in alone]), np.concatenate([placements for _, placements, _ in texts])
    records: dict[str, list[TaskRecord]] = {stage: [] for stage in ("regions", "image_regions", "tokens")}
    for part in range(sizes.partitions):
        counts = _write_regions(corpus, "regions", part, paired[part], sizes, rng, records)
        more = _write_regions(corpus, "image_regions", part, alone[part], sizes, rng, records)
        written = [
            *_write_pairs(corpus, part, _pairs(paired[part], counts, per_image, matched, sizes, rng)),
            *(_write(corpus, "tokens", part, batch.schema, [batch]) for batch in _texts(texts[part], sizes, rng)),
            _write(corpus, "tokens", part, IMAGE_INDEX, [_batch(_images(alone[part][1], more, np.arange(len(more))), IMAGE_INDEX)]),
        ]
        records["tokens"].append(TaskRecord("tokens", part, "", written, Counts(), 0))
    tokenizer = Tokenizer(
        {
            "vocab.txt": "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(995))]).encode(),
            "tokenizer.json": b'{"lowercase": true}',
        }
    )
    held = _write(corpus, "tokenizer", WHOLE, tokenizer.table().schema, tokenizer.table().to_batches())
    records["tokenizer"] = [TaskRecord("tokenizer", WHOLE, "", [held], Counts(), 0)]
    pairs = int(per_image.sum())
    numbers = {
        "positives": pairs * sizes.positives,
        "negatives": pairs * sizes.negatives,
        "matched_images": pairs * sizes.matches,
        "matched_texts": pairs * sizes.matches,
    }
    entries = [commit(corpus, seed, stage, done, Counts(numbers=numbers if stage == "tokens" else {})) for stage, done in records.items()]
    write_index(corpus, seed, entries)
    return corpus


def commit(corpus: Corpus, seed: int, stage: str, records: list[TaskRecord], counts: Counts) -> StageEntry:
    """Writes the manifest of a stage; returns its entry in the index."""
    written = [file for record in records for file in record.files]
    manifest = StageManifest(
        stage=stage,
        fingerprint="",
        ingredients={},
        partitions=corpus.partitions,
        seed=seed,
        counts=counts,
        files=written,
        contents=table_contents(records),
        records={},
        versions={},
        wall_s=0.0,
        ran=len(records),
        finished="",
    )
    write_sealed(corpus.manifest_url(stage), manifest.to_json())
    return StageEntry(stage, sorted({file.table for file in written}), None, [], stage == "tokenizer")


def _placed(name: str, number: int, partitions: int) -> list[tuple[np.ndarray, np.ndarray, list[str]]]:
    """For each partition: numbers, placements and ids of its rows, in corpus order."""
    names = [f"{name}/{row}" for row in range(number)]
    placements = ids.placements(names)
    order, parts = np.argsort(placements), ids.partition_of(placements, partitions)
    chosen = [order[parts[order] == part] for part in range(partitions)]
    return [(rows, placements[rows], [names[row] for row in rows]) for rows in chosen]


def _write(corpus: Corpus, stage: str, part: int, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> FileInfo:
    table = (schema.metadata or {})[b"cmcl.table"].decode()
    with TableWriter(corpus.table_url(stage, table, part), schema) as writer:
        for batch in batches:
            writer.write(batch)
    assert writer.info
    return writer.info


def _write_regions(
    corpus: Corpus,
    stage: str,
    part: int,
    here: tuple[np.ndarray, np.ndarray, list[str]],
    sizes: Sizes,
    rng: np.random.Generator,
    records: dict[str, list[TaskRecord]],
) -> np.ndarray:
    rows, _, names = here
    counts = rng.integers(sizes.regions[0], sizes.regions[1] + 1, len(rows)).astype(np.int32)
    if stage == "regions":
        counts[rows < sizes.without_regions] = 0
    schema = regions_schema(sizes.features, sizes.classes)
    batches = (_regions(schema, names[start : start + 512], counts[start : start + 512], sizes, rng) for start in range(0, len(rows), 512))
    records[stage].append(TaskRecord(stage, part, "", [_write(corpus, stage, part, schema, batches)], Counts(), 0))
    return counts


def _regions(schema: pa.Schema, names: list[str], counts: np.ndarray, sizes: Sizes, rng: np.random.Generator) -> pa.RecordBatch:
    total, number = int(counts.sum()), len(names)
    corners = rng.random((total, 4), np.float32) * 50 + np.array([0, 0, 50, 50], np.float32)
    labels = rng.random((total, sizes.classes), np.float32)
    flat = {
        "boxes": _fixed(corners),
        "features": _fixed(rng.random((total, sizes.features), np.float32).astype(np.float16)),
        "soft_labels": _fixed((labels / labels.sum(1, keepdims=True)).astype(np.float16)),
        "confidence": pa.array(np.sort(rng.random(total, np.float32))[::-1]),
        "class": pa.array(np.zeros(total, np.int32)),
    }
    columns = {
        "image_id": pa.array(names),
        "width": pa.array(np.full(number, 100, np.int32)),
        "height": pa.array(np.full(number, 100, np.int32)),
        "attributes": pa.nulls(number, schema.field("attributes").type),
        **{name: _list(values, counts) for name, values in flat.items()},
    }
    if not sizes.soft_labels:
        columns["soft_labels"] = pa.nulls(number, schema.field("soft_labels").type)
    return pa.RecordBatch.from_arrays([columns[name].cast(schema.field(name).type) for name in schema.names], schema=schema)


def _pairs(
    here: tuple[np.ndarray, np.ndarray, list[str]],
    counts: np.ndarray,
    per_image: np.ndarray,
    matched: tuple[np.ndarray, np.ndarray],
    sizes: Sizes,
    rng: np.random.Generator,
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    rows, placements, _ = here
    image = np.repeat(np.arange(len(rows)), per_image[rows])
    for start in range(0, len(image), _ROWS):
        own = image[start : start + _ROWS]
        number = len(own)
        caption = _tokens(np.ones(number, np.int64), sizes, rng).values
        columns = {"pair_id": pa.array([f"{row:020x}" for row in rng.integers(2**62, size=number)]), "caption": caption}
        for name, each in (("positives", sizes.positives), ("negatives", sizes.negatives)):
            lengths = np.full(number, each)
            columns[name] = _tokens(lengths, sizes, rng)
            columns[name.removesuffix("s") + "_keys"] = _list(pa.array(_keys(number * each, rng)), lengths)
        bad = np.full(number, sizes.negatives)
        columns["negative_kinds"] = _list(pa.array((np.arange(number * sizes.negatives) % 4).astype(np.int8)), bad)
        columns["negative_scores"] = _list(pa.array(rng.random(number * sizes.negatives, np.float32)), bad)
        for name, pool in zip(("matched_images", "matched_texts"), matched, strict=True):
            columns[name] = _list(
                pa.array(rng.choice(pool, number * sizes.matches) if sizes.matches else np.zeros(0, np.int64)),
                np.full(number, sizes.matches),
            )
        index = {**_images(placements[own], counts[own], own), "length": caption.value_lengths(), "key": pa.array(_keys(number, rng))}
        yield _batch(columns, TOKENS), _batch(index, PAIR_INDEX)


def _write_pairs(corpus: Corpus, part: int, batches: Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]) -> tuple[FileInfo, FileInfo]:
    with (
        TableWriter(corpus.table_url("tokens", "tokens", part), TOKENS) as tokens,
        TableWriter(corpus.table_url("tokens", "pair_index", part), PAIR_INDEX) as index,
    ):
        for rows, indexed in batches:
            tokens.write(rows)
            index.write(indexed)
    assert tokens.info and index.info
    return tokens.info, index.info


def _texts(here: tuple[np.ndarray, np.ndarray, list[str]], sizes: Sizes, rng: np.random.Generator) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    tokens = _tokens(np.ones(len(here[0]), np.int64), sizes, rng).values
    index = {"placement": pa.array(here[1]), "length": tokens.value_lengths(), "key": pa.array(_keys(len(here[0]), rng))}
    return _batch({"text_id": pa.array(here[2], pa.string()), "tokens": tokens}, TEXT_TOKENS), _batch(index, TEXT_INDEX)


def _images(hashes: np.ndarray, counts: np.ndarray, rows: np.ndarray) -> dict[str, pa.Array]:
    """The index columns of n images with distinct keys."""
    return {"image": pa.array(hashes), "image_key": pa.array(hashes ^ 0x5555), "region_row": pa.array(rows), "regions": pa.array(counts)}


def _batch(columns: dict[str, pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([columns[field.name].cast(field.type) for field in schema], schema=schema)


def _tokens(lengths: np.ndarray, sizes: Sizes, rng: np.random.Generator) -> pa.ListArray:
    """Lists of texts of random ordinary tokens."""
    each = rng.integers(sizes.tokens[0], sizes.tokens[1] + 1, int(lengths.sum()))
    return _list(_list(pa.array(rng.integers(5, 1000, int(each.sum()), np.int32)), each), lengths)


def _keys(number: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(-(2**63), 2**63 - 1, number, np.int64)


def _list(values: pa.Array, lengths: np.ndarray) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)), values)


def _fixed(values: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
