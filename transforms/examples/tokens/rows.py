"""Converts examples, sentences and images to rows for training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.ids import placements
from schemas.tokenizer import Tokenizer
from schemas.tokens import IMAGE_INDEX, NEGATIVE_KINDS, PAIR_INDEX, TEXT_INDEX, TEXT_TOKENS, TOKENS, content_key, text_key
from transforms.core.stage import Task


@dataclass(frozen=True)
class ImageRows:
    """The images of one partition: `table` (schema IMAGE_INDEX), one row per id in `ids`."""

    ids: pa.Array
    table: pa.Table

    @classmethod
    def of(cls, task: Task, source: str, regions: str | None) -> ImageRows:
        """The images of stage `source` in the order of `images`, with their rows in the `regions` of another stage."""
        images = task.read(source, "images")
        ids = _whole(images["image_id"])
        hashes = placements(ids.to_pylist())
        keys = [content_key(digest, own) for digest, own in zip(images["sha256"].to_pylist(), hashes.tolist(), strict=True)]
        rows, counts = _region_rows(task, regions, ids) if regions else (pa.nulls(len(ids), pa.int64()), np.zeros(len(ids), np.int32))
        return cls(ids, pa.Table.from_arrays([pa.array(hashes), pa.array(keys, pa.int64()), rows, pa.array(counts)], schema=IMAGE_INDEX))

    def with_regions(self) -> tuple[pa.Array, pa.Table]:
        """The ids and rows of the images that have regions, in the order of the `regions` table."""
        order = pc.sort_indices(self.table["region_row"])  # nulls last
        order = order[: len(order) - self.table["region_row"].null_count]
        return self.ids.take(order), self.table.take(order)

    def at(self, image_ids: pa.Array) -> pa.Table:
        """The rows of n images. Raises KeyError if one is not in the partition."""
        rows = pc.index_in(image_ids, value_set=self.ids)
        if rows.null_count:
            raise KeyError("an example's image is not in its partition")
        return self.table.take(rows)


def _region_rows(task: Task, stage: str, image_ids: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The row of each image in the partition's `regions`, int64 with nulls, and its number of regions, int32."""
    with task.open(stage, "regions") as file:
        held = file.read(["image_id", "boxes"])
    rows = pc.index_in(image_ids, value_set=_whole(held["image_id"])).cast(pa.int64())
    counts = pc.fill_null(pc.list_value_length(held["boxes"]).take(rows), 0)
    return rows, np.asarray(_whole(counts), np.int32)


def pair_rows(examples: pa.RecordBatch, images: ImageRows, tokenizer: Tokenizer) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """`tokens` and `pair_index` of n examples. Raises ValueError if a negative's kind is not in `NEGATIVE_KINDS`."""
    positives, negatives = examples["positives"], examples["negatives"]
    own, good, bad = examples["caption"], pc.struct_field(positives.flatten(), "text"), pc.struct_field(negatives.flatten(), "text")
    texts = Encoded(pa.concat_arrays([own, good, bad]), tokenizer)
    ends = np.cumsum([0, len(own), len(good), len(bad)])
    caption, good_ids, bad_ids = (texts.ids(start, end) for start, end in zip(ends, ends[1:], strict=False))
    caption_keys, good_keys, bad_keys = (texts.keys[start:end] for start, end in zip(ends, ends[1:], strict=False))
    scores = pc.fill_null(pc.struct_field(negatives.flatten(), "score"), float("nan"))
    columns: dict[str, Any] = {
        "pair_id": examples["pair_id"],
        "caption": caption,
        "positives": _regrouped(positives, good_ids),
        "positive_keys": _regrouped(positives, good_keys),
        "negatives": _regrouped(negatives, bad_ids),
        "negative_keys": _regrouped(negatives, bad_keys),
        "negative_kinds": _regrouped(negatives, _kinds(pc.struct_field(negatives.flatten(), "kind"))),
        "negative_scores": _regrouped(negatives, scores),
    }
    for name in ("matched_images", "matched_texts"):
        matches = examples["matches_" + name.removeprefix("matched_").removesuffix("s")]
        columns[name] = _regrouped(matches, pa.array(placements(pc.struct_field(matches.flatten(), "id").to_pylist())))
    image = images.at(examples["image_id"])
    index = {"length": pc.list_value_length(caption), "key": caption_keys, **{name: _whole(image[name]) for name in image.column_names}}
    return _batch(columns, TOKENS), _batch(index, PAIR_INDEX)


def text_rows(texts: pa.RecordBatch, tokenizer: Tokenizer) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """`text_tokens` and `text_index` of n sentences."""
    found = Encoded(texts["text"], tokenizer)
    ids = found.ids(0, texts.num_rows)
    index = {"placement": pa.array(placements(texts["text_id"].to_pylist())), "length": pc.list_value_length(ids), "key": found.keys}
    return _batch({"text_id": texts["text_id"], "tokens": ids}, TEXT_TOKENS), _batch(index, TEXT_INDEX)


class Encoded:
    """n texts, each distinct text tokenised once. keys: int64 [n], from `text_key`."""

    def __init__(self, texts: pa.Array, tokenizer: Tokenizer):
        coded = texts.dictionary_encode()
        distinct = coded.dictionary.to_pylist()
        self._codes = coded.indices.to_numpy()
        self._rows = tokenizer.encode(distinct)
        self.keys = pa.array(np.array([text_key(text) for text in distinct], np.int64)[self._codes])

    def ids(self, start: int, end: int) -> pa.ListArray:
        """The ids of texts `start` to `end`, one list per text."""
        rows = [self._rows[code] for code in self._codes[start:end]]
        return _lists(rows)


def _lists(rows: Sequence[np.ndarray]) -> pa.ListArray:
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate([*rows, np.zeros(0, np.int32)])))


def _kinds(kinds: pa.Array) -> pa.Array:
    codes = pc.index_in(kinds, value_set=pa.array(NEGATIVE_KINDS))
    if codes.null_count:
        unknown = sorted(set(kinds.to_pylist()) - set(NEGATIVE_KINDS))
        raise ValueError(f"negatives of unknown kinds {unknown}: add them to schemas.tokens.NEGATIVE_KINDS")
    return codes.cast(pa.int8())


def _regrouped(lists: pa.ListArray, values: pa.Array) -> pa.ListArray:
    """The lists with their values replaced one for one."""
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)), values)


def _batch(columns: Mapping[str, pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [columns[field.name] if columns[field.name].type == field.type else columns[field.name].cast(field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column with any number of chunks as a single array."""
    if isinstance(column, pa.Array):
        return column
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
