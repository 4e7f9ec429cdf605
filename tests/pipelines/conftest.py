"""Corpora shared by tests of the jobs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import Config, parse_config
from pipelines.scenes import make_scenes
from pipelines.verify import corpus_hash
from schemas.corpus import open_corpus


@pytest.fixture(scope="session")
def scene_files(tmp_path_factory) -> Path:
    """Forty scenes with photos and captions, twenty photos without captions, and 200 sentences."""
    folder = tmp_path_factory.mktemp("scenes")
    make_scenes(folder / "scenes", 40, 3, texts=200, shard_size=20)
    make_scenes(folder / "photos", 20, 4, captions=False)
    return folder


@pytest.fixture
def inputs(scene_files, tmp_path) -> Path:
    """A copy of the scene files that the test may modify."""
    return Path(shutil.copytree(scene_files, tmp_path / "inputs"))


def settings(inputs: Path, corpus: Path, **changes: Any) -> dict[str, Any]:
    """The settings of a corpus built from `inputs`."""
    return {
        "corpus": str(corpus),
        "partitions": 4,
        "pairs": [
            {
                "format": "coco",
                "name": "scenes",
                "captions": str(inputs / "scenes/captions-*.json"),
                "images": str(inputs / "scenes/images"),
            }
        ],
        "images": [{"format": "folder", "name": "photos", "images": str(inputs / "photos/images")}],
        "texts": [{"format": "text", "name": "stories", "files": str(inputs / "scenes/texts-*.txt")}],
        "tfidf": {"k": 10},
        **changes,
    }


def make_config(inputs: Path, corpus: Path, **changes: Any) -> Config:
    """A validated configuration of a corpus built from `inputs`."""
    return parse_config(settings(inputs, corpus, **changes), "/")


def hash_of(corpus: Path) -> str:
    """The corpus hash."""
    return corpus_hash(*open_corpus(str(corpus)))["corpus"]
