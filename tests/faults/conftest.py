"""A corpus of captions that takes a few seconds to build, and its hash after an undisturbed run."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.engine_help import cmcl, hash_of, write_config

IMAGES = 500


@dataclass(frozen=True)
class Undisturbed:
    """A configuration, the hash of its corpus, and the duration of a run with two workers, in seconds."""

    config: str
    hash: str
    wall_s: float


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("faults")
    random = np.random.default_rng(5)
    words = [f"{a}{b}" for a in ("red", "old", "tall", "wet", "big", "dry") for b in ("man", "dog", "boat", "tree", "house", "car", "sky")]
    captions = [{"image_id": number // 5, "id": number, "caption": " ".join(random.choice(words, 7))} for number in range(5 * IMAGES)]
    images = [{"id": number, "file_name": f"{number}.jpg"} for number in range(IMAGES)]
    (folder / "captions.json").write_text(json.dumps({"images": images, "annotations": captions}))
    config = write_config(
        folder / "config.yaml",
        {
            "corpus": str(folder / "corpus"),
            "partitions": 8,
            "pixels": False,
            "tfidf": {"k": 40},
            "pairs": [{"format": "coco", "name": "made", "captions": str(folder / "captions.json")}],
        },
    )
    start = time.monotonic()
    cmcl("run", config, "--workers", "2", "--quiet")
    return Undisturbed(config, hash_of(str(folder / "corpus")), time.monotonic() - start)


def rows_of(corpus: Path) -> dict[str, int]:
    """Numbers of rows according to the manifests, by stage and table."""
    found = {}
    for manifest in corpus.glob("*/manifest.json"):
        for table, rows in json.loads(manifest.read_text())["counts"]["rows_out"].items():
            found[f"{manifest.parent.name}/{table}"] = rows
    return found
