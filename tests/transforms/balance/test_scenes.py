"""The features of sentence embeddings that are balanced, and kinds that remain unbalanced."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.config import parse_config
from pipelines.run import corpus_of, run
from pipelines.verify import corpus_hash
from schemas.corpus import Corpus
from tests.transforms.balance.conftest import SETTINGS
from transforms.balance import scenes
from transforms.balance.embeddings import Embeddings
from transforms.balance.scenes import Encoded, Scenes, separating, spread
from transforms.balance.select import select, text_pairs
from transforms.swaps.settings import BalanceSettings

pytest.importorskip("sentence_transformers")


@pytest.fixture(scope="module")
def tables(corpus: Corpus) -> tuple[pa.Table, pa.Table]:
    """The candidates that swap objects, and their captions."""
    candidates, pairs = corpus.open("swap_candidates", "candidates", 0).read(), corpus.open("pairs", "pairs", 0).read()
    objects = pa.array([kind == "object" for kind in candidates["kind"].to_pylist()])
    return candidates.filter(objects), pairs


@pytest.fixture(scope="module")
def embeddings(tables: tuple[pa.Table, pa.Table]) -> Embeddings:
    return Embeddings("embedded", tables[1]["caption"].to_pylist(), None)


def _encoded(tables: tuple[pa.Table, pa.Table], embeddings: Embeddings, most: int, expected: int) -> tuple[Encoded, np.ndarray]:
    candidates, pairs = tables
    captions = pairs["caption"].to_pylist()
    row_of = {pair: row for row, pair in enumerate(pairs["pair_id"].to_pylist())}
    rows = np.array([row_of[pair] for pair in candidates["pair_id"].to_pylist()])
    own = text_pairs(candidates, [captions[row] for row in rows.tolist()])
    found = Encoded(own, rows, Scenes(captions, embeddings.captions), embeddings, most, expected)
    return found, embeddings.differences(own)


@pytest.fixture
def few_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "_LEAST", 20)  # the tables are small


@pytest.mark.usefixtures("few_suffice")
def test_candidates_that_were_not_encoded_are_predicted(tables: tuple[pa.Table, pa.Table], embeddings: Embeddings) -> None:
    few, differences = _encoded(tables, embeddings, len(tables[0]) * 3 // 5, 10 * len(tables[0]))
    chosen = np.ones(len(differences), bool)
    first = few.features(chosen)
    assert first is not None and first.shape == (len(differences), 1) and np.array_equal(first, np.rint(first))
    true = differences @ separating(differences[few.sampled])
    others = np.setdiff1d(np.arange(len(differences)), few.sampled)
    assert len(others) >= len(differences) // 3
    assert np.corrcoef(first[others, 0], true[others])[0, 1] > 0.5
    assert np.corrcoef(first[few.sampled, 0], true[few.sampled])[0, 1] > 0.98  # these are not predicted


@pytest.mark.usefixtures("few_suffice")
def test_each_round_encodes_more_and_adds_a_direction(tables: tuple[pa.Table, pa.Table], embeddings: Embeddings) -> None:
    count = len(tables[0])
    few, _ = _encoded(tables, embeddings, count - 1, count)
    chosen = np.arange(count) % 3 > 0
    sizes, columns = [0], [0]
    for _ in range(few.rounds):
        found = few.features(chosen)
        sizes.append(len(few.sampled))
        columns.append(0 if found is None else found.shape[1])
    assert few.rounds == 3 and all(one < other for one, other in pairwise(sizes)) and sizes[-1] <= count - 1
    assert columns[-1] >= 1 and all(other in (one, one + 1) for one, other in pairwise(columns))
    whole, _ = _encoded(tables, embeddings, count, count)
    assert len(whole.sampled) == count and whole.rounds == 4
    assert whole.features(np.zeros(count, bool)) is None


def test_few_chosen_candidates_get_one_direction(tables: tuple[pa.Table, pa.Table], embeddings: Embeddings) -> None:
    count = len(tables[0])
    whole, differences = _encoded(tables, embeddings, count, count)
    chosen = np.arange(count) % max(2, count // 100) == 0
    assert 20 <= chosen.sum() < 200
    only = whole.features(chosen)
    assert only is not None and np.corrcoef(only[:, 0], differences @ separating(differences[chosen]))[0, 1] > 0.98
    assert np.sqrt(np.square(only).mean()) == pytest.approx(60, rel=0.1)
    assert whole.features(chosen) is None
    fewest, _ = _encoded(tables, embeddings, count, count)
    assert fewest.features(np.arange(count) < 19) is None


def test_kinds_that_remain_unbalanced_are_left_out(tables: tuple[pa.Table, pa.Table]) -> None:
    candidates, pairs = tables
    loose = BalanceSettings(cell=100, tolerance=1000, limit=0.6)
    how = SETTINGS.model_copy(update={"kinds": ("object",), "per_kind": 20, "balance": loose})
    out = select(candidates, pairs, how, True)
    assert not out.kept.any() and out.figures["object"]["unbalanced"] > 0.6
    kept = select(candidates, pairs, how.model_copy(update={"balance": loose.model_copy(update={"limit": None})}), True)
    assert kept.kept.any() and kept.figures["object"]["after_ngrams"] == out.figures["object"]["unbalanced"]


@pytest.mark.parametrize(("rows", "most"), [(0, 5), (3, 5), (5, 5), (1000, 7)])
def test_spread(rows: int, most: int) -> None:
    found = spread(np.arange(rows), most)
    assert len(found) == min(rows, most) and len(set(found.tolist())) == len(found)


def test_vectors_of_the_judge_in_more_partitions_than_images(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": f"{number}.jpg", "width": 64, "height": 64} for number in range(3)]
    notes = [{"id": one["id"], "image_id": one["id"], "caption": f"A man in a red shirt rides horse number {one['id']}."} for one in images]
    (tmp_path / "captions.json").write_text(json.dumps({"images": images, "annotations": notes}), encoding="utf-8")
    captions = {"format": "coco", "name": "few", "captions": str(tmp_path / "captions.json")}
    hashes = set()
    for partitions in (1, 16):
        config = {"corpus": str(tmp_path / f"in-{partitions}"), "partitions": partitions, "pixels": False, "truth": {}, "tfidf": None}
        run(parse_config(config | {"pairs": [captions], "swaps": {"balance": {}, "min_count": 1}}, str(tmp_path)))
        held, index = corpus_of(str(config["corpus"]))
        assert held.manifest("swap_selection") is not None
        hashes.add(corpus_hash(held, index)["corpus"])
    assert len(hashes) == 1


ON_ANOTHER_CPU = """
import sys, types
import numpy as np
from transforms.balance.ngrams import TextPair
from transforms.balance.scenes import Encoded, Scenes
rng = np.random.default_rng(5)
words = [f"w{number}" for number in range(300)]
captions = [" ".join(rng.choice(words, 8)) for _ in range(400)]
width = np.linspace(1, 0.05, 48)
vectors, differences = ((rng.normal(size=(rows, 48)) * width + 0.05).astype(np.float32) for rows in (400, 9000))
rows = rng.integers(0, 400, 9000)
pairs = [TextPair(captions[row], f"{words[at % 300]} " + captions[row].split(" ", 1)[1], 0, 0) for at, row in enumerate(rows)]
scenes = Scenes(captions, vectors)
sys.stdout.buffer.write(scenes.captions.tobytes())
known = types.SimpleNamespace(differences=lambda some: differences[: len(some)])
for most in (9000, 1000):
    near = Encoded(pairs, rows, scenes, known, most, 9000)
    sys.stdout.buffer.write(b"".join(near.features(rows % 2 > 0).tobytes() for _ in range(2)))
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the kernels are those of x86-64")
@pytest.mark.slow
def test_features_do_not_depend_on_the_kernels_of_blas() -> None:
    root = str(Path(__file__).parents[3])
    found = [
        subprocess.run(
            [sys.executable, "-c", ON_ANOTHER_CPU],
            env={**os.environ, "OPENBLAS_CORETYPE": kernels, "PYTHONPATH": root},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for kernels in ("Prescott", "Haswell")
    ]
    assert len(found[0]) == (400 * 32 + 2 * 3 * 9000) * 8 and found[0] == found[1]
