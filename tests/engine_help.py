"""Helpers of the tests of runners, stores and faults: the command as users run it, corpora, and reasons to skip."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest
import yaml

from pipelines.demo import SEED, settings
from pipelines.job_servers.service import ROOT, python_environment
from pipelines.run import corpus_of
from pipelines.scenes import make_scenes
from pipelines.verify import corpus_hash, verify
from schemas import files

LONG_S = 900  # for one run on a loaded machine
SCENES = 24
PHOTOS = 1500
NEEDED = {"java": "a Java 17 runtime", "mvn": "Maven", "go": "Go"}


def need(*programs: str) -> None:
    """Skips the test, with a reason, if a program is missing."""
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"{program} not found: install {NEEDED[program]}")


def cmcl(*arguments: str, environment: dict[str, str] | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs the command in a separate process; with `check`, fails with its output if the command fails."""
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=LONG_S,
        env={**os.environ, **python_environment(), **(environment or {})},
    )
    if check:
        assert done.returncode == 0, f"cmcl {' '.join(arguments)}: {done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return done


def start_cmcl(*arguments: str, environment: dict[str, str] | None = None, errors: IO[str] | None = None) -> subprocess.Popen[bytes]:
    """Starts the command in a new session, silent except for what it writes to `errors`."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=errors or subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, **python_environment(), **(environment or {})},
    )


def write_config(path: Path, values: dict[str, Any]) -> str:
    """Writes a configuration; returns its path."""
    path.write_text(yaml.safe_dump(values))
    return str(path)


def demo_settings(folder: Path) -> dict[str, Any]:
    """The settings of `make demo`, with fewer photos, rendered into a folder once: every engine builds this corpus."""
    if not (folder / "scenes").exists():
        make_scenes(str(folder / "scenes"), SCENES, SEED, texts=80)
        make_scenes(str(folder / "photos"), SCENES, SEED + 1, captions=False)
    values: dict[str, Any] = dict(settings())
    for kind in ("pairs", "images", "texts"):
        values[kind] = [
            {key: str(folder / value) if key in ("captions", "images", "files") else value for key, value in source.items()}
            for source in values[kind]
        ]
    return values


def coco_settings(shared_data: Path, folder: Path) -> dict[str, Any]:
    """Captions of COCO's first validation photos, copied into a folder, without pixels, through every stage of texts."""
    captions = shared_data / "coco_val2017" / "captions_val2017.json"
    if not captions.is_file():
        pytest.skip(f"no COCO captions at {captions}")
    content = json.loads(captions.read_text(encoding="utf-8"))
    images = content["images"][:PHOTOS]
    kept = {image["id"] for image in images}
    annotations = [one for one in content["annotations"] if one["image_id"] in kept]
    (folder / "captions.json").write_text(json.dumps({"images": images, "annotations": annotations}), encoding="utf-8")
    return {
        "partitions": 16,
        "pixels": False,
        "swaps": {"per_kind": 2, "record_refusals": False},
        "pairs": [{"format": "coco", "name": "coco", "captions": str(folder / "captions.json")}],
    }


def hash_of(url: str) -> str:
    """The corpus hash, after checking that the corpus verifies."""
    corpus, index = corpus_of(url)
    assert [finding.text for finding in verify(corpus, index)] == []
    return corpus_hash(corpus, index)["corpus"]


def temporaries(url: str) -> list[str]:
    """Temporary files in a corpus and its stages' folders."""
    fs, path = files.filesystem(url)
    return [name for name in fs.find(path) if files.TEMPORARY in name]


__all__ = ["LONG_S", "ROOT", "cmcl", "coco_settings", "demo_settings", "hash_of", "need", "start_cmcl", "temporaries",
           "write_config"]  # fmt: skip
