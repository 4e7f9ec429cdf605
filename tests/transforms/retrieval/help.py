"""A small corpus whose regions come out of files that the test writes: no detector, few texts."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from pipelines.config import parse_config
from pipelines.run import run
from schemas.corpus import Corpus, open_corpus

WIDTH, KINDS = 16, 7  # numbers of a feature; soft labels, the background among them
SENTENCES = (
    "A dog runs on the beach.",
    "Two dogs are playing with a ball.",
    "A man rides a horse.",
    "The stock market fell on Monday.",
    "Children play in the park.",
    "A red bus is on the street.",
    "The committee approved the budget.",
    "A cat sleeps on a sofa.",
    "She read a long novel about the sea.",
    "A woman is cooking dinner.",
    "The train leaves at noon.",
    "Birds fly over the lake.",
)
CAPTIONS = (
    "a dog running along the shore",
    "a brown dog runs on a beach",
    "two dogs play with a red ball",
    "a man on a horse",
    "a kitten asleep on the couch",
    "kids playing in a park",
    "a double decker bus in the street",
    "someone cooks a meal",
)


def write_inputs(folder: Path, pairs: int = 8, alone: int = 24, soft_labels: bool = True) -> Path:
    """Photos of noise, captions, sentences, and a file of regions for each photo, in which every other photo is like another."""
    rng = np.random.default_rng(5)
    for kind, count in (("paired", pairs), ("alone", alone)):
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(folder / kind / f"{kind}{number}.png")
            write_regions(folder, f"{kind}{number}", rng, soft_labels)
    with open(folder / "captions.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "caption"])
        for number in range(pairs):
            rows.writerow([f"paired{number}.png", CAPTIONS[number % len(CAPTIONS)]])
        rows.writerow(["paired0.png", CAPTIONS[1]])  # a sibling
    (folder / "sentences.txt").write_text("\n".join(SENTENCES) + "\n")
    return folder


def write_regions(folder: Path, name: str, rng: np.random.Generator, labelled: bool = True, **instead: Any) -> None:
    """The regions of a photo as UNITER's npz; `instead`: other arrays than drawn ones."""
    count = int(rng.integers(3, 8))
    corners = np.sort(rng.random((count, 2, 2)), axis=1)
    boxes = np.concatenate([corners[:, 0], corners[:, 1], corners[:, 1] - corners[:, 0]], axis=1)
    labels = rng.random((count, KINDS)) ** 4
    arrays = {
        "norm_bb": boxes.astype(np.float16),
        "features": rng.random((count, WIDTH)).astype(np.float16),
        "conf": rng.random(count).astype(np.float16),
    }
    if labelled:
        arrays["soft_labels"] = (labels / labels.sum(1, keepdims=True)).astype(np.float16)
    (folder / "regions").mkdir(exist_ok=True)
    np.savez(folder / "regions" / f"{name}.npz", **{**arrays, **instead})


def settings(folder: Path, corpus: Path, **changes: Any) -> dict[str, Any]:
    """The settings of a corpus over these inputs."""
    return {
        "corpus": str(corpus),
        "partitions": 3,
        "tfidf": None,
        "max_rejected": 0.5,
        "pairs": [{"format": "csv", "name": "p", "captions": str(folder / "captions.csv"), "images": str(folder / "paired")}],
        "images": [{"format": "folder", "name": "a", "images": str(folder / "alone")}],
        "texts": [{"format": "text", "name": "t", "files": str(folder / "sentences.txt")}],
        "region_files": {"format": "uniter_npz", "files": [str(folder / "regions")], "key": "{stem}.npz"},
        "retrieval": {},
        **changes,
    }


def made(folder: Path, corpus: Path, **changes: Any) -> Corpus:
    """The corpus of these inputs."""
    run(parse_config(settings(folder, corpus, **changes), "/"))
    return open_corpus(str(corpus))[0]


def rows(corpus: Corpus, stage: str, table: str) -> list[dict[str, Any]]:
    """All rows of a table."""
    return pa.concat_tables([corpus.open(stage, table, partition).read() for partition in range(corpus.partitions)]).to_pylist()
