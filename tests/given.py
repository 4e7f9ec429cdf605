"""Stages that write given rows, and a function that runs stages through Beam's local runner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from pydantic import ConfigDict

from schemas import ids
from schemas.corpus import Corpus
from schemas.tables import IMAGES, PAIRS
from transforms.core.beam import RunContext, RunStage, StageFingerprint
from transforms.core.params import Params
from transforms.core.stage import Stage
from transforms.core.task import Task
from transforms.ingest.images.probe import ImageLimits, Probe, probe
from transforms.regions.columns import named_schema
from transforms.scenes.language import captions
from transforms.scenes.layout import sample_scene
from transforms.scenes.world import KINDS

CLASSES = ("background", *KINDS)  # of the regions of made scenes


class GivenParams(Params):
    """stage: its name. rows: of one table, in any order. place: the column by whose ids rows are placed."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    stage: str
    table: str
    rows: pa.Table
    place: str = "image_id"


class Given(Stage[GivenParams]):
    """Writes one table: the given rows that belong to the partition, in the corpus's order (placement, then all columns)."""

    @property
    def name(self) -> str:
        return self.params.stage

    @property
    def main_table(self) -> str:
        return self.params.table

    @property
    def writes(self) -> Mapping[str, pa.Schema]:
        return {self.params.table: self.params.rows.schema}

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"rows": sha256(repr(self.params.rows.to_pylist()).encode()).hexdigest()}

    def process(self, task: Task, payload: Any) -> None:
        rows = self.params.rows.to_pylist()
        places = ids.placements([row[self.params.place] for row in rows])
        parts = ids.partition_of(places, task.corpus.partitions)
        keys = [name for name in (self.params.place, "pair_id") if name in self.params.rows.column_names]
        own = sorted(
            (int(place), [row[key] for key in keys], number)
            for number, (row, place, part) in enumerate(zip(rows, places, parts, strict=True))
            if part == task.partition
        )
        task.counts.rows_in = len(own)
        task.write(self.params.table, pa.Table.from_pylist([rows[number] for _, _, number in own], schema=self.params.rows.schema))


def given_pairs(keyed: Sequence[tuple[str, str]], collection: str = "made") -> Given:
    """The stage `pairs` with these (image key, caption), each once."""
    rows = []
    for key, caption in sorted(set(keyed)):
        image = ids.image_id(collection, key)
        rows.append({"pair_id": ids.pair_id(image, caption), "image_id": image, "caption": caption, "source": collection})
    return Given(GivenParams(stage="pairs", table="pairs", rows=pa.Table.from_pylist(rows, schema=PAIRS)))


def scene_pairs(scenes: int, seed: int = 5) -> list[tuple[str, str]]:
    """(image key, caption) of made scenes."""
    return [(f"{at:05d}", caption.text) for at in range(scenes) for caption in captions(sample_scene(seed, at), seed)]


def scene_regions(scenes: int, seed: int = 5) -> Given:
    """The stage `regions` of made scenes, one feature wide: their objects as a detector without pixels would give them."""
    rows = []
    for at in range(scenes):
        kinds = [CLASSES.index(item.kind) for item in sample_scene(seed, at).objects]
        rows.append(
            {
                "image_id": ids.image_id("made", f"{at:05d}"),
                "width": 288,
                "height": 216,
                "boxes": [[0.0, 0.0, 1.0, 1.0]] * len(kinds),
                "confidence": [1.0] * len(kinds),
                "features": [[0.0]] * len(kinds),
                "soft_labels": None,
                "class": kinds,
                "attributes": None,
            }
        )
    return Given(GivenParams(stage="regions", table="regions", rows=pa.Table.from_pylist(rows, schema=named_schema(1, 1, CLASSES))))


def given_images(paths: Sequence[str], sizes: Sequence[tuple[int, int]] = (), stage: str = "pairs") -> Given:
    """A stage of the `images` of files; sizes as given, or as the file says."""
    rows = []
    for number, path in enumerate(paths):
        data = Path(path).read_bytes()
        found = probe(data, ImageLimits(decode="header"))
        width, height = sizes[number] if sizes else (found.width, found.height) if isinstance(found, Probe) else (64, 48)
        rows.append(
            {
                "image_id": ids.image_id("c", Path(path).name),
                "source": "c",
                "uri": path,
                "offset": None,
                "length": None,
                "width": width,
                "height": height,
                "sha256": sha256(data).digest(),
            }
        )
    return Given(GivenParams(stage=stage, table="images", rows=pa.Table.from_pylist(rows, schema=IMAGES)))


def run_stages(
    url: Path | str, stages: Sequence[Stage], partitions: int = 4, workers: int = 1, seed: int = 3, limit: float = 0.05
) -> Corpus:
    """Runs stages one after another through Beam's local runner; several workers are separate processes."""
    corpus = Corpus(str(url), partitions)
    context = RunContext(corpus, seed, limit, {stage.name: StageFingerprint(stage.name, {}) for stage in stages})
    options = PipelineOptions(
        [], direct_num_workers=workers, direct_running_mode="multi_processing" if workers > 1 else "in_memory", save_main_session=False
    )
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=options)
    done: dict[str, beam.PCollection] = {}
    before: list[Stage] = []
    for stage in stages:
        before.append(stage.behind(before))
        done[stage.name] = pipeline | RunStage(context, before[-1], [done[name] for name in {one.stage for one in before[-1].inputs}])
    pipeline.run().wait_until_finish()
    return corpus
