"""Every stage that reuses rows, after an addition, a removal and a change at once: the files of a fresh run, of few rows made."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from schemas import ids
from schemas.corpus import Corpus
from schemas.tables import IMAGES, TEXTS, VOCABULARY
from tests.given import CLASSES, Given, GivenParams, given_images, given_pairs, scene_pairs, scene_regions
from tests.transforms.core.test_rows import PARTITIONS, content, made
from tests.transforms.retrieval import help as retrieval
from tests.transforms.tfidf.test_additions import PhotoParams, Photos
from transforms.balance.stages import SwapCandidates
from transforms.core.params import NoParams
from transforms.core.stage import Stage
from transforms.core.task import Task
from transforms.engines.parsers.load import caption_parser
from transforms.examples.join import Join
from transforms.examples.tokens.settings import TokenSettings
from transforms.examples.tokens.stages import MakeTokenizer, Tokenise
from transforms.graphs.stage import GraphParams, ParseCaptions
from transforms.graphs.vocabulary import summarise, vocabulary_table
from transforms.regions.columns import named_schema
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


def regions_of(stage: str, numbers: Sequence[int]) -> Given:
    found = scene_regions(max(numbers) + 1).params.rows.to_pylist()
    rows = [row for number, row in enumerate(found) if number in numbers]
    return Given(GivenParams(stage=stage, table="regions", rows=pa.Table.from_pylist(rows, schema=named_schema(1, 1, CLASSES))))


def of_the_join(scenes: Sequence[int], alone: Sequence[int], sentences: Sequence[str]) -> list[Stage]:
    """Pairs with regions, images without captions, and sentences."""
    captions = {str(number): [] for number in scenes}
    for key, caption in scene_pairs(max(scenes) + 1):
        if int(key) in scenes:
            captions[str(int(key))].append(caption)
    photos = {f"{int(key):05d}": (key, tuple(own)) for key, own in captions.items()}
    images = [{"image_id": ids.image_id("made", f"{at:05d}"), "source": "made", "width": 1, "height": 1, "sha256": None} for at in alone]
    texts = [{"text_id": str(number), "text": text, "source": "made"} for number, text in enumerate(sentences)]
    return [
        Photos(PhotoParams(photos=photos)),
        Given(GivenParams(stage="images", table="images", rows=pa.Table.from_pylist(images, schema=IMAGES))),
        Given(GivenParams(stage="texts", table="texts", rows=pa.Table.from_pylist(texts, schema=TEXTS), place="text_id")),
        regions_of("regions", scenes[1:]),
        regions_of("image_regions", alone[:-1]),
    ]


@pytest.mark.parametrize("alone", [(20, 21, 22, 23), (20, 2, 3, 23)], ids=["apart", "also with captions"])
def test_examples_and_tokens(tmp_path: Path, alone: tuple[int, ...]) -> None:
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz.,"]))
    how = TokenSettings(kind="wordpiece", vocabulary=str(vocabulary))
    rest = [Join(NoParams()), MakeTokenizer(how), Tokenise(how)]
    before = of_the_join(range(8), alone[1:], ["a dog", "a cat"])
    after = of_the_join([0, 1, 2, 4, 5, 6, 7, 8, 9], alone[:-1], ["a dog", "a cat", "two cats"])
    for stages in (rest[:1], rest):
        assert changed(tmp_path / str(len(stages)), [*before, *stages], [*after, *stages]) > 0
    tokens = Corpus(str(tmp_path / "3" / "grown"), PARTITIONS)
    rows = [row for part in range(PARTITIONS) for row in tokens.open("tokens", "image_index", part).read().to_pylist()]
    assert len(rows) == 2 and any(row["region_row"] is not None for row in rows)


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
