"""The text tasks on files in GLUE's layouts: whole runs through the command, metrics, and what cannot be used."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.ablate import AblationSettings, runs_of
from model.config import TrainSettings, objectives_of
from model.data.loader import ShardLoader
from model.data.settings import DataSettings
from model.data.shards import Shards
from model.downstream import TaskBatches, TaskRows
from model.tasks import TASKS
from model.tasks.base import Row, Task, TaskSettings
from model.tasks.cola import Cola
from model.tasks.mnli import Mnli
from model.tasks.sst2 import Sst2
from model.tasks.stsb import Stsb
from pipelines.cli import main
from schemas.errors import ConfigError, SourceError
from tests.model.batches import facts
from tests.model.tasks.files import config, run, sentence, write_tsv

MNLI = ("index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse sentence2_parse sentence1 sentence2 "
        "label1 gold_label").split()  # fmt: skip
STSB = "index genre filename year old_index source1 source2 sentence1 sentence2 score".split()


def _sst2(folder: Path, rng: np.random.Generator, split: str, rows: int) -> None:
    labels = rng.permutation(np.arange(rows) % 2)
    write_tsv(folder / f"{split}.tsv", ["sentence", "label"], [(sentence(rng, f"w{1 + label}"), label) for label in labels])


def _cola(folder: Path, rng: np.random.Generator, split: str, rows: int) -> None:
    labels = rng.permutation(np.arange(rows) % 3 > 0).astype(int)
    write_tsv(folder / f"{split}.tsv", None, [("gj04", label, "" if label else "*", sentence(rng)) for label in labels])


def _mnli(folder: Path, rng: np.random.Generator, split: str, rows: int) -> None:
    header = MNLI if split == "train" else [*MNLI[:-1], "label2", "label3", "label4", "label5", MNLI[-1]]
    made = []
    for number in range(rows):
        cells = dict.fromkeys(header, "x") | {"index": number, "sentence1": sentence(rng), "sentence2": sentence(rng)}
        made.append(list((cells | {"gold_label": ("contradiction", "entailment", "neutral")[number % 3]}).values()))
    write_tsv(folder / f"{split}.tsv", header, made)


def _stsb(folder: Path, rng: np.random.Generator, split: str, rows: int) -> None:
    cells = [("news", "MSRpar", "2012", "0001", "none", "none") for _ in range(rows)]
    made = [(number, *cell, sentence(rng), sentence(rng), f"{rng.uniform(0, 5):.3f}") for number, cell in enumerate(cells)]
    write_tsv(folder / f"{split}.tsv", STSB, made)


def _rte(folder: Path, rng: np.random.Generator, split: str, rows: int) -> None:
    made = [(number, sentence(rng), sentence(rng), ("entailment", "not_entailment")[number % 2]) for number in range(rows)]
    write_tsv(folder / f"{split}.tsv", ["index", "sentence1", "sentence2", "label"], made)


@pytest.mark.parametrize(
    "task, write, splits, metrics",
    [
        ("sst2", _sst2, ["dev"], {"accuracy", "majority"}),
        ("cola", _cola, ["dev"], {"matthews", "accuracy", "majority"}),
        ("mnli", _mnli, ["dev_matched", "dev_mismatched"], {"accuracy", "majority"}),
        ("stsb", _stsb, ["dev"], {"pearson", "spearman"}),
        ("rte", _rte, ["dev"], {"accuracy", "majority"}),
    ],
)
def test_a_whole_run_on_a_hundred_rows(tmp_path: Path, few: str, task: str, write: Any, splits: list[str], metrics: set[str]) -> None:
    rng = np.random.default_rng(5)
    for split in ("train", *splits):
        write(tmp_path / "files", rng, split, 100)
    report = run(tmp_path, few, task, {"folder": "files"})
    assert list(report) == splits
    for found in report.values():
        assert found["rows"] == 100 and not found["left_out"] and not found["cut"]
        assert set(found["metrics"]) == metrics and all(-1 <= value <= 1 for value in found["metrics"].values())
    with open(tmp_path / "run" / "log.csv", newline="") as file:
        assert [float(row[f"loss/{task}"]) > 0 for row in csv.DictReader(file)] == [True] * 2


@pytest.fixture(scope="module")
def data(few: str) -> DataSettings:
    return DataSettings(corpus=few, batch={"texts": 7}, max_tokens=24)


def _rows(task: Task, data: DataSettings) -> TaskRows:
    return TaskRows(task, ["train"], data, Shards(data.corpus))


def test_rows_that_cannot_be_used_are_counted_by_reason(tmp_path: Path, data: DataSettings) -> None:
    write_tsv(tmp_path / "train.tsv", ["sentence", "label"], [("w1 w2", 1), (" ", 0), ("w1", 2), ("w1", ""), ("w1",), ("w3", "0", "x"), ()])
    held = _rows(Sst2(TaskSettings(folder=str(tmp_path))), data)
    assert held.rows == [Row("train:2", ("w1 w2",), 1)]
    assert held.left_out == {"a text is empty": 1, "its label is none of 0, 1": 1, "it has no label": 1, "it does not have 2 fields": 2}
    cells = [str(number) for number in range(10)]
    write_tsv(tmp_path / "train.tsv", STSB, [[*cells[:7], "w1", "w2", score] for score in ("5.000", "5.1", "nan", "high", "-0.1")])
    held = _rows(Stsb(TaskSettings(folder=str(tmp_path))), data)
    assert [row.target for row in held.rows] == [5.0] and held.left_out == {"its score is no number from 0 to 5": 4}
    write_tsv(tmp_path / "train.tsv", MNLI, [[*cells[:8], "w1", "w2", "neutral", label] for label in ("-", "neutral")])
    held = _rows(Mnli(TaskSettings(folder=str(tmp_path))), data)
    assert held.rows == [Row("train:3", ("w1", "w2"), 2)] and held.left_out == {"it has no label": 1}


def test_quotes_and_line_ends_are_text(tmp_path: Path, data: DataSettings) -> None:
    (tmp_path / "train.tsv").write_bytes('sentence\tlabel\r\nw1 "w2\t1\r\nw3\u2028w4\t0\n'.encode())
    assert [row.texts for row in _rows(Sst2(TaskSettings(folder=str(tmp_path))), data).rows] == [('w1 "w2',), ("w3\u2028w4",)]


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "train.tsv does not exist: put the file there under the name that it is published by"),
        (
            b"text\tlabel\nw1\t1\n",
            "train.tsv: its first line must name the columns sentence, label, separated by tabs; sentence is not there",
        ),
        (b"", "sentence is not there"),
        (b"sentence\tlabel\nw1 \xff\t1\n", "train.tsv is not UTF-8"),
        (b"sentence\tlabel\nw1\t7\n", "train.tsv: none of its 1 rows can be used; 1: its label is none of 0, 1"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, data: DataSettings, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "train.tsv").write_bytes(content)
    with pytest.raises(SourceError, match=re.escape(message)):
        _rows(Sst2(TaskSettings(folder=str(tmp_path))), data)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"task": "sst"}, "task: must be pretrain, retrieval, sst2"),
        ({"sst2": None}, "sst2: is required for task: sst2, with the folder of its files"),
        ({"sst2": {}}, "sst2.folder"),
        ({"task": "pretrain", "objectives": {"mlm": {}}}, "sst2: applies only to task: sst2, not pretrain"),
        ({"sst2": {"folder": "absent", "train": ["test"]}}, "sst2.train: there is no split test; there are train, dev"),
    ],
)
def test_settings_that_do_not_fit_are_named(
    tmp_path: Path, few: str, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    assert main(["train", config(tmp_path, few, "sst2", {"folder": "files"}, **changes), "--quiet"]) == 1
    assert message in capsys.readouterr().err


def test_a_new_task_does_not_change_what_identifies_other_runs(few: str) -> None:
    value = {"data": {"corpus": few}, "output": "out", "steps": 1, "objectives": {"mlm": {}}}
    assert TASKS.keys() & TrainSettings.model_validate(value).model_dump().keys() == {"retrieval"}


def test_a_corpus_without_regions_is_refused() -> None:
    settings = TrainSettings.model_validate({"data": {"corpus": "c"}, "output": "o", "steps": 1, "task": "sst2", "sst2": {"folder": "f"}})
    with pytest.raises(ConfigError, match="corpus: has no regions"):
        objectives_of(settings, facts(features=0))


def test_an_ablation_of_a_task_is_refused() -> None:
    train = {"data": {"corpus": "c"}, "steps": 1, "task": "sst2", "sst2": {"folder": "f"}}
    settings = AblationSettings.model_validate({"output": "o", "corpus": "c", "against": "a", "train": train, "arms": {"a": {}}})
    with pytest.raises(ConfigError, match="arms.a: task: sst2 cannot be ablated"):
        runs_of(settings)


def test_long_texts_lose_the_end_of_the_longest(tmp_path: Path, few: str) -> None:
    long = " ".join(f"w{number}" for number in range(30))
    write_tsv(tmp_path / "train.tsv", MNLI, [[*"01234567", long, "w7 w8 w9", "x", "neutral"], [*"01234567", "w1", "w2", "x", "neutral"]])
    held = _rows(Mnli(TaskSettings(folder=str(tmp_path))), DataSettings(corpus=few, max_tokens=16))
    tokenizer = Shards(few).tokenizer
    first, second = (tokenizer.encode([text])[0].tolist() for text in (" ".join(long.split()[:9]), "w7 w8 w9"))
    assert held.cut == 1 and held.tokens[0].tolist() == [*first, tokenizer.sep, tokenizer.sep, *second]


def test_every_epoch_has_every_row_once_and_a_step_is_the_same_wherever_it_is_made(tmp_path: Path, data: DataSettings) -> None:
    _sst2(tmp_path, np.random.default_rng(1), "train", 21)
    task = Sst2(TaskSettings(folder=str(tmp_path)))
    batches = TaskBatches(task, data, seed=3)
    epochs = [[name for step in steps for name in batches[step].names] for steps in (range(3), range(3, 6))]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(row.name for row in batches.held.rows) and epochs[0] != epochs[1]
    with pytest.raises(ConfigError, match="batch.texts: 7 rows cannot be divided evenly among 2 processes"):
        TaskBatches(task, data, seed=3, world=2)
    wide = data.model_copy(update={"batch": {"texts": 14}})
    halves = [TaskBatches(task, wide, seed=3, rank=rank, world=2)[1] for rank in (0, 1)]
    whole = TaskBatches(task, wide, seed=3)[1]
    assert halves[0].names + halves[1].names == whole.names == tuple(epochs[0][14:] + epochs[1][:7])
    assert whole.targets is not None and whole.targets.tolist() == [int(f"w{2}" in _text(batches, name)) for name in whole.names]
    state = ShardLoader(batches).state()
    other = TaskBatches(task, data, seed=4)
    with pytest.raises(ConfigError, match="another corpus, seed or data settings"):
        ShardLoader(other).load_state(state)


def _text(batches: TaskBatches, name: str) -> list[str]:
    return next(row for row in batches.held.rows if row.name == name).texts[0].split()


def test_metrics_are_those_of_the_field() -> None:
    rows = [Row("", ("",), target) for target in (1, 1, 0, 1)]
    found = np.array([1, 0, 0, 1])
    assert Sst2(None).measure(found, rows, ()) == {"accuracy": 0.75, "majority": 0.75}
    # (TP TN - FP FN) / sqrt((TP + FP)(TP + FN)(TN + FP)(TN + FN)) with TP 2, TN 1, FP 0, FN 1
    assert Cola(None).measure(found, rows, ())["matthews"] == pytest.approx(2 / np.sqrt(2 * 3 * 1 * 2))
    assert Cola(None).measure(np.ones(4), rows, ())["matthews"] == 0
    scores = [Row("", ("",), score) for score in (0.0, 1.0, 2.5, 5.0)]
    answers = np.array([0.1, 0.2, 0.15, 0.9])
    true = np.array([0.0, 1.0, 2.5, 5.0])
    pearson = ((answers - answers.mean()) * (true - true.mean())).sum() / np.sqrt(
        ((answers - answers.mean()) ** 2).sum() * ((true - true.mean()) ** 2).sum()
    )
    assert Stsb(None).measure(answers, scores, ()) == pytest.approx({"pearson": pearson, "spearman": 1 - 6 * 2 / (4 * 15)})
    assert Stsb(None).measure(np.ones(4), scores, ()) == {"pearson": 0.0, "spearman": 0.0}
