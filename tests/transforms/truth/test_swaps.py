"""The judge of swaps: asked while they are drafted, within a run, and fitted to swaps whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.config import parse_config
from pipelines.run import run
from pipelines.scenes import make_scenes
from pipelines.verify import verify
from schemas.corpus import Corpus, open_corpus
from transforms.truth.corpora import Sample
from transforms.truth.fit import fit_swaps
from transforms.truth.judge import judge_of
from transforms.truth.swap_corpora import scene_swaps
from transforms.truth.swaps import FAMILIES, SwapJudge


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    make_scenes(str(folder), 24, 3, pixels=False)
    return folder


def made(scenes: Path, name: str, partitions: int = 2, **swaps: Any) -> Corpus:
    pairs = [{"format": "coco", "name": "scenes", "captions": str(scenes / "captions-*.json")}]
    keys = {"corpus": name, "partitions": partitions, "pixels": False, "tfidf": None, "truth": {"encoder": None}, "pairs": pairs}
    run(parse_config({**keys, "swaps": {"per_kind": 4, "min_count": 2} | swaps}, str(scenes)))
    return Corpus(str(scenes / name), partitions)


def rows(corpus: Corpus, stage: str = "swaps", table: str = "rewrites") -> list[dict]:
    return [row for part in range(corpus.partitions) for row in corpus.open(stage, table, part).read().to_pylist()]


def test_swaps_carry_their_probability_and_a_limit_refuses_some(scenes):
    scored, off = rows(made(scenes, "scored", truth=1.0)), rows(made(scenes, "off", truth=None))
    assert [{**row, "truth": None} for row in scored] == off and all(0 < row["truth"] < 1 for row in scored)
    limit = round((min(row["truth"] for row in scored) + max(row["truth"] for row in scored)) / 2, 6)
    corpus = made(scenes, "judged", truth=limit)
    judged, manifest = rows(corpus), corpus.manifest("swaps")
    refused = [row for row in rows(corpus, table="rejects") if row["reason"] == "judged_true"]
    assert manifest and judged and refused and len(refused) == manifest.counts.reasons["judged_true"]
    assert max(row["truth"] for row in judged) <= np.float32(limit)
    assert manifest.extra["expected_false_negatives"] == pytest.approx(np.mean([row["truth"] for row in judged]), abs=1e-6)
    assert not verify(*open_corpus(corpus.url))
    hidden = made(scenes, "hidden", partitions=3, truth=limit, truth_scores=False)
    assert rows(hidden) == [{**row, "truth": None} for row in judged]
    assert hidden.manifest("swaps").extra == manifest.extra  # type: ignore[union-attr]


def test_balanced_swaps_and_their_counterparts_are_judged(scenes):
    corpus = made(scenes, "balanced", truth=1.0, balance={"candidates": 8, "tolerance": 50, "cell": 100})
    found, manifest = rows(corpus, "balance"), corpus.manifest("balance")
    negatives = [row["truth"] for row in found if row["polarity"] == "negative"]
    positives = [row["truth"] for row in found if row["polarity"] == "positive"]
    assert manifest and negatives and positives and max(negatives) < 0.5 < min(positives)
    assert manifest.extra["expected_false_negatives"] == pytest.approx(np.mean(negatives), abs=1e-6)


def test_weights_are_fitted_to_every_family(capsys):
    samples = [scene_swaps(25, 5)]
    assert {"object", "attribute", "count", "order"} <= samples[0].keys() <= FAMILIES.keys()
    assert {0, 2} <= set(samples[0]["object"].evidence["labels"].tolist())
    evidence = {name: np.tile(column, 20) for name, column in samples[0]["object"].evidence.items()}
    # As if what the vocabulary often has beside the caption's objects were there.
    often = evidence["presence"] > np.median(evidence["presence"])
    samples[0]["object"] = Sample(evidence, often.astype(np.float64), np.ones(len(often)), np.arange(len(often)))
    weights = fit_swaps(samples, 1)
    assert json.dumps(weights) == json.dumps(fit_swaps(samples, 1)) and "swaps, object" in capsys.readouterr().out
    judge = SwapJudge(weights)
    chances = np.array(
        [judge.millionths("object", row) for row in zip(*(evidence[name].tolist() for name in FAMILIES["object"]), strict=True)]
    )
    assert chances[often].mean() > 900_000 and chances[~often].mean() < 100_000
    assert 0 < judge.millionths("order", (0,) * len(FAMILIES["order"])) < 300_000  # too few for trees: towards the share of all


def test_a_new_object_that_is_likely_there_is_likelier_true():
    judge, names = judge_of().swaps, FAMILIES["object"]
    base = dict.fromkeys(names, 0) | {"words": 11, "captions": 1, "frequency": 8, "steps": 4, "kind": 1, "fit": -4}
    likely, unlikely = (judge.millionths("object", tuple((base | extra).values())) for extra in ({"presence": 27, "usual": 27, "steps": 2},
                        {"presence": 5, "usual": 5, "fit": -32}))  # fmt: skip
    assert unlikely < likely
