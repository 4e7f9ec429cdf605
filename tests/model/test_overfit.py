"""The whole path, from a corpus on disk to recall: a few pairs are learned by heart."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks.training_corpus import Sizes, write_corpus
from model.config import TrainSettings, wanted
from model.data.loader import Batches, ShardLoader
from model.evaluate import evaluate
from model.train import train


@pytest.mark.slow
def test_a_few_pairs_are_learned_by_heart(tmp_path: Path) -> None:
    sizes = Sizes(
        images=12, captions=1, alone=0, texts=0, partitions=1, features=16, regions=(2, 4), tokens=(4, 6), positives=0, negatives=0
    )
    corpus = write_corpus(str(tmp_path / "corpus"), sizes).url
    settings = TrainSettings.model_validate(
        {
            "data": {"corpus": corpus, "mix": {"pairs": 1}, "batch": {"pairs": 12}, "token_buckets": [8], "region_buckets": [4]},
            "output": str(tmp_path / "run"),
            "model": {"size": "tiny", "positions": 64, "dropout": 0},
            "objectives": {"cmcl": {"encoding": "separate", "in_batch": True}},
            "optimizer": {"lr": 1e-3, "decay": "constant"},
            "steps": 120,
            "log_every": 1,
            "tensorboard": False,
            "device": "cpu",
        }
    )
    train(settings, ShardLoader(Batches(settings.data, seed=0, masking=settings.masking, wanted=wanted(settings))))
    with open(tmp_path / "run" / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["loss/cmcl"]) > 3 and max(float(row["loss/cmcl"]) for row in rows[-10:]) < 0.05
    report, _ = evaluate(settings.output, corpus, rerank=0)
    assert all(values["R@1"] == 1.0 for values in report["recall"]["separate"].values()), report["recall"]
