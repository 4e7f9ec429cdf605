"""VCR: a whole run, tags and their regions, the metrics, what cannot be used; and its annotations as captions."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.data.settings import DataSettings
from model.data.shards import Shards
from model.downstream import TaskBatches, TaskRows
from model.heads import Network
from model.objectives.base import Views
from model.tasks.base import Row
from model.tasks.vcr import Choice, Vcr, VcrSettings
from model.transformer import ModelSettings, Shape
from model.trials import CorpusImages
from schemas.errors import SourceError
from schemas.vcr import pieces
from tests.model.tasks.files import run, write_lines
from tests.transforms.ingest.source_help import bad, good, pair_source, read_all


def annotation(number: int, **changes: Any) -> dict[str, Any]:
    """An annotation of one of the images 1 to 7, with two objects; the right answer names the second, the right rationale both."""
    image, choices = 1 + number % 7, [["w20", "w21"], ["w22", [0]], ["w23", [1], "w24"], ["w25"]]
    return {
        "movie": "m",
        "objects": ["w5", "w6"],
        "interesting_scores": [0],
        "img_fn": f"movie/{image}.jpg",
        "metadata_fn": f"movie/{image}.json",
        "question": ["w10", [0, 1], "w11"],
        "answer_choices": choices,
        "answer_label": 2,
        "rationale_choices": [["w30"], ["w31", "w32"], ["w33"], ["w34", [1, 0]]],
        "rationale_label": 3,
        "annot_id": f"val-{number}",
    } | changes


def write_vcr(folder: Path, split: str, rows: list[dict[str, Any]]) -> None:
    """Annotations, and the metadata of the images 1 to 7: objects at the left and the right half of a photo of 200 x 100 px."""
    write_lines(folder / f"{split}.jsonl", rows)
    for image in range(1, 8):
        path = folder / "vcr1images/movie" / f"{image}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        boxes = [[0, 0, 100, 100, 1.0], [100, 0, 200, 100, 0.9]]
        path.write_text(json.dumps({"boxes": boxes, "segms": [[], []], "names": ["w5", "w6"], "width": 200, "height": 100}))


def test_a_whole_run(tmp_path: Path, few: str) -> None:
    for split, rows in (("train", 25), ("val", 14)):
        write_vcr(tmp_path / "files", split, [annotation(number) for number in range(rows)])
    report = run(tmp_path, few, "vcr", {"folder": "files"}, "--hidden")["val"]
    assert report["rows"] == 14 * 8 and not report["left_out"] and not report["cut"]
    for part in ("metrics", "metrics_image_hidden"):
        found = report[part]
        assert set(found) == {"qa", "qar", "joint"} and 0 <= found["joint"] <= min(found["qa"], found["qar"]) <= 1


@pytest.fixture
def data(few: str) -> DataSettings:
    return DataSettings(corpus=few, batch={"pairs": 8}, max_tokens=24, max_regions=9)


def test_tags_are_names_tied_to_their_regions(tmp_path: Path, data: DataSettings) -> None:
    write_vcr(tmp_path, "train", [annotation(0)])
    task = Vcr(VcrSettings(folder=str(tmp_path)))
    batches = TaskBatches(task, data, seed=0)
    rows, facts, tokenizer = batches.held.rows, batches.facts, Shards(data.corpus).tokenizer
    assert [row.target.right for row in rows] == [False, False, True, False] + [False] * 3 + [True]
    told = [" ".join(words.strip() for words in row.texts) for row in rows]
    assert told[2] == "w10 w5 and w6 w11 w23 w6 w24" and told[7] == "w10 w5 and w6 w11 w23 w6 w24 w34 w6 and w5"
    batch = batches.held.batch("pairs", np.arange(8), facts.vocabulary)
    assert batch.marks is not None and batch.texts is not None and batch.images is not None
    named = [tokenizer.encode([name])[0].tolist() for name in ("w5", "w6")]
    for row, (ids, marks) in enumerate(zip(batch.texts.ids.tolist(), batch.marks.tolist(), strict=True)):
        for number, name in enumerate(named, 1):
            at = [place for place, (_, own) in enumerate(marks) if own == number]
            assert at and [ids[place] for place in at] == name * (len(at) // len(name))
        assert {role for role, _ in marks} == ({0, 1} if row < 4 else {0, 1, 2})
    shown = CorpusImages(data.corpus).find("1", None)
    assert not isinstance(shown, str)
    assert np.allclose(batch.images.boxes[0, :2, :4], [[0, 0, 0.5, 1], [0.5, 0, 1, 1]])  # the objects, then what was detected
    assert np.array_equal(batch.images.features[0, 2:], np.pad(shown.features, ((0, 9), (0, 0)))[: batch.images.features.shape[1] - 2])
    torch.manual_seed(0)
    shape = Shape(vocabulary=facts.vocabulary.size, features=facts.features, geometry=facts.geometry, classes=facts.classes)
    network = Network(ModelSettings(size="tiny", positions=24, max_regions=9, dropout=0), shape)
    network.add_task(task.head(network, ()))
    loss = task.loss(Views(network, batches[0])) / task.count(batches[0])
    loss.backward()
    assert float(loss.detach()) == pytest.approx(np.log(2), abs=0.3) and network.task is not None
    assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in network.task.parameters())
    with torch.no_grad():
        scores = task.scores(Views(network, batch))
        other = replace(
            batch, marks=torch.where(batch.marks == 2, 1, batch.marks) * torch.tensor([0, 1]) + batch.marks * torch.tensor([1, 0])
        )
        changed = task.scores(Views(network, other))
        alone = torch.cat([task.scores(Views(network, batches.held.batch("pairs", np.array([row]), facts.vocabulary))) for row in range(8)])
    assert not torch.allclose(scores, changed, atol=1e-6) and torch.allclose(scores, alone, atol=1e-5)


def test_an_object_beyond_the_regions_that_are_shown_has_no_tie(tmp_path: Path, data: DataSettings) -> None:
    write_vcr(tmp_path, "train", [annotation(0)])
    task = Vcr(VcrSettings(folder=str(tmp_path)))
    batches = TaskBatches(task, data.model_copy(update={"max_regions": 1}), seed=0)
    facts = batches.facts
    shape = Shape(vocabulary=facts.vocabulary.size, features=facts.features, geometry=facts.geometry, classes=facts.classes)
    network = Network(ModelSettings(size="tiny", positions=24, max_regions=9, dropout=0), shape)
    network.add_task(task.head(network, ()))
    batch = batches[0]
    assert batch.images is not None and batch.images.counts.tolist() == [1] * 8
    assert batch.marks is not None and task.scores(Views(network, batch)).isfinite().all()
    untied = replace(batch, marks=torch.where(batch.marks == 2, torch.tensor([2, 0]), batch.marks))
    assert torch.equal(task.scores(Views(network, batch)), task.scores(Views(network, untied)))


def test_metrics() -> None:
    def scored(question: str, answers: list[float], rationales: list[float]) -> list[tuple[float, Choice]]:
        return [
            (score, Choice(question, kind, at == 1, ()))
            for kind, scores in (("answer", answers), ("rationale", rationales))
            for at, score in enumerate(scores)
        ]

    told = scored("a", [0, 2, 1, 0], [0, 2, 1, 0]) + scored("b", [0, 1, 2, 0], [0, 3, 2, 0]) + scored("c", [0, 9, 2, 0], [5, 1, 0, 0])
    found = Vcr(None).measure(np.array([score for score, _ in told]), [Row("", ("",), choice) for _, choice in told], ())
    assert found == pytest.approx({"qa": 2 / 3, "qar": 2 / 3, "joint": 1 / 3})
    constant = Vcr(None).measure(np.zeros(len(told)), [Row("", ("",), choice) for _, choice in told], ())
    assert constant == {"qa": 0, "qar": 0, "joint": 0}  # ties go to the first choice, which is wrong here


CASES: list[tuple[dict[str, Any], str]] = [
    ({"question": ["w1", [2]]}, "a tag has no object"),
    ({"question": ["w1", [-1]]}, "a tag has no object"),
    ({"question": []}, "a sentence is not a list of words and tags"),
    ({"question": "w1 w2"}, "a sentence is not a list of words and tags"),
    ({"question": ["w1", []]}, "a sentence is not a list of words and tags"),
    ({"answer_label": 4}, "answer_label is not the number of a choice"),
    ({"answer_label": None}, "answer_label is not the number of a choice"),
    ({"rationale_label": True}, "rationale_label is not the number of a choice"),
    ({"rationale_choices": []}, "rationale_choices is not a list of sentences"),
    ({"answer_choices": [["w1"], ["w2"], ["w3"], 5]}, "a sentence is not a list of words and tags"),
]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        *CASES,
        ({"objects": ["w5"]}, "its metadata does not have a box for each object"),
        ({"metadata_fn": "../1.json"}, "its metadata_fn is outside the folder of images"),
        ({"img_fn": "movie/99.jpg"}, "the corpus has no such image"),
    ],
)
def test_annotations_that_cannot_be_used_are_counted(tmp_path: Path, data: DataSettings, changes: dict[str, Any], why: str) -> None:
    write_vcr(tmp_path, "train", [annotation(0), annotation(1, **changes)])
    held = TaskRows(Vcr(VcrSettings(folder=str(tmp_path))), ["train"], data, Shards(data.corpus))
    assert len(held.rows) == 8 and held.left_out == {why: 8 if "img_fn" in changes else 1}


def test_an_annotation_without_labels_is_counted(tmp_path: Path, data: DataSettings) -> None:
    unlabelled = {key: value for key, value in annotation(1).items() if not key.endswith("_label")}  # as in the test split
    write_vcr(tmp_path, "train", [annotation(0), unlabelled])
    held = TaskRows(Vcr(VcrSettings(folder=str(tmp_path))), ["train"], data, Shards(data.corpus))
    ((why, count),) = held.left_out.items()
    assert count == 1 and why.startswith("it is no JSON object with question, answer_choices")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "vcr1images/movie/1.json does not exist"),
        ("{", "vcr1images/movie/1.json is not JSON"),
        ("[]", "vcr1images/movie/1.json must be a JSON object with the lists boxes"),
        ('{"boxes": [[0, 0, 1, 1, 1], [0, 0, 1, 1, 1]]}', "its metadata does not have boxes, width and height in px"),
        (
            '{"boxes": [[0, 0, 1, 1, 1], [3, 0, 1, 1, 1]], "width": 9, "height": 9}',
            "its metadata does not have boxes, width and height in px",
        ),
        ('{"boxes": [[0, 0, 1], 5], "width": 9, "height": 9}', "its metadata does not have boxes, width and height in px"),
    ],
)
def test_metadata_that_cannot_be_read_is_named(tmp_path: Path, data: DataSettings, content: str | None, message: str) -> None:
    write_vcr(tmp_path, "train", [annotation(0)])
    path = tmp_path / "vcr1images/movie/1.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(SourceError, match=re.escape(message)):
        TaskRows(Vcr(VcrSettings(folder=str(tmp_path))), ["train"], data, Shards(data.corpus))


def test_pieces_of_a_sentence() -> None:
    assert pieces(["Why", "is", [1, 0], "here", "?"], ["dog", "person"]) == [
        ("Why is", None),
        ("person", 1),
        ("and", None),
        ("dog", 0),
        ("here ?", None),
    ]
    assert pieces([[0], [0]], ["dog"]) == [("dog", 0), ("dog", 0)]


def test_annotations_as_captions(tmp_path: Path) -> None:
    write_vcr(tmp_path, "train", [annotation(0), annotation(1, img_fn=3), *(annotation(2, **changes) for changes, _ in CASES)])
    with open(tmp_path / "train.jsonl", "a", encoding="utf-8") as file:
        file.write("{\n\n[]\n")
    rows = read_all(pair_source(format="vcr", captions=str(tmp_path / "train.jsonl")))
    first, last = good(rows)  # a wrong answer, which the last case has, is not looked at
    assert first["key"] == first["name"] == "movie/1.jpg" and last["key"] == "movie/3.jpg"
    assert first["caption"] == b"w10 w5 and w6 w11 w23 w6 w24 w34 w6 and w5"
    assert last["caption"] == b"w10 w5 and w6 w11 w3 w34 w6 and w5"  # of that case: its third answer is w3
    told = [detail for _, detail in bad(rows)]
    assert "an annotation requires an 'img_fn'" in told[0] and told[1:-2] == [why for _, why in CASES[:-1]]
    assert "not valid JSON" in told[-2] and "an annotation requires an 'img_fn'" in told[-1]
