"""Every stage that reuses rows, after an addition, a removal and a change at once: the files of a fresh run, of few rows made."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest

from schemas.tables import VOCABULARY
from tests.given import given_images, given_pairs, scene_pairs
from tests.transforms.core.test_rows import content, made
from tests.transforms.retrieval import help as retrieval
from transforms.balance.stages import SwapCandidates
from transforms.core.params import NoParams
from transforms.core.stage import Stage
from transforms.core.task import Task
from transforms.engines.parsers.load import caption_parser
from transforms.graphs.stage import GraphParams, ParseCaptions
from transforms.graphs.vocabulary import summarise, vocabulary_table
from transforms.swaps.settings import BalanceSettings, SwapSettings
from transforms.truth.settings import TruthSettings
from transforms.truth.stage import EncodeCaptions

PAIRS = scene_pairs(8)
BEFORE, AFTER = PAIRS[:-3], [*PAIRS[2:-4], ("00005", "a small dog is next to the big tree"), *PAIRS[-3:]]
OF_CHANGED_IMAGES = sum(key in {changed for changed, _ in {*BEFORE} ^ {*AFTER}} for key, _ in {*AFTER})  # captions


class HeldVocabulary(Stage[NoParams]):
    """The vocabulary of all captions."""

    name = "vocabulary"
    corpus_wide = True
    writes = {"vocabulary": VOCABULARY}

    def process(self, task: Task, payload: Any) -> None:
        keys, captions = zip(*PAIRS, strict=True)
        task.write("vocabulary", vocabulary_table(summarise(keys, captions, caption_parser("embedded").parse(list(captions)))))


def changed(folder: Path, before: list[Stage], after: list[Stage]) -> int:
    """Makes a corpus twice, and its second state afresh; the last stage's files must be equal. Returns the number of rows made."""
    name = after[-1].name
    made(folder / "grown", before)
    grown, fresh = made(folder / "grown", after), made(folder / "fresh", after)
    assert content(grown, name) == content(fresh, name)
    (manifest, whole) = grown.manifest(name), fresh.manifest(name)
    assert manifest and whole and whole.made == whole.counts.rows_in == manifest.counts.rows_in
    return manifest.made


def pairs_and(*stages: Stage) -> tuple[list[Stage], list[Stage]]:
    return [given_pairs(BEFORE), *stages], [given_pairs(AFTER), *stages]


def test_caption_vectors(tmp_path: Path) -> None:
    assert changed(tmp_path, *pairs_and(EncodeCaptions(TruthSettings(encoder=None)))) == 4


def test_caption_vectors_of_an_encoder(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    assert changed(tmp_path, *pairs_and(EncodeCaptions(TruthSettings()))) == 4


def test_back_translation(tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2")
    pytest.importorskip("sentence_transformers")
    from transforms.back_translation.settings import BackTranslationSettings
    from transforms.back_translation.stage import BackTranslate

    how = BackTranslationSettings(pivot_beam=1, pivot_texts=1, beam=2, n_best=2)
    assert changed(tmp_path, *pairs_and(BackTranslate(how))) == OF_CHANGED_IMAGES


def test_candidates_for_blind_balance(tmp_path: Path) -> None:
    how = SwapSettings(min_count=1, per_kind=2, balance=BalanceSettings(candidates=4))
    stages = [ParseCaptions(GraphParams(swaps=how)), HeldVocabulary(NoParams()), SwapCandidates(how)]
    assert changed(tmp_path, *pairs_and(*stages)) == OF_CHANGED_IMAGES


def test_regions(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    from tests.transforms.regions.help import scene_files
    from transforms.regions.detect import DetectRegions, RegionParams

    paths = scene_files(tmp_path / "photos", 5)
    stages = [given_images(paths[:4]), DetectRegions(RegionParams())], [given_images(paths[1:]), DetectRegions(RegionParams())]
    assert changed(tmp_path, *stages) == 1


@pytest.mark.slow
def test_vectors_of_images_and_texts(tmp_path: Path) -> None:
    for package in ("faiss", "sentence_transformers", "imagehash", "threadpoolctl"):
        pytest.importorskip(package)
    inputs = retrieval.write_inputs(tmp_path / "inputs")
    captions = inputs / "captions.csv"
    rows = list(csv.reader(captions.read_text().splitlines()))
    hidden = tmp_path / "hidden"
    shutil.move(inputs / "alone" / "alone3.png", hidden)
    _write(captions, [row for row in rows if row[0] != "paired5.png"])
    grown = retrieval.made(inputs, tmp_path / "grown")
    shutil.move(hidden, inputs / "alone" / "alone3.png")
    (inputs / "alone" / "alone4.png").unlink()
    _write(captions, rows[:-1] + [["paired0.png", "a cat"]])
    corpora = [retrieval.made(inputs, tmp_path / name) for name in ("grown", "fresh")]
    for stage, many in (("image_vectors", 2), ("text_vectors", 2), ("regions", 1), ("image_regions", 1)):
        assert content(corpora[0], stage) == content(corpora[1], stage)
        manifest = corpora[0].manifest(stage)
        assert manifest and (stage, manifest.made) == (stage, many)
    assert grown.url == corpora[0].url


def _write(path: Path, rows: list[list[str]]) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
