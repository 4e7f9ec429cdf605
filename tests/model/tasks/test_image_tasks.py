"""The tasks on images and texts, on files in their published layouts: whole runs through the command, metrics, what cannot be used."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.data.settings import DataSettings
from model.data.shards import Shards
from model.downstream import TaskBatches, TaskRows
from model.heads import Network
from model.masking import overlaps
from model.objectives.base import Views
from model.optimizer import OptimizerSettings, optimizer_of
from model.tasks.base import Row, Task, TaskSettings
from model.tasks.nlvr2 import Nlvr2, Nlvr2Settings
from model.tasks.refexp import Refexp, RefexpSettings, iou
from model.tasks.snli_ve import SnliVe
from model.tasks.vqa import Answers, Vqa, VqaSettings
from model.transformer import ModelSettings, Shape
from model.trials import CorpusImages
from schemas.errors import ConfigError, SourceError
from tests.model.tasks.files import run, sentence, write_lines

LABELS = ("contradiction", "entailment", "neutral")


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_vqa(folder: Path, split: str, rows: int, rng: np.random.Generator, answers: tuple[str, ...] = ("yes", "no", "2")) -> None:
    """Questions about the images 1 to 7; ten answers, of which at least seven are the same."""
    questions, annotations = [], []
    for number in range(rows):
        chosen = answers[number % len(answers)]
        people = [chosen] * 7 + rng.choice(answers, 3).tolist()
        questions.append({"image_id": 1 + number % 7, "question": sentence(rng), "question_id": 1000 + number})
        annotations.append(
            {
                "question_type": "is",
                "multiple_choice_answer": chosen,
                "answers": [{"answer": one, "answer_confidence": "yes", "answer_id": at + 1} for at, one in enumerate(people)],
                "image_id": 1 + number % 7,
                "answer_type": "other",
                "question_id": 1000 + number,
            }
        )
    write_json(folder / f"v2_OpenEnded_mscoco_{split}_questions.json", {"info": {}, "questions": questions})
    write_json(folder / f"v2_mscoco_{split}_annotations.json", {"info": {}, "annotations": annotations})


def write_snli_ve(folder: Path, split: str, rows: int, rng: np.random.Generator) -> None:
    made = [
        {
            "Flickr30K_ID": str(1 + number % 7),
            "pairID": f"{number}",
            "sentence1": "x",
            "sentence2": sentence(rng),
            "gold_label": LABELS[number % 3],
        }
        for number in range(rows)
    ]
    write_lines(folder / f"snli_ve_{split}.jsonl", made)


def test_vqa_end_to_end_with_the_image_hidden(tmp_path: Path, few: str) -> None:
    rng = np.random.default_rng(0)
    for split, rows in (("train2014", 100), ("val2014", 30)):
        write_vqa(tmp_path / "files", split, rows, rng)
    report = run(tmp_path, few, "vqa", {"folder": "files"}, "--hidden")
    found = report["val2014"]
    assert found["rows"] == 30 and not found["left_out"] and 0 <= found["metrics_image_hidden"]["accuracy"] <= 1
    assert 0.3 < found["metrics"]["majority"] < 0.7 and 0 <= found["metrics"]["accuracy"] <= 1


@pytest.fixture(scope="module")
def data(few: str) -> DataSettings:
    return DataSettings(corpus=few, batch={"pairs": 6}, max_tokens=24, max_regions=9)


def _network(task: Task, batches: TaskBatches) -> Network:
    facts = batches.facts
    torch.manual_seed(0)
    network = Network(
        ModelSettings(size="tiny", positions=24, max_regions=9),
        Shape(vocabulary=facts.vocabulary.size, features=facts.features, geometry=facts.geometry, classes=facts.classes),
    )
    network.add_task(task.head(network, facts.labels))
    return network.eval()


def _losses(task: Task, data: DataSettings) -> tuple[list[float], Network, TaskBatches]:
    """The loss of three batches, each divided by its count, every parameter of the head having a gradient."""
    batches = TaskBatches(task, data, seed=0)
    network, found = _network(task, batches), []
    for step in range(3):
        loss = task.loss(Views(network, batches[step])) / task.count(batches[step])
        loss.backward()
        found.append(float(loss.detach()))
    assert network.task is not None
    assert all(part.grad is not None and part.grad.isfinite().all() for part in network.task.parameters())
    return found, network, batches


def test_snli_ve(tmp_path: Path, data: DataSettings) -> None:
    write_snli_ve(tmp_path, "train", 30, np.random.default_rng(1))
    losses, _, batches = _losses(SnliVe(TaskSettings(folder=str(tmp_path))), data)
    assert all(loss == pytest.approx(np.log(3), abs=0.3) for loss in losses) and batches.facts.labels == LABELS
    batch = batches[0]
    images = CorpusImages(data.corpus)
    for place, name in enumerate(batch.names):  # the row's own photo and label
        number = int(name.partition(":")[2]) - 1
        shown = images.find(str(1 + number % 7), None)
        assert not isinstance(shown, str) and batch.images is not None and batch.targets is not None
        assert np.array_equal(batch.images.features[place, : len(shown.boxes)], shown.features) and batch.targets[place] == number % 3


@pytest.mark.parametrize("form", ["triplet", "pair", "pair_biattn"])
def test_nlvr2(tmp_path: Path, data: DataSettings, form: Any) -> None:
    rng = np.random.default_rng(2)
    rows = [{"identifier": f"train-1-{number}-0", "sentence": sentence(rng), "label": str(number % 2 == 0)} for number in range(12)]
    write_lines(tmp_path / "train.json", rows)

    class Named(Nlvr2):  # images of the test's corpus instead of the set's own
        def _row(self, number: int, held: Any, names: Any) -> Any:
            name, texts, label, shown = super()._row(number, held, names)
            assert shown == (f"train-1-{number - 1}-img0", f"train-1-{number - 1}-img1")
            return name, texts, label, (str(1 + number % 7), str(1 + (number + 3) % 7))

    task = Named(Nlvr2Settings(folder=str(tmp_path), form=form))
    losses, network, batches = _losses(task, data)
    assert all(loss == pytest.approx(np.log(2), abs=0.3) for loss in losses)
    numbers = np.arange(12)
    whole = batches.held.batch("pairs", numbers, batches.facts.vocabulary)
    alone = [batches.held.batch("pairs", numbers[[one]], batches.facts.vocabulary) for one in range(12)]  # other padding
    with torch.no_grad():
        scores = task.scores(Views(network, whole))
        single = torch.cat([task.scores(Views(network, one)) for one in alone])
    assert torch.allclose(scores, single, atol=1e-4) and whole.images is not None and len(whole.images) == 24
    swapped = whole.images.take(torch.arange(24).roll(12))
    with torch.no_grad():
        assert not torch.allclose(task.scores(Views(network, type(whole)("pairs", whole.names, swapped, whole.texts))), scores, atol=1e-5)


def write_refexp(folder: Path, rows: list[tuple[int, list[float], int, int]], prefix: str = "finetune_refcoco") -> None:
    """Expressions of (image, box x, y, width, height, and the photo's sides)."""
    images = [
        {"id": at, "original_id": image, "caption": "w1 w2", "width": width, "height": height, "file_name": "x.jpg"}
        for at, (image, _, width, height) in enumerate(rows)
    ]
    annotations = [{"id": 7 * at, "image_id": at, "bbox": box} for at, (_, box, _, _) in enumerate(rows)]
    write_json(folder / f"{prefix}_train.json", {"images": images, "annotations": annotations, "categories": []})


def test_referring_expressions(tmp_path: Path, data: DataSettings) -> None:
    images, rows, expected = CorpusImages(data.corpus), [], []
    for image in range(1, 7):
        regions = images.find(str(image), None)
        assert not isinstance(regions, str)
        x1, y1, x2, y2 = regions.boxes[min(1, len(regions.boxes) - 1)].astype(float)
        rows.append((image, [x1, y1, x2 - x1, y2 - y1], regions.width, regions.height))
        expected.append([x1 / regions.width, y1 / regions.height, x2 / regions.width, y2 / regions.height])
    write_refexp(tmp_path, [*rows, (1, [-500.0, -500.0, 1.0, 1.0], 100, 100)])  # no region is where the last object is
    task = Refexp(RefexpSettings(folder=str(tmp_path)))
    _, network, batches = _losses(task, data)
    batch = batches.held.batch("pairs", np.arange(7), batches.facts.vocabulary)
    assert np.allclose([row.target for row in batches.held.rows[:6]], expected)
    targeted = TaskBatches(task, data.model_copy(update={"batch": {"pairs": 7}}), seed=0)[0]
    assert int(task.count(targeted)) == 6
    with torch.no_grad():
        scores, boxes = task.scores(Views(network, batch)), task.predict(Views(network, batch))
    assert batch.images is not None
    for place, count in enumerate(batch.images.counts.tolist()):
        assert scores[place, count:].isneginf().all() and scores[place, :count].isfinite().all()
        assert torch.equal(boxes[place], batch.images.boxes[place, int(scores[place].argmax()), :4])
    assert task.measure(np.array([row.target for row in batches.held.rows]), batches.held.rows, ()) == {"accuracy": 1.0}
    assert task.measure(np.zeros((7, 4)), batches.held.rows, ()) == {"accuracy": 0.0}


def _refs(folder: Path, refs: Any, name: str = "refs(unc).p") -> None:
    """Expressions in RefCOCO's own layout, with two objects an image, and one that is a crowd."""
    images = [{"id": image, "file_name": f"{image}.jpg", "width": 100, "height": 50} for image in (1, 2)]
    boxes = {11: (1, [10, 10, 20, 20]), 12: (1, [50, 0, 50, 50]), 21: (2, [0, 0, 10, 10]), 22: (2, [0, 0, 0, 5])}
    annotations = [{"id": key, "image_id": image, "bbox": box, "iscrowd": 0} for key, (image, box) in boxes.items()]
    write_json(folder / "instances.json", {"images": images, "annotations": [*annotations, {**annotations[0], "id": 13, "iscrowd": 1}]})
    if name.endswith(".json"):
        write_json(folder / name, refs)
    else:
        (folder / name).write_bytes(pickle.dumps(refs, protocol=2))


def _ref(image: int, key: int, split: str, *said: str) -> dict[str, Any]:
    return {"image_id": image, "ann_id": key, "split": split, "sentences": [{"sent": text, "sent_id": key, "raw": text} for text in said]}


@pytest.mark.parametrize("name", ["refs(unc).p", "refs(umd).json"])
def test_referring_expressions_among_true_boxes(tmp_path: Path, data: DataSettings, name: str) -> None:
    refs = [_ref(1, 12, "train", "w1", "w2 w3"), _ref(2, 21, "train", "w4", " "), _ref(2, 22, "train", "w5"), _ref(1, 11, "val", "w6"), 5]
    _refs(tmp_path, refs, name)
    task = Refexp(RefexpSettings(folder=str(tmp_path), refs=name, boxes="truth"))
    held = TaskRows(task, ["train"], data, Shards(data.corpus))
    assert [(row.texts, row.images, row.target) for row in held.rows] == [
        (("w1",), ("1",), (0.5, 0.0, 1.0, 1.0)),
        (("w2 w3",), ("1",), (0.5, 0.0, 1.0, 1.0)),
        (("w4",), ("2",), (0.0, 0.0, 0.1, 0.2)),
    ]
    why = "it lacks image_id, ann_id, split or sentences"
    assert held.left_out == {"a text is empty": 1, "its object has no box in px": 1, why: 1}
    batches = TaskBatches(task, data.model_copy(update={"batch": {"pairs": 3}}), seed=0)
    images = held.batch("pairs", np.arange(3), batches.facts.vocabulary).images
    assert images is not None and images.counts.tolist() == [2, 2, 1]
    assert np.allclose(images.boxes[0, :2, :4], [[0.1, 0.2, 0.3, 0.6], [0.5, 0.0, 1.0, 1.0]], atol=1e-6)
    shown = CorpusImages(data.corpus).find("1", None)
    assert not isinstance(shown, str)
    best = overlaps(np.array([[0.5 * shown.width, 0, shown.width, shown.height]]), shown.boxes.astype(float)).argmax()
    assert np.array_equal(images.features[0, 1], shown.features[best])
    assert int(task.count(batches[0])) == 3  # the true box is always among the candidates
    detected = TaskRows(Refexp(RefexpSettings(folder=str(tmp_path), refs=name)), ["train"], data, Shards(data.corpus))
    assert detected.rows == held.rows


class _Runs:
    def __reduce__(self) -> Any:
        return eval, ("__import__('pathlib').Path('was-run').touch()",)


@pytest.mark.parametrize("content", [pickle.dumps([_Runs()]), b"cos\nsystem\n(S'touch was-run'\ntR.", b"", b"\x80\x02]q\x00", b"}"])
def test_a_pickle_that_is_not_plain_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    _refs(tmp_path, [])
    (tmp_path / "refs(unc).p").write_bytes(content)
    with pytest.raises(SourceError, match=r"refs\(unc\)\.p is not a pickle of plain lists and dictionaries"):
        list(Refexp(RefexpSettings(folder=str(tmp_path), refs="refs(unc).p")).read("train"))
    assert not (tmp_path / "was-run").exists()


def test_files_of_expressions_that_do_not_fit_are_named(tmp_path: Path) -> None:
    _refs(tmp_path, {"a": 1})
    with pytest.raises(SourceError, match="must hold a list of expressions with image_id, ann_id, split and sentences"):
        list(Refexp(RefexpSettings(folder=str(tmp_path), refs="refs(unc).p")).read("train"))
    with pytest.raises(SourceError, match=r"refs\(google\)\.p does not exist"):
        list(Refexp(RefexpSettings(folder=str(tmp_path), refs="refs(google).p")).read("train"))
    with pytest.raises(ConfigError, match="refexp.boxes: truth requires refexp.refs"):
        list(Refexp(RefexpSettings(folder=str(tmp_path), boxes="truth")).read("train"))


def test_images_of_statements_may_have_other_names(tmp_path: Path) -> None:
    write_lines(tmp_path / "train.json", [{"identifier": "train-1-0-0", "sentence": "w1", "label": "True"}])
    write_json(tmp_path / "images.json", {"train-1-0-img1": "7"})
    (row,) = Nlvr2(Nlvr2Settings(folder=str(tmp_path), images="images.json")).read("train")
    assert isinstance(row, Row) and row.images == ("train-1-0-img0", "7")


def test_intersection_over_union() -> None:
    box, others = torch.tensor([0.0, 0.0, 2.0, 2.0]), torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2], [0, 0, 2, 1], [2, 2, 3, 3], [1, 1, 1, 1]])
    assert iou(box, others).tolist() == pytest.approx([1, 1 / 3, 0.5, 0, 0])
    assert iou(torch.zeros(4), torch.zeros(4)) == 0


def test_answers_are_classes_and_targets_are_how_right_they_are(tmp_path: Path, data: DataSettings) -> None:
    task = Vqa(VqaSettings(folder=str(tmp_path), occurrences=2))
    people = ["The dog", "dog", "dog.", "two", "2", "2", "2", "2", "cat", "dont"]
    rows = [Row("", ("",), Answers(chosen, tuple(people))) for chosen in ("two", "2", "The dog", "dog", "cat", "dont", "dont")]
    labels = task.labels(rows)
    assert labels == ("2", "dog", "don't")  # cat is too rare
    assert task.targets(rows[:1], labels)[0].tolist() == pytest.approx([1, 0.9, 0.3])
    assert task.measure(np.array([1, 0]), rows[:2], labels) == pytest.approx({"accuracy": 0.95, "majority": 1.0})
    with pytest.raises(SourceError, match=r"no answer is frequent enough to be a class: reduce vqa.occurrences"):
        Vqa(VqaSettings(folder=str(tmp_path))).labels(rows)


def test_new_weights_give_every_answer_a_small_probability(tmp_path: Path, data: DataSettings) -> None:
    answers = [f"a{number}" for number in range(40)]
    write_vqa(tmp_path, "train2014", 400, np.random.default_rng(0), answers)
    task = Vqa(VqaSettings(folder=str(tmp_path)))
    batches = TaskBatches(task, data, seed=0)
    with torch.inference_mode():
        scores = task.scores(Views(_network(task, batches), batches[0]))
    assert scores.shape[1] == len(answers) and float(scores.sigmoid().mean()) == pytest.approx(1 / len(answers), rel=0.3)


def test_a_head_learns_at_a_rate_of_its_own(tmp_path: Path, data: DataSettings) -> None:
    write_snli_ve(tmp_path, "train", 30, np.random.default_rng(0))
    task = SnliVe(TaskSettings(folder=str(tmp_path)))
    network = _network(task, TaskBatches(task, data, seed=0))
    groups = optimizer_of(network, OptimizerSettings(head=10)).param_groups
    held = {id(parameter): group["factor"] for group in groups for parameter in group["params"]}
    assert network.task is not None and sum(len(group["params"]) for group in groups) == len(held) == len(list(network.parameters()))
    head = {id(parameter) for parameter in network.task.parameters()}
    assert all(factor == (10 if parameter in head else 1) for parameter, factor in held.items())
    assert {group["weight_decay"] for group in groups if group["factor"] == 10} == {0.0, 0.01}


def test_what_cannot_be_used_is_counted_by_reason(tmp_path: Path, data: DataSettings, few: str) -> None:
    rng, shards = np.random.default_rng(3), Shards(few)
    write_vqa(tmp_path, "train2014", 6, rng)
    path = tmp_path / "v2_OpenEnded_mscoco_train2014_questions.json"
    questions = json.loads(path.read_text())["questions"]
    questions[0]["image_id"], questions[1]["question_id"], questions[2]["question"] = 99, 5, " "
    del questions[3]["image_id"]
    write_json(path, {"questions": questions})
    held = TaskRows(Vqa(VqaSettings(folder=str(tmp_path))), ["train2014"], data, shards)
    assert len(held.rows) == 2 and held.left_out == {
        "the corpus has no such image": 1,
        "its question has no annotation": 1,
        "a text is empty": 1,
        "it lacks question_id, image_id or question": 1,
    }
    write_snli_ve(tmp_path, "train", 4, rng)
    with open(tmp_path / "snli_ve_train.jsonl", "a") as file:
        file.write(
            '{"sentence2": "x"}\n[1]\nnot json\n\n' + json.dumps(dict.fromkeys(("Flickr30K_ID", "sentence2"), "1") | {"gold_label": "-"})
        )
    held = TaskRows(SnliVe(TaskSettings(folder=str(tmp_path))), ["train"], data, shards)
    assert len(held.rows) == 4
    assert held.left_out == {"it is no JSON object with Flickr30K_ID, sentence2, gold_label": 3, "it has no label": 1}
    write_refexp(
        tmp_path, [(1, [0.0, 0.0, 5.0, 5.0], 9, 9), (1, [0.0, 0.0, 0.0, 5.0], 9, 9), (1, [], 9, 9), (1, [0.0, 0.0, 5.0, 5.0], 0, 9)]
    )
    held = TaskRows(Refexp(RefexpSettings(folder=str(tmp_path))), ["train"], data, shards)
    assert len(held.rows) == 1 and held.left_out == {"its object has no box in px": 3}


@pytest.mark.parametrize(
    "content, message",
    [
        (b"{", "questions.json is not JSON"),
        (b'{"questions": {}}', "questions.json must be a JSON object with the lists questions"),
        (b"[]", "questions.json must be a JSON object with the lists questions"),
        (None, "questions.json does not exist: put the file there under the name that it is published by"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, data: DataSettings, content: bytes | None, message: str) -> None:
    write_vqa(tmp_path, "train2014", 2, np.random.default_rng(4))
    path = tmp_path / "v2_OpenEnded_mscoco_train2014_questions.json"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(SourceError, match=re.escape(message)):
        list(Vqa(VqaSettings(folder=str(tmp_path))).read("train2014"))


def test_images_of_a_named_source_alone(tmp_path: Path, data: DataSettings) -> None:
    write_snli_ve(tmp_path, "train", 6, np.random.default_rng(1))
    name = next(iter(CorpusImages(data.corpus)._at["1"])).partition("/")[0]
    held = TaskRows(SnliVe(TaskSettings(folder=str(tmp_path), source=name)), ["train"], data, Shards(data.corpus))
    assert len(held.rows) == 6 and not held.left_out
    with pytest.raises(SourceError, match="none of its 6 rows can be used; 6: the corpus has no such image"):
        TaskRows(SnliVe(TaskSettings(folder=str(tmp_path), source=name[:-1])), ["train"], data, Shards(data.corpus))
