"""What is rebuilt after an addition or a change, and how `cmcl status --why` explains it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.engine_help import cmcl, hash_of, write_config

pytestmark = [pytest.mark.runners, pytest.mark.timeout(1200)]

PARTITIONS, IMAGES, ADDED = 32, 300, 3


def captions(path: Path, numbers: range) -> None:
    """COCO-like captions, five per image."""
    words = ["red", "old", "tall", "wet", "man", "dog", "boat", "tree", "house", "car", "sky", "sits", "runs", "waits"]
    annotations = [
        {
            "image_id": image,
            "id": image * 5 + n,
            "caption": " ".join(words[(image * 7 + n * 3 + k * (n + 2)) % len(words)] for k in range(6)) + f" number {image}",
        }
        for image in numbers
        for n in range(5)
    ]
    path.write_text(json.dumps({"images": [{"id": image, "file_name": f"{image}.jpg"} for image in numbers], "annotations": annotations}))


def manifests(corpus: Path) -> dict[str, Any]:
    """The manifests by stage."""
    return {path.parent.name: json.loads(path.read_text()) for path in corpus.glob("*/manifest.json")}


@pytest.fixture
def grown(tmp_path: Path) -> tuple[str, Path]:
    """A corpus without the last images, and a configuration that includes them."""
    captions(tmp_path / "old.json", range(IMAGES))
    captions(tmp_path / "new.json", range(IMAGES, IMAGES + ADDED))
    values = {
        "corpus": str(tmp_path / "corpus"),
        "partitions": PARTITIONS,
        "pixels": False,
        "tfidf": {"k": 5},
        "pairs": [{"format": "coco", "name": "made", "captions": [str(tmp_path / "old.json")]}],
    }
    cmcl("run", write_config(tmp_path / "old.yaml", values), "--quiet")
    values["pairs"] = [{"format": "coco", "name": "made", "captions": [str(tmp_path / "old.json"), str(tmp_path / "new.json")]}]
    return write_config(tmp_path / "new.yaml", values), tmp_path / "corpus"


def test_an_addition(grown: tuple[str, Path], tmp_path: Path) -> None:
    """Row-local stages rebuild the affected partitions; corpus-wide stages and their readers rebuild everything."""
    config, corpus = grown
    why = cmcl("status", "--why", config).stdout
    assert "sources" in why
    assert "rebuilds the partitions whose rows changed" in why
    assert "reads pairs, which changed" in why
    cmcl("run", config, "--quiet")
    after = manifests(corpus)
    assert 1 <= after["pairs"]["ran"] <= ADDED
    assert after["tfidf_counts"]["ran"] == after["pairs"]["ran"]
    assert after["tfidf_vocabulary"]["ran"] == 1
    assert after["tfidf"]["ran"] == PARTITIONS
    assert f"its last run executed {after['pairs']['ran']} of {PARTITIONS} tasks" in cmcl("status", "--why", config).stdout
    cmcl("run", config, "--quiet", "--set", f"corpus={tmp_path / 'anew'}")
    assert hash_of(str(corpus)) == hash_of(str(tmp_path / "anew"))


def test_a_changed_setting(grown: tuple[str, Path]) -> None:
    """Reruns the stage with that setting and its dependants; the others are not processed."""
    config, corpus = grown
    cmcl("run", config, "--quiet")
    before = manifests(corpus)
    why = cmcl("status", "--why", config, "--set", "tfidf.k=4").stdout
    assert "k: 5 -> 4" in why
    assert why.count(": stale") == 2
    assert why.count("so a run rebuilds all of it") == 1
    cmcl("run", config, "--quiet", "--set", "tfidf.k=4")
    changed = {stage for stage, manifest in manifests(corpus).items() if manifest != before[stage]}
    assert changed == {"tfidf", "examples"}
