"""What the tests of regions share: images in a folder, a stage that lists them, and runs through Beam's local runner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute  # noqa: F401
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from PIL import Image

from schemas import ids
from schemas.corpus import Corpus
from schemas.tables import IMAGES
from transforms.core.beam import RunContext, RunStage, StageFingerprint
from transforms.core.stage import Input, Stage
from transforms.core.task import Task
from transforms.images.probe import ImageLimits, Probe, probe

SEED = 7


@dataclass(frozen=True)
class ListImages(Stage):
    """An `images` table of files; sizes as given, or as the file says."""

    name: ClassVar[str] = "pairs"
    main_table: ClassVar[str] = "images"

    paths: tuple[str, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()

    @property
    def inputs(self) -> Sequence[Input]:
        return []

    @property
    def writes(self) -> Mapping[str, pa.Schema]:
        return {"images": IMAGES}

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"paths": self.paths}

    def process(self, task: Task, payload: Any) -> None:
        task.write("images", images_table(self.paths, self.sizes, task.partition, task.corpus.partitions))
        task.counts.rows_in = 0


@dataclass(frozen=True)
class ListPlainImages(ListImages):
    name: ClassVar[str] = "images"


def images_table(paths: Sequence[str], sizes: Sequence[tuple[int, int]], partition: int, partitions: int) -> pa.Table:
    rows = []
    for number, path in enumerate(paths):
        image_id = ids.image_id("c", Path(path).name)
        place = ids.placement(image_id)
        if int(ids.partition_of(ids.placements([image_id]), partitions)[0]) != partition:
            continue
        data = Path(path).read_bytes()
        if sizes:
            width, height = sizes[number]
        else:
            found = probe(data, ImageLimits(decode="header"))
            width, height = (found.width, found.height) if isinstance(found, Probe) else (64, 48)
        rows.append((place, {"image_id": image_id, "source": "c", "uri": path, "offset": None, "length": None, "width": width,
                             "height": height, "sha256": sha256(data).digest()}))
    return pa.Table.from_pylist([row for _, row in sorted(rows, key=lambda pair: pair[0])], schema=IMAGES)


def run(folder: Path, partitions: int, *stages: Stage, workers: int = 1, limit: float = 1.0) -> Corpus:
    """The stages, through Beam's local runner, one after another."""
    corpus = Corpus(str(folder), partitions)
    context = RunContext(corpus, SEED, limit, {stage.name: StageFingerprint("f", {}) for stage in stages})
    if workers == 1:
        pipeline = beam.Pipeline(runner=FnApiRunner())
    else:
        from pipelines.runners import _local_pipeline

        pipeline = _local_pipeline(workers, [])
    done: dict[str, Any] = {}
    with pipeline:
        for stage in stages:
            done[stage.name] = pipeline | RunStage(context, stage, [done[source.stage] for source in stage.inputs])
    return corpus


def rejects(corpus: Corpus, stage: str) -> dict[str, str]:
    """Reason by image id."""
    found = {}
    for partition in range(corpus.partitions):
        with corpus.open(stage, "rejects", partition) as file:
            for row in file.read().to_pylist():
                found[row["id"]] = row["reason"]
    return found


def files_of(corpus: Corpus, stage: str) -> dict[str, bytes]:
    """The bytes of every Arrow file of a stage."""
    return {path.name: path.read_bytes() for path in sorted(Path(corpus.folder(stage)).glob("*.arrow"))}


def scene_files(folder: Path, count: int, seed: int = 11) -> list[str]:
    """Scenes of a few sizes as JPEG files."""
    from transforms.scenes import encode, render, sample_scene

    folder.mkdir(parents=True, exist_ok=True)
    sizes = ((288, 216), (216, 288), (320, 200))
    paths = []
    for index in range(count):
        picture = render(sample_scene(seed, index)).resize(sizes[index % len(sizes)], Image.Resampling.BILINEAR)
        path = folder / f"scene_{index:05d}.jpg"
        path.write_bytes(encode(picture))
        paths.append(str(path))
    return paths
