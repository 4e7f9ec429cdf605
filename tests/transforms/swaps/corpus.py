"""A small corpus of made captions for the tests of graphs, vocabularies and swaps, and a run of stages through Beam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from schemas import ids
from schemas.corpus import Corpus
from schemas.tables import PAIRS
from transforms.core.beam import RunContext, RunStage, StageFingerprint
from transforms.core.stage import Input, Stage
from transforms.core.task import Task
from transforms.scenes.language import captions
from transforms.scenes.layout import sample_scene


def scene_pairs(scenes: int, seed: int = 5) -> list[tuple[str, str]]:
    """(image key, caption) of made scenes."""
    return [(f"{at:05d}", caption.text) for at in range(scenes) for caption in captions(sample_scene(seed, at), seed)]


@dataclass(frozen=True)
class MadePairs(Stage):
    """Writes `pairs` of made scenes, as ingestion would."""

    name: ClassVar[str] = "pairs"
    main_table: ClassVar[str] = "pairs"

    scenes: int = 40

    @property
    def inputs(self) -> Sequence[Input]:
        """Nothing."""
        return []

    @property
    def writes(self) -> Mapping[str, pa.Schema]:
        """Pairs."""
        return {"pairs": PAIRS}

    @property
    def settings(self) -> Mapping[str, Any]:
        """How many scenes."""
        return {"scenes": self.scenes}

    def process(self, task: Task, payload: Any) -> None:
        """Writes the rows of one partition in the corpus' order."""
        rows = []
        for key, caption in scene_pairs(self.scenes):
            image = ids.image_id("made", key)
            place = ids.placement(image)
            if int(ids.partition_of(ids.placements([image]), task.corpus.partitions)[0]) == task.partition:
                rows.append((place, image, ids.pair_id(image, caption), caption))
        rows = sorted(set(rows))
        task.counts.rows_in = len(rows)
        columns = [[row[2] for row in rows], [row[1] for row in rows], [row[3] for row in rows], ["made"] * len(rows)]
        task.write("pairs", pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], schema=PAIRS))


def run(url: Path, stages: Sequence[Stage], workers: int = 1, partitions: int = 4, seed: int = 3) -> Corpus:
    """Runs stages one after another through Beam's local runner with this many worker processes."""
    corpus = Corpus(str(url), partitions)
    known = {stage.name: StageFingerprint(stage.name, {}) for stage in stages}
    context = RunContext(corpus, seed, 0.05, known)
    mode = "multi_processing" if workers > 1 else "in_memory"
    options = PipelineOptions(direct_num_workers=workers, direct_running_mode=mode, save_main_session=False)
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=options)
    done: dict[str, beam.PCollection] = {}
    for stage in stages:
        after = [done[source.stage] for source in stage.inputs if source.stage in done]
        done[stage.name] = pipeline | RunStage(context, stage, after)
    pipeline.run().wait_until_finish()
    return corpus
