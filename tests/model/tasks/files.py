"""Small files in the layouts of published downstream sets, and runs on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipelines.cli import main


def sentence(rng: np.random.Generator, *words: str) -> str:
    """A few random words of the test corpora's vocabulary, with some given ones among them."""
    drawn = [f"w{number}" for number in rng.integers(100, 990, 4)]
    return " ".join(rng.permutation([*drawn, *words]).tolist())


def write_tsv(path: Path, header: Sequence[str] | None, rows: Sequence[Sequence[object]]) -> None:
    """A table with tabs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(map(str, row)) for row in ([header] if header else []) + list(rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def config(folder: Path, corpus: str, name: str, settings: dict[str, Any], **changes: Any) -> str:
    """A configuration of a few steps on a task; returns its path."""
    value = {
        "task": name,
        name: settings,
        "data": {"corpus": corpus, "batch": {"texts": 20, "pairs": 20}, "max_tokens": 24, "max_regions": 9},
        "output": str(folder / "run"),
        "model": {"size": "tiny", "positions": 24, "max_regions": 9},
        "steps": 2,
        "log_every": 1,
        "optimizer": {"lr": 1e-3},
        "tensorboard": False,
        "device": "cpu",
        **changes,
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(value), encoding="utf-8")
    return str(folder / "train.yaml")


def run(folder: Path, corpus: str, task: str, settings: dict[str, Any], *options: str, **changes: Any) -> dict[str, Any]:
    """Trains on a task and evaluates it, through the command; returns the report's splits."""
    assert main(["train", config(folder, corpus, task, settings, **changes), "--quiet"]) == 0
    assert main(["evaluate", str(folder / "run"), corpus, "--output", str(folder / "report.json"), *options]) == 0
    splits: dict[str, Any] = json.loads((folder / "report.json").read_text())["splits"]
    return splits
