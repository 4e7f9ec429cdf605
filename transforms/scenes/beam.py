"""Makes synthetic scenes through Beam: one element per shard, whose task writes the files; no rows cross between workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from schemas.errors import carried
from transforms.scenes.collections import ShardTask, write_shard

_COUNTED = ("scenes", "captions", "texts", "skipped", "milliseconds")


class RunScenes(beam.PTransform):
    """Writes shards of scenes; outputs the summary of each shard."""

    def __init__(self, tasks: Sequence[ShardTask]):
        super().__init__(label="scenes")
        self._tasks = list(tasks)

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        """Applies the transforms."""
        return begin | "Tasks" >> beam.Create(self._tasks) | "Spread" >> beam.Reshuffle() | "Make" >> beam.ParDo(_MakeShard())


class _MakeShard(beam.DoFn):
    """Writes the files of one shard; counts scenes, captions, texts, shards skipped and milliseconds."""

    def process(self, element: ShardTask) -> Iterator[dict[str, Any]]:
        with carried():
            summary = write_shard(element)
        for name in _COUNTED:
            Metrics.counter("scenes", name).inc(int(summary[name]))
        yield summary
