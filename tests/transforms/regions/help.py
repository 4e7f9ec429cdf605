"""Helpers for the tests of regions: images in a folder, and runs on Beam's local runner."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from schemas.corpus import Corpus
from schemas.regions import RegionFile, Regions
from tests.given import run_stages
from transforms.core.stage import Stage

SEED = 7


def run(folder: Path, partitions: int, *stages: Stage) -> Corpus:
    """Runs the stages one after another; any share of rows may be rejected."""
    return run_stages(folder, stages, partitions, seed=SEED, limit=1.0)


def rejects(corpus: Corpus, stage: str) -> dict[str, str]:
    """Reject reasons by image id."""
    found = {}
    for partition in range(corpus.partitions):
        with corpus.open(stage, "rejects", partition) as file:
            for row in file.read().to_pylist():
                found[row["id"]] = row["reason"]
    return found


def scene_files(folder: Path, count: int, seed: int = 11) -> list[str]:
    """Generated scenes of several sizes as JPEG files."""
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


def regions_of(corpus: Corpus, stage: str = "regions") -> list[Regions]:
    """Each image's regions, in the global order."""
    found = []
    for partition in range(corpus.partitions):
        with RegionFile(corpus.table_url(stage, "regions", partition)) as file:
            found += [file[row] for row in range(len(file))]
    return found
