"""Ingestion: raw rows become the tables `images`, `pairs` and `texts`, each row in the partition of its id.

Splits of the sources (files, shards) are read in parallel; a shuffle of serialised record batches collects each partition's rows,
and one task per partition cleans, merges, checks images, sorts and writes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Annotated, Any, ClassVar, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from schemas import ids
from schemas.corpus_hash import hash_batches
from schemas.manifest import Counts
from schemas.raw import RAW_PAIRS
from schemas.rejects import REASONS, Reason, reason_position
from schemas.tables import IMAGES, PAIRS, TEXTS
from transforms.core.params import NotFingerprinted, Params
from transforms.core.stage import Stage
from transforms.core.task import Task
from transforms.ingest.clean import KEPT, CleanRules, clean_captions
from transforms.ingest.exclusions import ExclusionRules, Exclusions, encode, matched_by, unmatched
from transforms.ingest.images.probe import ImageLimits, ImageReject, probe_at
from transforms.ingest.limits import Limits
from transforms.ingest.sentences import split_sentences
from transforms.ingest.shuffle import unpacked
from transforms.ingest.sources import Source, Split

# Raw rows with their ids, on their way through the shuffle.
PLACED_PAIRS = pa.schema(
    [
        ("image_id", pa.string()),
        ("source", pa.string()),
        ("excluded_by", pa.string()),
        *(field for field in RAW_PAIRS if field.name != "name"),
    ]
)
PLACED_TEXTS = pa.schema([("text_id", pa.string()), ("text", pa.string()), ("source", pa.string()), ("where", pa.string()),
                          ("reason", pa.string()), ("detail", pa.string())])  # fmt: skip
_NO_IMAGE = ImageReject(Reason.IMAGE_MISSING, "the source names no image file; set pixels: false to run on captions alone")
_BLANK_LINES = re.compile(rb"\n(?:[^\S\n]*\n)+")
_PARAGRAPH_CHARACTERS = 100_000
_READERS = 4  # threads that open images: enough to hide a store's latency


class IngestParams(Params):
    """The collections, as validated settings of `transforms.ingest.sources`; fingerprinted through the stage's `sources`."""

    collections: Annotated[tuple[Source, ...], NotFingerprinted()] = ()
    limits: Annotated[Limits, NotFingerprinted()] = Field(default_factory=Limits)


class PairParams(IngestParams):
    """How captions are cleaned, which images are accepted and which are excluded."""

    pixels: bool = True
    captions: CleanRules = Field(default_factory=CleanRules)
    image_limits: ImageLimits = Field(default_factory=ImageLimits)
    exclude: ExclusionRules = Field(default_factory=ExclusionRules)
    images: Annotated[tuple[Source, ...], NotFingerprinted()] = ()  # if empty, an exclusion list must match an image of a pair


class TextParams(IngestParams):
    """How sentences are cleaned."""

    sentences: CleanRules = Field(default_factory=CleanRules)


I = TypeVar("I", bound=IngestParams)  # noqa: E741


class Ingest(Stage[I]):
    """Base class of the stages that read from outside the corpus."""

    packages = ("pillow", "sentencex")
    placed: ClassVar[pa.Schema]  # schema of the rows that cross the shuffle
    order: ClassVar[tuple[str, ...]]  # the columns by which a partition's payload is sorted
    keyed_by: ClassVar[tuple[str, str, str]]  # its main table, and the columns with the id that places a row and with the row's own

    @cached_property
    def collections(self) -> tuple[Source, ...]:
        """The collections, under the configured limits."""
        return tuple(collection.within(self.params.limits) for collection in self.params.collections)

    @property
    def sources(self) -> Mapping[str, Any]:
        """Each collection's settings and file stamps, by name, and the limits."""
        return {"": {"limits": self.params.limits.model_dump(mode="json")}, **self._collections()}

    def _collections(self) -> dict[str, Any]:
        return {
            collection.name: {
                "settings": collection.model_dump(mode="json"),
                "files": {split.url: split.stamp for split in collection.splits()},
                "beside": collection.extra_inputs(),
            }
            for collection in self.collections
        }

    def splits(self) -> list[tuple[int, Split]]:
        """Every split with the index of its collection. Raises SourceError if a collection has none."""
        return [(number, split) for number, collection in enumerate(self.collections) for split in collection.splits()]

    def read(self, number: int, split: Split) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
        """Batches of `placed` rows of one split, each with its rows' placements, int64 [n]."""
        raise NotImplementedError

    def row_keys(self, batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
        """Hashes, int64 [m], of the ids of a `placed` batch's rows if nothing is wrong with their images, and these rows' numbers."""
        kept = np.flatnonzero(np.asarray(batch["reason"].is_null()))
        return ids.placements(batch[self.keyed_by[1]].take(pa.array(kept)).to_pylist()), kept

    def payload(self, batches: Sequence[bytes]) -> tuple[pa.Table, str]:
        """A partition's rows from `packed` batches in any order: the sorted table, and its hash."""
        table = pa.Table.from_batches([unpacked(batch, self.placed) for batch in batches], self.placed)
        table = table.sort_by([(name, "ascending") for name in self.order]).combine_chunks()
        return table, hash_batches(self.placed, table.to_batches())


class IngestPairs(Ingest[PairParams]):
    """Writes `images` and `pairs`, in the order (placement of the image id, image id, pair id).

    Rows in are captions: each becomes a pair, a reject, an exclusion, or merges with an exact duplicate. A caption whose image is
    rejected is rejected for the image's reason.
    """

    name = "pairs"
    main_table = "pairs"
    writes = {"images": IMAGES, "pairs": PAIRS}
    placed = PLACED_PAIRS
    order = ("image_id", "uri", "offset", "caption", "where", "reason")
    keyed_by = ("pairs", "image_id", "pair_id")
    with_captions: ClassVar[bool] = True

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings, with the content of the exclusion lists instead of their names."""
        return {
            **super().settings,
            "image_limits": self.params.image_limits.model_dump(mode="json") if self.params.pixels else None,
            "exclude": Exclusions.from_rules(self.params.exclude, self.params.limits).fingerprint,
        }

    def read(self, number: int, split: Split) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
        """Raw rows with image ids; a bad row without a key gets an id from where it was found. Excluded rows are marked."""
        collection = self.collections[number]
        lists = Exclusions.from_rules(self.params.exclude, self.params.limits)
        for batch in collection.read(split):
            keys = [
                key if key is not None else f"?{where}"
                for key, where in zip(batch["key"].to_pylist(), batch["where"].to_pylist(), strict=True)
            ]
            image_ids = [ids.image_id(collection.name, key) for key in keys]
            batch, excluded_by = _marked(batch, collection.name, lists)
            source = pa.array([collection.name] * len(keys), pa.string())
            yield (
                pa.RecordBatch.from_arrays([pa.array(image_ids, pa.string()), source, excluded_by, *batch.columns], schema=PLACED_PAIRS),
                ids.placements(image_ids),
            )

    def row_keys(self, batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of the pair ids of the rows whose captions are kept, and these rows' numbers."""
        if not self.with_captions:
            return super().row_keys(batch)
        cleaned = clean_captions(batch["caption"], self.params.captions)
        good = np.asarray(batch["reason"].is_null()) & np.asarray(batch["caption"].is_valid()) & (cleaned.reasons == KEPT)
        kept = np.flatnonzero(good)
        images, texts = (column.take(pa.array(kept)).to_pylist() for column in (batch["image_id"], cleaned.text))
        return ids.placements([ids.pair_id(image, text) for image, text in zip(images, texts, strict=True)]), kept

    def process(self, task: Task, payload: Any) -> None:
        """Makes one partition of both tables."""
        rows: pa.Table = payload
        task.counts.rows_in = rows.num_rows
        on_lists = rows.filter(rows["excluded_by"].is_valid())
        task.extra["exclusions"] = matched_by(zip(on_lists["image_id"].to_pylist(), on_lists["excluded_by"].to_pylist(), strict=True))
        rows = self._without_bad(task, rows)
        rows = self._cleaned(task, rows)
        rows = _one_location_per_image(task, rows)
        images, rows = self._checked_images(task, rows)
        if self.with_captions:
            task.write("pairs", _pairs(task, rows))
        else:
            task.counts.merged += rows.num_rows - images.num_rows
        task.write("images", _in_order(images, ["image_id"]))
        task.counts.numbers["images_with_rows"] = images.num_rows

    def conclude(self, counts: Counts, extras: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """For each exclusion list, how many entries matched and how many images they excluded."""
        lists = Exclusions.from_rules(self.params.exclude, self.params.limits).summary(extra.get("exclusions", {}) for extra in extras)
        return {"exclusions": lists} if lists else {}

    def failure(self, extra: Mapping[str, Any]) -> str | None:
        """The error if an exclusion list matched nothing."""
        strict = not self.params.images and not self.params.exclude.allow_unmatched
        return unmatched([extra.get("exclusions", {})]) if strict else None

    def _without_bad(self, task: Task, rows: pa.Table) -> pa.Table:
        bad = rows["reason"].is_valid()
        for row in rows.filter(bad).select(["image_id", "where", "reason", "detail"]).to_pylist():
            task.rejects.add(row["image_id"], Reason(row["reason"]), ": ".join(filter(None, (row["where"], row["detail"]))))
        return rows.filter(pc.invert(bad))

    def _cleaned(self, task: Task, rows: pa.Table) -> pa.Table:
        """Rows with their cleaned caption in `text`; a missing caption is bad, unless the stage reads images only."""
        if not self.with_captions:
            return rows
        captions = rows["caption"].combine_chunks()
        cleaned = clean_captions(captions, self.params.captions)
        reasons = np.where(np.asarray(captions.is_null()), reason_position(Reason.CAPTION_MISSING), cleaned.reasons).astype(np.int8)
        bad = reasons != KEPT
        where = pc.binary_join_element_wise(rows["where"].combine_chunks(), cleaned.details, ": ")
        task.rejects.add_batch(rows["image_id"].combine_chunks().filter(pa.array(bad)), reasons[bad], where.filter(pa.array(bad)))
        return rows.append_column("text", cleaned.text).filter(pa.array(~bad))

    def _checked_images(self, task: Task, rows: pa.Table) -> tuple[pa.Table, pa.Table]:
        """The good images of these rows, and the rows that have one."""
        first = _first_of_each(rows["image_id"])
        images = rows.take(pa.array(first)).select(["image_id", "source", "uri", "offset", "length", "width", "height"])
        if not self.params.pixels:
            return images.append_column("sha256", pa.nulls(images.num_rows, pa.binary(32))).cast(IMAGES), rows
        locations = images.select(["uri", "offset", "length"]).to_pylist()
        limits = self.params.image_limits
        with task.engine(), ThreadPoolExecutor(_READERS) as pool:
            found = list(
                pool.map(lambda at: probe_at(at["uri"], at["offset"], at["length"], limits) if at["uri"] else _NO_IMAGE, locations)
            )
        broken = {
            image_id: result
            for image_id, result in zip(images["image_id"].to_pylist(), found, strict=True)
            if isinstance(result, ImageReject)
        }
        for row in rows.filter(pc.is_in(rows["image_id"], pa.array(list(broken), pa.string()))).to_pylist():
            result = broken[row["image_id"]]
            row_id = ids.pair_id(row["image_id"], row["text"]) if self.with_captions else row["image_id"]
            task.rejects.add(row_id, result.reason, f"{row['image_id']}: {result.detail}")
        task.counts.numbers["images_rejected"] = len(broken)
        good = [result for result in found if not isinstance(result, ImageReject)]
        keep = pc.invert(pc.is_in(images["image_id"], pa.array(list(broken), pa.string())))
        kept = images.filter(keep).select(["image_id", "source", "uri", "offset", "length"])
        kept = kept.append_column("width", pa.array([result.width for result in good], pa.int32()))
        kept = kept.append_column("height", pa.array([result.height for result in good], pa.int32()))
        kept = kept.append_column("sha256", pa.array([result.sha256 for result in good], pa.binary(32)))
        return kept.cast(IMAGES), rows.filter(pc.invert(pc.is_in(rows["image_id"], pa.array(list(broken), pa.string()))))


class IngestImages(IngestPairs):
    """Writes the `images` of collections without captions. Rows in are images; any captions are ignored."""

    name = "images"
    augments = "images"
    main_table = "images"
    writes = {"images": IMAGES}
    keyed_by = ("images", "image_id", "image_id")
    with_captions = False


class IngestTexts(Ingest[TextParams]):
    """Writes `texts`: the sentences of text collections, in the order (placement of the text id, text id).

    Rows in are sentences, plus bad documents and paragraphs.
    """

    name = "texts"
    augments = "texts"
    main_table = "texts"
    writes = {"texts": TEXTS}
    placed = PLACED_TEXTS
    order = ("text_id", "where", "reason", "detail")
    keyed_by = ("texts", "text_id", "text_id")

    def read(self, number: int, split: Split) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
        """Cleaned sentences with text ids. Documents are split before the shuffle because a sentence's id determines its partition."""
        collection = self.collections[number]
        for documents in collection.read(split):
            batch = _sentences(documents, self.params.sentences)
            reasons = batch["reason"].to_pylist()
            text_ids = [
                ids.text_id(collection.name, text) if reason is None else ids.content_id("reject", collection.name, where)
                for text, where, reason in zip(batch["text"].to_pylist(), batch["where"].to_pylist(), reasons, strict=True)
            ]
            source = pa.array([collection.name] * len(text_ids), pa.string())
            yield (
                pa.RecordBatch.from_arrays(
                    [pa.array(text_ids, pa.string()), batch["text"], source, batch["where"], batch["reason"], batch["detail"]],
                    schema=PLACED_TEXTS,
                ),
                ids.placements(text_ids),
            )

    def process(self, task: Task, payload: Any) -> None:
        """Makes one partition: rejects set aside, exact duplicates merged, rows sorted."""
        rows: pa.Table = payload
        task.counts.rows_in = rows.num_rows
        bad = rows["reason"].is_valid()
        for row in rows.filter(bad).to_pylist():
            task.rejects.add(row["text_id"], Reason(row["reason"]), f"{row['where']}: {row['detail']}")
        rows = rows.filter(pc.invert(bad)).select(["text_id", "text", "source"])
        first = _first_of_each(rows["text_id"])
        task.counts.merged += rows.num_rows - len(first)
        task.write("texts", _in_order(rows.take(pa.array(first)).cast(TEXTS), ["text_id"]))


def _marked(batch: pa.RecordBatch, source: str, lists: Exclusions) -> tuple[pa.RecordBatch, pa.Array]:
    """Rows without `name`, excluded ones with reason and detail; and, for each row, the encoded list entries it matches."""
    if not len(lists):
        return batch.drop_columns(["name"]), pa.nulls(batch.num_rows, pa.string())
    hits = lists.match(source, batch["key"], batch["name"], batch["url"])
    on_list = pa.array([bool(one) for one in hits], pa.bool_())
    details = pa.array([lists.why(one) if one else None for one in hits], pa.string())
    for name, values in (("reason", pa.scalar(Reason.EXCLUDED.value)), ("detail", details)):
        batch = batch.set_column(batch.schema.get_field_index(name), name, pc.if_else(on_list, values, batch[name]))
    return batch.drop_columns(["name"]), pa.array([encode(one) for one in hits], pa.string())


def _sentences(documents: pa.RecordBatch, rules: CleanRules) -> pa.RecordBatch:
    """Cleaned sentences of RAW_TEXTS documents, and one row for each bad document, paragraph or sentence.

    Documents are split into paragraphs at blank lines before cleaning, which removes line breaks: a heading is not part of the
    sentence below it, and a bad paragraph does not affect the others.
    """
    refused = documents["reason"].is_valid()
    paragraphs, paragraph_where = _paragraphs(documents.filter(pc.invert(refused)))
    whole = clean_captions(
        paragraphs, CleanRules(max_words=_PARAGRAPH_CHARACTERS, max_characters=_PARAGRAPH_CHARACTERS, entities=rules.entities)
    )
    bad = pa.array(whole.reasons != KEPT)
    found, rows = split_sentences(whole.text)
    cleaned = clean_captions(found, rules)
    return pa.RecordBatch.from_arrays(
        [
            pa.concat_arrays([cleaned.text, pa.nulls(bad.true_count + refused.true_count, pa.string())]),
            pa.concat_arrays([paragraph_where.take(pa.array(rows)), paragraph_where.filter(bad), documents["where"].filter(refused)]),
            pa.concat_arrays([_named(cleaned.reasons), _named(whole.reasons).filter(bad), documents["reason"].filter(refused)]),
            pa.concat_arrays([cleaned.details, whole.details.filter(bad), documents["detail"].filter(refused)]),
        ],
        names=["text", "where", "reason", "detail"],
    )


def _paragraphs(documents: pa.RecordBatch) -> tuple[pa.BinaryArray, pa.StringArray]:
    """The paragraphs of good documents, at least one each, and where each was found (numbered if a document has several)."""
    texts: list[bytes] = []
    found_at: list[str] = []
    for text, where in zip(documents["text"].to_pylist(), documents["where"].to_pylist(), strict=True):
        parts = _BLANK_LINES.split((text or b"").strip())
        texts.extend(parts)
        found_at.extend([where] if len(parts) == 1 else [f"{where}, paragraph {number}" for number in range(1, len(parts) + 1)])
    return pa.array(texts, pa.binary()), pa.array(found_at, pa.string())


def _named(codes: np.ndarray) -> pa.StringArray:
    return pa.array([REASONS[code].value if code != KEPT else None for code in codes], pa.string())


def _first_of_each(column: pa.ChunkedArray) -> np.ndarray:
    """The first row of each distinct value, int64, ascending."""
    codes = column.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    return np.sort(np.unique(codes, return_index=True)[1])


def _one_location_per_image(task: Task, rows: pa.Table) -> pa.Table:
    """Rows that agree with the first row of their image id on the image's location; others use one id for two images."""
    codes = rows["image_id"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    first = np.unique(codes, return_index=True)[1][codes] if len(codes) else codes
    same = np.ones(rows.num_rows, bool)
    for name in ("uri", "offset"):
        location = rows[name].combine_chunks().fill_null("" if name == "uri" else -1).dictionary_encode().indices.to_numpy()
        same &= location == location[first]
    for row in rows.filter(pa.array(~same)).select(["image_id", "where", "uri"]).to_pylist():
        task.rejects.add(row["image_id"], Reason.DUPLICATE_ID, f"{row['where']}: {row['uri']} has the id of another image")
    return rows.filter(pa.array(same))


def _pairs(task: Task, rows: pa.Table) -> pa.Table:
    pair_ids = [ids.pair_id(image, text) for image, text in zip(rows["image_id"].to_pylist(), rows["text"].to_pylist(), strict=True)]
    table = pa.table(
        {"pair_id": pa.array(pair_ids, pa.string()), "image_id": rows["image_id"], "caption": rows["text"], "source": rows["source"]}
    )
    first = _first_of_each(table["pair_id"])
    task.counts.merged += table.num_rows - len(first)
    return _in_order(table.take(pa.array(first)).cast(PAIRS), ["image_id", "pair_id"])


def _in_order(table: pa.Table, keys: Sequence[str]) -> pa.Table:
    """Rows sorted by placement of the first key, then by the keys: the corpus's global order."""
    placements = pa.array(ids.placements(table[keys[0]].to_pylist()))
    sort_keys = [("placement", "ascending"), *((key, "ascending") for key in keys)]
    return table.take(pc.sort_indices(table.append_column("placement", placements), sort_keys))
