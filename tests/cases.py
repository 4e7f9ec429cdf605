"""Inputs from public bug reports, kept outside the repository (`CMCL_CASES`, or `../shared/cases`); tests are skipped without them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import load_config
from pipelines.run import run
from schemas.corpus import Corpus


def case(number: str, tmp_path: Path) -> Path:
    """A copy of a case's folder, next to which its configurations write."""
    place = Path(os.environ.get("CMCL_CASES") or Path(__file__).parents[2] / "shared" / "cases")
    found = sorted(place.glob(f"{number}-*"))
    if not found:
        pytest.skip(f"no case {number} in {place} (set CMCL_CASES to its folder)")
    shutil.copytree(found[0], tmp_path / number)
    return tmp_path / number


def made(config: Path) -> Corpus:
    """The corpus that a configuration builds. Raises as the run does."""
    loaded = load_config(str(config))
    run(loaded)
    return Corpus(loaded.corpus, loaded.partitions)


def rows(corpus: Corpus, stage: str, table: str) -> list[dict[str, Any]]:
    """All rows of a table."""
    found = []
    for partition in range(corpus.partitions):
        with corpus.open(stage, table, partition) as file:
            found += file.read().to_pylist()
    return found
