"""Ablations: merged settings, runs that are skipped when finished, a table with intervals; and the three commands."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from model import checkpoint
from model.ablate import AblationSettings, _identity, ablate, merged, runs_of
from pipelines.cli import main
from schemas.errors import ConfigError
from tests.model.conftest import training
from tests.model.tasks.files import sentence, write_tsv
from tests.model.tasks.test_image_tasks import write_snli_ve


def _settings(corpus: str, few: str, folder: Path, **changes: Any) -> dict[str, Any]:
    base = {key: value for key, value in training(corpus, folder, steps=1, flops=1e30).items() if key != "output"}
    return {
        "output": str(folder / "out"),
        "corpus": few,
        "seeds": [0, 1],
        "against": "full",
        "rerank": 2,
        "train": base,
        "arms": {
            "full": {},
            "plain": {"objectives": {"cmcl": {"encoding": "separate", "in_batch": True}}, "data": {"negatives": {"tfidf": 0}}},
        },
        **changes,
    }


@pytest.mark.slow
def test_finished_runs_are_skipped_and_the_table_compares(corpus: str, few: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = AblationSettings.model_validate(_settings(corpus, few, tmp_path))
    rows = ablate(settings)
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"full", "plain", "table.csv", "table.md", "plot.svg"}
    by = {(row["arm"], row["metric"]): row for row in rows}
    first, other = by["full", "reranked.text_to_image R@1"], by["plain", "reranked.text_to_image R@1"]
    assert "difference" not in first and other["difference"] == pytest.approx(other["mean"] - first["mean"])
    assert all(row["low"] <= row["mean"] <= row["high"] and row["seeds"] == 2 and row["flops"] > 1e9 for row in rows)
    assert other["difference_low"] <= other["difference"] <= other["difference_high"] and "negatives tfidf joint" in {
        row["metric"] for row in rows
    }
    hidden = [row for row in rows if row["metric"].startswith("negatives")]  # over images too, not over seeds alone
    assert any(row["low"] < row["mean"] < row["high"] for row in hidden)
    with open(tmp_path / "out" / "table.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(rows)
    assert "<svg" in (tmp_path / "out" / "plot.svg").read_text()

    import model.ablate

    trained: list[str] = []
    honest = model.ablate.train
    monkeypatch.setattr(model.ablate, "train", lambda run, *rest: (trained.append(run.output), honest(run, *rest))[1])
    assert ablate(settings) == rows and not trained
    (tmp_path / "out" / "plain" / "seed-1" / "result.json").unlink()
    assert ablate(settings) == rows and [Path(one).parts[-2:] for one in trained] == [("plain", "seed-1")]


@pytest.mark.slow
def test_an_ablation_that_is_asked_to_stop_begins_no_further_run(
    corpus: str, few: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model.data.loader import Batches

    settings = AblationSettings.model_validate(_settings(corpus, few, tmp_path, seeds=[0]))
    settings = settings.model_copy(update={"train": {**settings.train, "steps": 3}})
    honest, killed = Batches.__getitem__, []

    def asked(self: Batches, step: int) -> Any:
        if not killed:
            killed.append(os.kill(os.getpid(), signal.SIGTERM))
        return honest(self, step)

    monkeypatch.setattr(Batches, "__getitem__", asked)
    assert ablate(settings) == [] and {path.name for path in (tmp_path / "out").iterdir()} == {"full"}
    assert (tmp_path / "out" / "full" / "seed-0" / "step-00000001" / "state.json").exists()
    assert len(ablate(settings)) > 10 and (tmp_path / "out" / "table.csv").exists()


@pytest.mark.slow
def test_runs_are_fine_tuned_for_tasks_and_their_scores_summed(corpus: str, few: str, tmp_path: Path) -> None:
    rng, data = np.random.default_rng(0), {"corpus": few, "batch": {"texts": 6, "pairs": 6}, "max_tokens": 24, "max_regions": 9}
    for split in ("train", "dev"):
        write_snli_ve(tmp_path / "ve", split, 9, rng)
        rows = [(sentence(rng), label) for label in range(2) for _ in range(5)]
        write_tsv(tmp_path / f"sst2_{split}" / f"{split}.tsv", ["sentence", "label"], rows)
    shared = {"data": data, "steps": 1, "tensorboard": False, "device": "cpu"}
    tasks = {
        "snli_ve": {**shared, "snli_ve": {"folder": str(tmp_path / "ve"), "evaluate": ["dev"]}},
        "sst2": {**shared, "sst2": {"folder": str(tmp_path / "sst2_train")}},
    }
    more = {"tasks": tasks, "task_folders": {"sst2": str(tmp_path / "sst2_dev")}}
    settings = AblationSettings.model_validate(_settings(corpus, few, tmp_path, seeds=[0], arms={"full": {}}, **more))
    found = {row["metric"]: row["mean"] for row in ablate(settings) if row["metric"].startswith("task ")}
    assert found.keys() == {"task snli_ve dev accuracy", "task sst2 dev accuracy", "task meta_sum"}
    assert found["task meta_sum"] == pytest.approx(found["task snli_ve dev accuracy"] + found["task sst2 dev accuracy"])
    run = checkpoint.load(str(tmp_path / "out" / "full" / "seed-0" / "tasks" / "sst2"), only="")
    assert run.state["settings"]["start"] == str(tmp_path / "out" / "full" / "seed-0")


@pytest.mark.parametrize(
    "tasks, message",
    [
        ({"sst3": {}}, "tasks.sst3"),
        ({"sst2": {"steps": 1, "sst2": {"folder": "f"}}}, "tasks.sst2"),
        ({"retrieval": {"steps": 1, "data": {"corpus": "c"}}}, "tasks.retrieval: is no task with files"),
    ],
)
def test_tasks_that_do_not_fit_are_refused_before_any_run(
    corpus: str, few: str, tmp_path: Path, tasks: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        ablate(AblationSettings.model_validate(_settings(corpus, few, tmp_path, tasks=tasks)))
    assert not (tmp_path / "out").exists()


def test_a_folder_for_no_task_is_refused(corpus: str, few: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="task_folders: 'vqa' is not among the tasks"):
        AblationSettings.model_validate(_settings(corpus, few, tmp_path, task_folders={"vqa": "f"}))


def test_a_result_is_of_the_corpora_and_the_truth_that_were_there(corpus: str, few: str, tmp_path: Path) -> None:
    place, truth = shutil.copytree(few, tmp_path / "few"), tmp_path / "truth.json"
    truth.write_text("{}")
    settings = AblationSettings.model_validate(_settings(corpus, str(place), tmp_path, truth=str(truth)))
    run = runs_of(settings)[0][2]
    found = [_identity(settings, run), _identity(settings, run)]
    truth.write_text('{"a": ["b"]}')
    found.append(_identity(settings, run))
    shutil.rmtree(place)
    shutil.copytree(corpus, place)  # another corpus in the same place
    found.append(_identity(settings, run))
    assert found[0] == found[1] and len(set(found)) == 3


def test_settings_are_merged_mapping_by_mapping() -> None:
    base = {"a": {"b": 1, "c": {"d": 2}}, "e": [1]}
    assert merged(base, {"a": {"c": {"d": 3}}, "e": [2], "f": None}) == {"a": {"b": 1, "c": {"d": 3}}, "e": [2], "f": None}
    assert base == {"a": {"b": 1, "c": {"d": 2}}, "e": [1]}


def test_a_wrong_arm_is_refused_before_any_run(corpus: str, few: str, tmp_path: Path) -> None:
    wrong = AblationSettings.model_validate(_settings(corpus, few, tmp_path, arms={"full": {}, "typo": {"model": {"sise": "tiny"}}}))
    with pytest.raises(ConfigError, match="arms.typo: model.sise: unknown key; did you mean 'size'"):
        runs_of(wrong)
    with pytest.raises(ConfigError, match=r"arms.typo"):
        ablate(wrong)
    assert not (tmp_path / "out").exists()
    for change, words in (
        ({"against": "none"}, "is not among the arms"),
        ({"seeds": [1, 1]}, "a duplicate"),
        ({"arms": {"../x": {}}, "against": "../x"}, "not a valid folder name"),
    ):
        with pytest.raises(ValueError, match=words):
            AblationSettings.model_validate(_settings(corpus, few, tmp_path, **change))


def test_the_commands(corpus: str, few: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = training(corpus, Path("out"))
    (tmp_path / "train.yaml").write_text(yaml.safe_dump({**given, "output": "out"}))
    assert main(["train", str(tmp_path / "train.yaml"), "--quiet"]) == 0
    assert "step 3, 24 samples" in capsys.readouterr().out and (tmp_path / "out" / "log.csv").exists()
    assert main(["evaluate", str(tmp_path / "out"), few, "--rerank", "2", "--output", str(tmp_path / "report.json")]) == 0
    assert "recall reranked text to image" in capsys.readouterr().out
    assert json.loads((tmp_path / "report.json").read_text())["images"] == 8
    assert main(["train", str(tmp_path / "train.yaml"), "--set", "optimizer.lr=-1"]) == 1
    assert "optimizer.lr: Input should be greater than 0 (given: -1)" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "train.yaml"), "--set", "objectives.cmlc.weight=1"]) == 1
    assert "objectives.cmlc: unknown key; did you mean 'cmcl'?" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "out"), few, "--trials", "imagenet=x"]) == 1
    assert "--trials takes NAME=FILE with NAME one of sugarcrepe" in capsys.readouterr().err
