"""The stages that make an approximate index, if the settings say so or the collection is large.

image_index, text_index    corpus-wide  which index, by factory string or by size; trained on a seeded sample
image_shards, text_shards  row-local    the trained index with the vectors of one partition
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from schemas.corpus import WHOLE, Corpus
from schemas.vectors import INDEX, SHARD
from transforms.core.stage import Input, SummaryStage
from transforms.core.task import Task
from transforms.retrieval.base import OfImages, OfTexts, RetrievalStage, collection_of
from transforms.retrieval.collection import vectors_of
from transforms.retrieval.index import (
    EXACT,
    Searcher,
    Work,
    estimate,
    factory_for,
    fill,
    first_bytes,
    lists_of,
    one_value,
    sample_size,
    train,
    what_fits,
)
from transforms.retrieval.packages import RetrievalError, packages
from transforms.retrieval.settings import RetrievalParams

LOG = logging.getLogger(__name__)
Drawn = tuple[int, pa.Table]  # the size of the sample, and candidates for it
_DRAWN = pa.schema([("hash", pa.uint64()), ("id", pa.string()), ("partition", pa.int32()), ("row", pa.int64())])


class _Index(RetrievalStage, SummaryStage[RetrievalParams]):
    """Writes the trained index, or a record that the search is exact."""

    internal = True
    packages = packages("threadpoolctl")
    writes = {"index": INDEX}
    vectors: ClassVar[str]

    @property
    def reads(self) -> Sequence[Input]:
        """The searched vectors."""
        return (Input(self.vectors, "vectors", "corpus"),)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of the index."""
        return {"index": self.own.index, "device": self.params.retrieval.device}

    def summarise(self, task: Task) -> Drawn:
        """A partition's candidates for the training sample."""
        with task.open(self.vectors, "vectors") as file:
            ids = file.read(["id"])["id"].to_pylist()
            width = vectors_of(next(iter(file.batches()))).shape[1] if ids else 0
        count, _ = self._sizes(task.corpus)
        factory = factory_for(self.own.index, count, width, self.params.retrieval.device) if ids else EXACT
        most = sample_size(factory, count, width)
        if not most:
            return 0, _DRAWN.empty_table()
        drawn = [int.from_bytes(blake2b(f"{task.seed}\0index\0{one}".encode(), digest_size=8).digest(), "big") for one in ids]
        rows = [
            pa.array(drawn, pa.uint64()),
            pa.array(ids, pa.string()),
            pa.array([task.partition] * len(ids), pa.int32()),
            pa.array(range(len(ids)), pa.int64()),
        ]
        return self.combine([(most, pa.Table.from_arrays(rows, schema=_DRAWN))])

    def combine(self, summaries: Sequence[Drawn]) -> Drawn:
        """The candidates of several partitions: those with the lowest hashes of seed and id."""
        most, both = max(own for own, _ in summaries), pa.concat_tables([table for _, table in summaries])
        return most, both.take(pc.sort_indices(both, [("hash", "ascending"), ("id", "ascending")])[:most]).combine_chunks()

    def _sizes(self, corpus: Corpus) -> tuple[int, int]:
        """The numbers of vectors and of queries."""
        manifest = corpus.manifest(self.vectors)
        return (manifest.counts.rows_out.get("vectors", 0), manifest.counts.rows_out.get("query_vectors", 0)) if manifest else (0, 0)

    def process(self, task: Task, payload: Drawn) -> None:
        """Chooses the index, logs its estimated cost, trains and writes it. Raises RetrievalError if it takes more than `max_memory`."""
        (_, drawn), (count, queries) = payload, self._sizes(task.corpus)
        how, collection = self.params.retrieval, collection_of(task.corpus, self.vectors)
        factory = factory_for(self.own.index, count, collection.width, how.device)
        work = Work(count, collection.width, queries, task.corpus.partitions, self.own.kept)
        takes = estimate(factory, work, how.block_rows)
        LOG.info(
            "%s: %s for %d vectors of %d numbers and %d queries: about %d MB in all shards, %d MB of memory in a task, %d s on one thread",
            self.name, factory, count, collection.width, queries, takes.index_bytes >> 20, takes.memory_bytes >> 20, takes.seconds,
        )  # fmt: skip
        if how.max_memory is not None and takes.memory_bytes > how.max_memory:
            raise RetrievalError(
                f"{self.name}: {factory} for {count} vectors of {collection.width} numbers takes about {takes.memory_bytes} bytes, "
                f"more than retrieval.max_memory ({how.max_memory}): {what_fits(factory, work, how.block_rows, how.max_memory)}"
            )
        data = b""
        if factory != EXACT:
            positions = collection.partition_starts[drawn["partition"].to_numpy()] + drawn["row"].to_numpy()
            with task.engine():
                data = train(factory, collection.take(positions))
            task.extra["training_vectors"] = len(positions)
        task.extra |= {"index": factory, "index_bytes": takes.index_bytes}
        if factory != self.own.index and self.own.index != "auto":
            task.extra["index_because"] = f"{count} vectors are too few to train {self.own.index}"
        task.write("index", pa.RecordBatch.from_arrays([pa.array([factory]), pa.array([data], pa.large_binary())], schema=INDEX))


class ImageIndex(OfImages, _Index):
    """Of the images alone."""

    name = OfImages.index


class TextIndex(OfTexts, _Index):
    """Of the sentences of the text collections."""

    name = OfTexts.index


class _Shards(RetrievalStage):
    """Writes the trained index filled with one partition's vectors; nothing if the search is exact."""

    internal = True
    writes = {"shard": SHARD}
    vectors: ClassVar[str]
    index: ClassVar[str]

    @property
    def reads(self) -> Sequence[Input]:
        """The partition's vectors, and the trained index."""
        return Input(self.vectors, "vectors"), Input(self.index, "index", "corpus")

    @property
    def settings(self) -> Mapping[str, Any]:
        """None beside its inputs."""
        return {}

    def process(self, task: Task, payload: Any) -> None:
        """Fills one shard."""
        trained = task.read(self.index, "index", WHOLE)["data"][0].as_py()
        with task.open(self.vectors, "vectors") as file:
            task.counts.rows_in = file.rows
            if trained and file.num_batches:
                with task.engine():
                    data = fill(trained, (vectors_of(batch) for batch in file.batches()))
                task.write("shard", pa.RecordBatch.from_arrays([one_value(data)], schema=SHARD))


class ImageShards(OfImages, _Shards):
    """Of the images alone."""

    name = OfImages.shards


class TextShards(OfTexts, _Shards):
    """Of the sentences of the text collections."""

    name = OfTexts.shards


class SearchingStage(RetrievalStage):
    """A stage that searches a collection."""

    packages = packages("threadpoolctl")
    vectors: ClassVar[str]
    index: ClassVar[str]
    shards: ClassVar[str]

    @property
    def reads(self) -> Sequence[Input]:
        """The partition's queries, and all that is searched."""
        return (
            Input(self.vectors, "query_vectors"),
            Input(self.vectors, "vectors", "corpus"),
            Input(self.index, "index", "corpus"),
            Input(self.shards, "shard", "corpus"),
        )

    def searcher(self, corpus: Corpus) -> Searcher:
        """The search that the settings specify. An index file is only read if its SHA-256 matches its manifest."""
        how, collection = self.params.retrieval, collection_of(corpus, self.vectors)
        with corpus.open(self.index, "index", WHOLE, INDEX) as file:
            factory = file.read()["factory"][0].as_py()
        buffers = []
        for partition in range(corpus.partitions) if factory != EXACT else ():
            with corpus.open(self.shards, "shard", partition, SHARD) as file:
                rows = file.read()["data"]
                buffers.append(first_bytes(rows) if len(rows) else pa.py_buffer(b""))
        lists = lists_of(factory)
        nprobe = min(lists, self.own.nprobe or max(8, lists // 16))
        return Searcher(collection, how.block_rows, how.query_rows, buffers, nprobe, lists, how.device)
