"""Runs an ingestion stage on Beam: reads the sources' splits, shuffles serialised record batches, runs one task per partition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics

from schemas.errors import carried
from schemas.ids import partition_of
from transforms.core.beam import RunContext, finish
from transforms.ingest.shuffle import packed
from transforms.ingest.sources.base import Split
from transforms.ingest.stages import Ingest

_FLUSH_ROWS = 65_536  # rows buffered before they are grouped by partition: fewer, larger elements in the shuffle


class RunIngest(beam.PTransform):
    """Runs one ingestion stage; its output is one element, a StageResult, once the manifest is written."""

    def __init__(self, context: RunContext, stage: Ingest[Any]):
        super().__init__(label=stage.name)
        self._context = context
        self._stage = stage

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        """Builds the pipeline: read, group by partition, sort, run the tasks."""
        context, stage = self._context, self._stage
        partitions = context.corpus.partitions
        placed = (
            begin | "Splits" >> beam.Create(stage.splits()) | "Spread" >> beam.Reshuffle() | "Read" >> beam.ParDo(_Read(context, stage))
        )
        empty = begin | "Partitions" >> beam.Create([(partition, b"") for partition in range(partitions)])
        tasks = (
            (placed, empty)
            | "With empty ones" >> beam.Flatten()
            | "To partitions" >> beam.GroupByKey()
            | "Sort" >> beam.ParDo(_Sort(stage))
        )
        return finish(tasks, context, stage)


class _Read(beam.DoFn):
    """Reads a split and groups its rows by partition: elements (partition, `packed` rows)."""

    def __init__(self, context: RunContext, stage: Ingest):
        self._context = context
        self._stage = stage

    def process(self, element: tuple[int, Split]) -> Iterator[tuple[int, bytes]]:
        held: list[pa.RecordBatch] = []
        placements: list[np.ndarray] = []
        rows = 0
        self._context.enter()
        with carried():
            for batch, placed in self._stage.read(*element):
                held.append(batch)
                placements.append(placed)
                rows += batch.num_rows
                if rows >= _FLUSH_ROWS:
                    yield from self._grouped(held, placements)
                    held, placements, rows = [], [], 0
        yield from self._grouped(held, placements)

    def _grouped(self, held: list[pa.RecordBatch], placements: list[np.ndarray]) -> Iterator[tuple[int, bytes]]:
        if not held:
            return
        table = pa.Table.from_batches(held, schema=self._stage.placed)
        partition = partition_of(np.concatenate(placements), self._context.corpus.partitions)
        order = np.argsort(partition, kind="stable")
        table = table.take(pa.array(order))
        numbers, starts = np.unique(partition[order], return_index=True)
        for number, start, end in zip(numbers, starts, [*starts[1:], len(order)], strict=True):
            Metrics.counter(self._stage.name, "rows_read").inc(int(end - start))
            yield int(number), packed(table.slice(start, end - start))


class _Sort(beam.DoFn):
    """Merges a partition's rows into one sorted table and hashes it: the payload of its task."""

    def __init__(self, stage: Ingest[Any]):
        self._stage = stage

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, Any, str]]:
        partition, batches = element
        table, digest = self._stage.payload([batch for batch in batches if batch])
        yield partition, table, digest
