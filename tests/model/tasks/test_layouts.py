"""Published files with anything wrong in them: every other row is read, what is lost has a reason, and what cannot be read is named."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model.data.settings import DataSettings
from model.data.shards import Shards
from model.downstream import TaskRows
from model.tasks import TASKS
from model.tasks.base import Row, Task
from schemas.errors import SourceError

_PHOTO = {"width": 200, "height": 100}
_TALK = [{"input_text": f"w{turn}", "turn_id": turn} for turn in (1, 2)]
_VCR = {
    "objects": ["w5", "w6"],
    "img_fn": "m/1.jpg",
    "metadata_fn": "m/1.json",
    "question": ["w1", [0], "?"],
    "answer_choices": [["w2"], ["w3", [1]]],
    "answer_label": 1,
    "rationale_choices": [["w4"], ["w7"]],
    "rationale_label": 0,
}
_REF = {"split": "train", "sentences": [{"sent": "w1", "sent_id": 1}]}
# By task: its split, its settings, and its files: JSON, JSON lines (.jsonl and NLVR2's), a pickle, or texts.
LAYOUTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "sst2": ("train", {}, {"train.tsv": "sentence\tlabel\nw1\t0\nw2\t1\n"}),
    "cola": ("train", {}, {"train.tsv": "s\t1\t\tw1\ns\t0\t*\tw2\n"}),
    "mnli": ("train", {}, {"train.tsv": "sentence1\tx\tsentence2\tgold_label\nw1\t-\tw2\tneutral\nw3\t-\tw4\tentailment\n"}),
    "stsb": ("train", {}, {"train.tsv": "sentence1\tsentence2\tscore\nw1\tw2\t5.0\nw3\tw4\t0.2\n"}),
    "cnn_dm": ("train", {}, {"train.source": "w1\nw2\n", "train.target": "w3\nw4\n"}),
    "gigaword": ("train", {}, {"train.article.txt": "w1\nw2\n", "train.title.txt": "w3\nw4\n"}),
    "vqa": (
        "train2014",
        {},
        {
            "v2_OpenEnded_mscoco_train2014_questions.json": {
                "questions": [{"question_id": at, "image_id": at, "question": f"w{at}"} for at in (1, 2)]
            },
            "v2_mscoco_train2014_annotations.json": {
                "annotations": [{"question_id": at, "multiple_choice_answer": "yes", "answers": [{"answer": "yes"}]} for at in (1, 2)]
            },
        },
    ),
    "snli_ve": (
        "train",
        {},
        {"snli_ve_train.jsonl": [{"Flickr30K_ID": "1", "sentence2": f"w{at}", "gold_label": "neutral"} for at in (1, 2)]},
    ),
    "nlvr2": ("train", {}, {"train.json": [{"identifier": f"train-1-{at}-0", "sentence": f"w{at}", "label": "True"} for at in (1, 2)]}),
    "refexp": (
        "train",
        {},
        {
            "finetune_refcoco_train.json": {
                "images": [{"id": at, "original_id": 1, "caption": f"w{at}", **_PHOTO} for at in (1, 2)],
                "annotations": [{"image_id": at, "bbox": [1, 1, 9, 9.5]} for at in (1, 2)],
            }
        },
    ),
    "refexp, own layout": (
        "train",
        {"refs": "refs(unc).p", "boxes": "truth"},
        {
            "refs(unc).p": [{**_REF, "image_id": at, "ann_id": 10 + at} for at in (1, 2)],
            "instances.json": {
                "images": [{"id": at, **_PHOTO} for at in (1, 2)],
                "annotations": [{"id": 10 + at, "image_id": at, "bbox": [1, 1, 9, 9]} for at in (1, 2)],
            },
        },
    ),
    "vcr": (
        "train",
        {},
        {
            "train.jsonl": [{**_VCR, "annot_id": f"train-{at}"} for at in (1, 2)],
            "vcr1images/m/1.json": {"boxes": [[0, 0, 9, 9, 1], [9, 0, 20, 9, 1]], **_PHOTO},
        },
    ),
    "coco_captions": (
        "train2014",
        {},
        {
            "captions_train2014.json": {
                "images": [{"id": 1}, {"id": 2}],
                "annotations": [{"image_id": at, "caption": "w1"} for at in (1, 2)],
            }
        },
    ),
    "coco_captions, Karpathy": (
        "karpathy_train",
        {},
        {"dataset_coco.json": {"images": [{"filename": f"{at}.jpg", "split": "train", "sentences": [{"raw": "w1"}]} for at in (1, 2)]}},
    ),
    "squad_qg": (
        "train",
        {},
        {
            "train-v1.1.json": {
                "data": [{"paragraphs": [{"context": "w1", "qas": [{"id": "a", "question": "w2", "answers": [{"text": "w3"}]}]}]}] * 2
            }
        },
    ),
    "coqa": ("train", {}, {"coqa-train-v1.0.json": {"data": [{"id": "a", "story": "w9", "questions": _TALK, "answers": _TALK}]}}),
}
WRONG = (None, True, 5, -1, float("nan"), 10**400, "", " ", "other", [], {}, [[]], "w8\ud800")


def _bytes(name: str, held: Any) -> bytes:
    if isinstance(held, str):
        return held.encode()
    if name.endswith(".p"):
        return pickle.dumps(held, protocol=2)
    return b"".join(json.dumps(row).encode() + b"\n" for row in held) if isinstance(held, list) else json.dumps(held).encode()


def _write(folder: Path, held: dict[str, Any]) -> None:
    for name, content in held.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else _bytes(name, content))


def _task(layout: str, folder: Path) -> Task:
    kind = TASKS[layout.partition(",")[0]]
    task = kind(kind.settings_type(folder=str(folder), **LAYOUTS[layout][1]))  # type: ignore[call-arg]
    assert isinstance(task, Task)
    return task


def _read(layout: str, folder: Path) -> tuple[list[Row], list[str]]:
    """Rows and reasons; a file that cannot be read is one reason, which names it."""
    found: list[Row | str] = []
    try:
        for one in _task(layout, folder).read(LAYOUTS[layout][0]):
            found.append(one)
    except SourceError as error:
        assert str(folder) in str(error) and "\n" not in str(error)
        found.append(str(error))
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, str)]


def _places(held: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every value of a JSON tree."""
    for key, value in held.items() if isinstance(held, dict) else enumerate(held) if isinstance(held, list) else ():
        yield (*path, key)
        yield from _places(value, (*path, key))


def _changed(held: Any) -> Iterator[Any]:
    """The tree, each time with one value of an object missing, one of a list there twice, or one of another kind."""
    for *path, last in _places(held):
        for value in (..., *WRONG):
            at = made = copy.deepcopy(held)
            for key in path:
                at = at[key]
            if last == "split" and value in ("other", "w8\ud800"):
                continue  # a row of another split
            if value is not ...:
                at[last] = value
            elif isinstance(at, list):
                at.append(at[last])
            else:
                del at[last]
            yield made


def _lines(text: str) -> Iterator[str]:
    """A table, each time with one field missing, added, empty, or another."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        fields = line.split("\t")
        for at in range(len(fields)):
            for new in ([], ["", ""], [""], ["other"], ["nan"], ['"']):
                changed = "\t".join([*fields[:at], *new, *fields[at + 1 :]])
                yield "\n".join([*lines[:number], changed, *lines[number + 1 :], ""])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_whatever_is_wrong_in_a_file_is_named_or_counted(tmp_path: Path, layout: str) -> None:
    held = LAYOUTS[layout][2]
    _write(tmp_path, held)
    rows, reasons = _read(layout, tmp_path)
    assert len(rows) >= 2 and not reasons
    texts = {text for row in rows for text in row.texts}
    for name, content in held.items():
        for changed in _lines(content) if isinstance(content, str) else _changed(content):
            _write(tmp_path, {name: changed})
            found, why = _read(layout, tmp_path)
            assert why or not found or len(found) >= len(rows), changed  # nothing is lost without a word
            new = {text.strip() for row in found for text in row.texts} - {text.strip() for text in texts}
            assert new <= {"other", "w8\ud800", "nan", '"', "w1 other", ""} | {f"w{at}" for at in range(10)} or layout == "vcr", (
                new,
                changed,
            )
        _write(tmp_path, {name: content})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_in_another_encoding_or_of_another_kind(tmp_path: Path, layout: str) -> None:
    held = LAYOUTS[layout][2]
    _write(tmp_path, held)
    rows, _ = _read(layout, tmp_path)
    for name, content in held.items():
        good, pickled = _bytes(name, content), name.endswith(".p")
        same = () if pickled else (b"\xef\xbb\xbf" + good, good.replace(b"\n", b"\r\n"), good.removesuffix(b"\n"))
        for data in same:  # a byte-order mark, Windows' line ends, no last line end
            _write(tmp_path, {name: data})
            assert _read(layout, tmp_path) == (rows, [])
        cut = () if isinstance(content, str) else (good[:-5],)
        for data in (b"", good.decode("latin1").encode("utf-16"), b"\xff" + good, b"[" * 100_000, *cut):
            _write(tmp_path, {name: data})
            found, why = _read(layout, tmp_path)
            assert len(found) < len(rows) and (why or not found), data[:20]
        (tmp_path / name).unlink()
        for message in ("does not exist", "cannot be read"):
            found, why = _read(layout, tmp_path)
            assert not found and message in why[-1] and name in why[-1]
            (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name).rmdir()
        _write(tmp_path, {name: content})


def test_a_text_that_is_not_unicode_and_a_file_without_rows(tmp_path: Path, few: str) -> None:
    data, (split, _, held) = DataSettings(corpus=few, batch={"pairs": 2}, max_tokens=24, max_regions=9), LAYOUTS["snli_ve"]
    (name,), (rows,) = held.keys(), held.values()
    _write(tmp_path, {name: [rows[0], {**rows[1], "sentence2": "w1\ud83d"}]})
    found = TaskRows(_task("snli_ve", tmp_path), [split], data, Shards(few))
    assert len(found.rows) == 1 and found.left_out == {"a text is not Unicode (half a surrogate pair)": 1}
    _write(tmp_path, {name: b""})
    with pytest.raises(SourceError, match=f"{name}: it has no rows$"):
        TaskRows(_task("snli_ve", tmp_path), [split], data, Shards(few))
