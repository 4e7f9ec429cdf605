"""The configurations in `examples/` are valid and cover all use cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config import load_config

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_valid(path: Path) -> None:
    config = load_config(str(path))
    assert config.corpus and config.pairs


def test_there_is_one_per_use_case() -> None:
    assert {path.stem for path in EXAMPLES} == {"coco", "dataflow", "img2dataset", "region_files", "spark"}
