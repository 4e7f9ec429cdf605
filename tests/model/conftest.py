"""A corpus of random numbers, and a short training on it, shared by the tests of evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.training_corpus import Sizes, write_corpus

SMALL = {"max_tokens": 40, "max_regions": 9, "region_buckets": [4], "token_buckets": [16]}


def training(corpus: str, output: Path, **changes: Any) -> dict[str, Any]:
    """Settings of a training of three updates."""
    return {
        "data": {"corpus": corpus, "batch": {"pairs": 8}, "mix": {"pairs": 1}, **SMALL},
        "output": str(output),
        "steps": 3,
        "model": {"size": "tiny", "positions": 40, "max_regions": 10},
        "objectives": {"cmcl": {}},
        "tensorboard": False,
        "device": "cpu",
        **changes,
    }


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """24 images, one without regions, with 1 to 3 captions each."""
    sizes = Sizes(
        images=24, captions=[1 + number % 3 for number in range(24)], alone=6, texts=30, matches=1, without_regions=1, partitions=2
    )
    return write_corpus(str(tmp_path_factory.mktemp("corpus") / "c"), sizes).url


@pytest.fixture(scope="session")
def run(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a finished training on the corpus."""
    from model.config import TrainSettings, wanted
    from model.data.loader import Batches, ShardLoader
    from model.train import train

    settings = TrainSettings.model_validate(training(corpus, tmp_path_factory.mktemp("run"), objectives={"cmcl": {}, "itm": {}}))
    train(settings, ShardLoader(Batches(settings.data, seed=0, masking=settings.masking, wanted=wanted(settings))))
    return settings.output


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> str:
    """8 images with a caption each, for the same tokenizer and detector."""
    sizes = Sizes(images=8, captions=1, alone=1, texts=1, negatives=4, partitions=1)
    return write_corpus(str(tmp_path_factory.mktemp("few") / "c"), sizes, seed=1).url
