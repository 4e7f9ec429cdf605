"""Corpora that the tests of the loader share."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.training_corpus import Sizes, write_corpus
from model.data.collate import Wanted
from model.data.loader import Batches
from model.data.settings import DataSettings

pytest.importorskip("torch", reason="training needs torch: pip install 'cmcl[train]'")
EVERYTHING = Wanted(tokens=True, regions=True, soft_labels=True, mismatch=True, fragments=True)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> str:
    """100 images with 1 to 6 captions, two of them without regions, 30 images without captions, 200 sentences."""
    sizes = Sizes(captions=[1 + number % 6 for number in range(100)], matches=3, without_regions=2)
    return write_corpus(str(tmp_path_factory.mktemp("training") / "c"), sizes).url


@pytest.fixture
def copy(corpus, tmp_path) -> Path:
    """The same, to be damaged."""
    return Path(shutil.copytree(corpus, tmp_path / "c"))


def settings(corpus: str, **changes: Any) -> DataSettings:
    """Small batches of all three streams, some of every companion."""
    return DataSettings.model_validate(
        {
            "corpus": str(corpus),
            "batch": {"pairs": 12, "images": 6, "texts": 8},
            "window": 3,
            "matched_images": 1,
            "matched_texts": 2,
            **changes,
        }
    )


def batches(corpus: str, rank: int = 0, world: int = 1, seed: int = 1, wanted: Wanted = EVERYTHING, **changes: Any) -> Batches:
    """The batches of a corpus, with everything that an objective may require."""
    return Batches(settings(corpus, **changes), seed=seed, wanted=wanted, rank=rank, world=world)
