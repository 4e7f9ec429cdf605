"""Inputs of the stores' tests, and the hash of the corpus built on a disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.scenes import make_scenes
from tests.engine_help import cmcl, hash_of, write_config
from tests.stores.stores import settings


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty scenes with photos and captions, and 100 sentences."""
    folder = tmp_path_factory.mktemp("inputs")
    make_scenes(folder / "scenes", 30, 3, texts=100, shard_size=10)
    return folder


@pytest.fixture(scope="module")
def wanted(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash of the corpus built on a disk from inputs on a disk."""
    folder = tmp_path_factory.mktemp("local")
    cmcl("run", write_config(folder / "config.yaml", {**settings(str(scenes)), "corpus": str(folder / "corpus")}), "--quiet")
    return hash_of(str(folder / "corpus"))
