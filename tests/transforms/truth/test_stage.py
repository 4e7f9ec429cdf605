"""The judge within a run: TF-IDF negatives, without an encoder, so that the core alone is enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config import parse_config
from pipelines.run import run
from pipelines.scenes import make_scenes
from pipelines.verify import corpus_hash, verify
from schemas.corpus import Corpus, open_corpus
from schemas.manifest import StageManifest
from transforms.tfidf.settings import TfidfSettings

SCENES = 24
LIMIT = TfidfSettings().truth or 0.0


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    make_scenes(str(folder), SCENES, 3, pixels=False)
    return folder


def made(scenes: Path, name: str, partitions: int = 2, **keys: object) -> tuple[Corpus, StageManifest]:
    settings = {"corpus": name, "partitions": partitions, "pixels": False, "tfidf": {"k": 6}, "truth": {"encoder": None}} | keys
    pairs = [{"format": "coco", "name": "scenes", "captions": str(scenes / "captions-*.json")}]
    run(parse_config(settings | {"pairs": pairs}, str(scenes)))
    corpus = Corpus(str(scenes / name), partitions)
    manifest = corpus.manifest("tfidf")
    assert manifest
    return corpus, manifest


def rows(corpus: Corpus, table: str = "rewrites") -> list[dict]:
    return [row for part in range(corpus.partitions) for row in corpus.open("tfidf", table, part).read().to_pylist()]


def test_negatives_are_judged_and_the_expected_share_is_in_the_manifest(scenes):
    corpus, manifest = made(scenes, "judged")
    found = rows(corpus)
    assert found and all(0 <= row["truth"] <= LIMIT for row in found)
    refused = [row for row in rows(corpus, "rejects") if row["reason"] == "judged_true"]
    assert refused and manifest.counts.reasons["judged_true"] == len(refused) and "inside_margin" not in manifest.counts.reasons
    expected = sum(row["truth"] for row in found) / len(found)
    assert manifest.extra["expected_false_negatives"] == pytest.approx(expected, abs=1e-5)
    examples = [row for part in range(2) for row in corpus.open("examples", "examples", part).read().to_pylist()]
    assert sorted(one["truth"] for row in examples for one in row["negatives"]) == sorted(row["truth"] for row in found)
    assert not verify(*open_corpus(corpus.url))


def test_the_same_bytes_whatever_the_partitions(scenes):
    hashes = {corpus_hash(*open_corpus(made(scenes, f"in-{count}", count)[0].url))["corpus"] for count in (1, 3)}
    assert len(hashes) == 1


def test_a_limit_of_one_only_scores_and_without_a_judge_nothing_changes(scenes):
    scored, _ = made(scenes, "scored", tfidf={"k": 6, "truth": 1.0, "margin": 0.1})
    off, _ = made(scenes, "off", tfidf={"k": 6, "truth": None})
    without, manifest = made(scenes, "without", truth=None)
    plain = [{**row, "truth": None} for row in rows(scored)]
    assert plain == rows(off) == rows(without) and any(row["truth"] > LIMIT for row in rows(scored))
    assert "expected_false_negatives" not in manifest.extra
    hidden, manifest = made(scenes, "hidden", tfidf={"k": 6, "truth_scores": False})
    assert {row["truth"] for row in rows(hidden)} == {None} and manifest.extra["expected_false_negatives"] <= LIMIT
