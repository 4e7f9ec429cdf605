"""Ablations: merged settings, runs that are skipped when finished, a table with intervals; and the three commands."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import safetensors.numpy
import yaml
from pydantic import ValidationError

import model.ablate
import model.train
from benchmarks import training_corpus
from benchmarks.ablation_scenes import configurations
from benchmarks.training_corpus import Sizes, write_corpus
from model import checkpoint
from model.ablate import AblationSettings, _identity, _side_by_side, ablate, merged, read_truth, runs_of
from pipelines.cli import main
from schemas.errors import ConfigError, SourceError
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
    assert len((tmp_path / "out" / "table.csv").read_text().splitlines()) == len(rows) + 1
    assert "<svg" in (tmp_path / "out" / "plot.svg").read_text()

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
    settings = AblationSettings.model_validate(_settings(corpus, few, tmp_path, seeds=[0], arms={"full": {}}, workers=2, **more))
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


def _until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not met() and time.monotonic() < deadline:
        time.sleep(0.02)


def _fake_run(settings: Any, run: Path) -> bool:
    """Begins, and does as its name says; or else runs until it is asked to stop, and takes a while to save."""
    with model.train._signals() as asked:
        run.with_suffix(".begun").touch()
        if run.name == "short":
            return True
        _until((run.parent / "a.begun").exists)
        if run.name == "fails":
            raise ConfigError("it failed")
        if run.name == "stops":
            return False
        signal.raise_signal(signal.SIGINT)  # Ctrl-C reaches the workers too
        _until(lambda: bool(asked) or (run.parent / "stops.begun").exists())
        time.sleep(1)
        run.with_suffix(".saved").touch()
        return not asked


def _fake_worker(settings: Any, run: Path) -> bool:
    model.ablate.run_one = _fake_run  # type: ignore[assignment]  # in a process of its own, where nothing is patched
    return model.ablate._in_worker(settings, run)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(
    "runs, begun, saved",
    [
        (["a", "b", "c", "d", "e", "f"], {"a", "b"}, {"a", "b"}),  # interrupted, see below
        (["a", "stops", "c", "d", "e", "f"], {"a", "stops"}, {"a"}),
        (["short", "a", "fails", "d", "e", "f"], {"short", "a", "fails"}, {"a"}),
    ],
    ids=["interrupted", "asked to stop", "failed"],
)
def test_concurrent_runs_that_stop_begin_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: list[str], begun: set[str], saved: set[str]
) -> None:
    def names(kind: str) -> set[str]:
        return {path.stem for path in tmp_path.glob(f"*.{kind}")}

    def interrupt() -> None:
        _until(lambda: names("begun") == {"a", "b"})
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    monkeypatch.setattr(model.ablate, "_in_worker", _fake_worker)
    settings, given = cast(Any, (SimpleNamespace(workers=2), [tmp_path / name for name in runs]))
    if "stops" in runs:
        assert not _side_by_side(settings, given)
    else:
        if "b" in runs:
            threading.Thread(target=interrupt).start()
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # xdist ignores it
        with pytest.raises(KeyboardInterrupt if "b" in runs else ConfigError):
            _side_by_side(settings, given)
        signal.signal(signal.SIGINT, before)
    assert (names("begun"), names("saved")) == (begun, saved)


def _written(settings: AblationSettings, *, owners: tuple[int, ...] = (0, 0, 1, 1), flops: float = 0.0) -> None:
    """Results of runs, as if trained: with seed s, the first 1 + s captions of four find their image, in the arm `plain` one more."""
    for arm, seed, run in runs_of(settings):
        found = 1 + seed + (arm == "plain")
        os.makedirs(run.output)
        ranks = {"separate.text_to_image": np.where(np.arange(4) < found, 1, 20), "separate.image_to_text": np.array([1, 20])}
        held = owners if arm == "plain" else (0, 0, 1, 1)
        safetensors.numpy.save_file({**ranks, "owners": np.array(held)}, os.path.join(run.output, "ranks.safetensors"))
        result = {"identity": _identity(settings, run), "report": {"tasks": {"sst2": 0.5 + 0.1 * seed}}, "flops": flops, "steps": 7}
        Path(run.output, "result.json").write_text(json.dumps(result))


def test_the_table_has_the_means_and_differences_of_finished_runs(corpus: str, few: str, tmp_path: Path) -> None:
    settings = AblationSettings.model_validate(_settings(corpus, few, tmp_path))
    _written(settings)
    rows = {(row["arm"], row["metric"]): row for row in ablate(settings)}
    first, other = (rows[arm, "separate.text_to_image R@1"] for arm in ("full", "plain"))
    assert first["mean"] == pytest.approx(3 / 8) and other["mean"] == pytest.approx(5 / 8) and first["steps"] == 7
    assert other["difference"] == pytest.approx(1 / 4) and "difference" not in first
    assert rows["full", "separate.image_to_text R@1"]["mean"] == 0.5
    task = rows["plain", "task sst2"]
    assert (task["low"], task["high"]) == pytest.approx((0.55 - 12.706 * 0.05, 0.55 + 12.706 * 0.05), rel=1e-3)  # Student's t, two seeds
    assert task["difference"] == task["difference_low"] == task["difference_high"] == 0
    with open(tmp_path / "out" / "table.csv", newline="") as file:
        assert {(row["steps"], row["flops"]) for row in csv.DictReader(file)} == {("7.0", "")}  # operations that nobody counted
    assert "| full | 2 | 7 |  |" in (tmp_path / "out" / "table.md").read_text()
    shutil.rmtree(tmp_path / "out")
    _written(settings, flops=2e13)
    ablate(settings)
    assert "| full | 2 | 7 | 2e+13 |" in (tmp_path / "out" / "table.md").read_text()


def test_runs_that_ranked_other_captions_are_not_compared(corpus: str, few: str, tmp_path: Path) -> None:
    settings = AblationSettings.model_validate(_settings(corpus, few, tmp_path))
    _written(settings, owners=(0, 1, 1, 1))
    with pytest.raises(ConfigError, match="arms.plain: model: not the same captions were ranked as in arms.full"):
        ablate(settings)


def _wide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> str:
    """A corpus to evaluate on, unlike the others."""
    if changes.pop("other_words", False):
        honest = training_corpus.Tokenizer
        monkeypatch.setattr(training_corpus, "Tokenizer", lambda held: honest({**held, "vocab.txt": held["vocab.txt"] + b"\nmore"}))
    sizes = {"images": 6, "captions": 1, "alone": 1, "texts": 1, "partitions": 1, **changes}
    return write_corpus(str(tmp_path / "other"), Sizes(**sizes)).url


_TASK = {"steps": 1, "data": {"batch": {"texts": 4}, "max_tokens": 24}, "sst2": {"folder": "/nowhere"}, "device": "cpu"}


@pytest.mark.parametrize(
    "error, message, changes, other",
    [
        (ConfigError, "truth: .*absent.json does not exist", {"truth": "absent.json"}, None),
        (ConfigError, "truth: .*bad.json: p must have a list of pair ids", {"truth": "bad.json"}, None),
        (ConfigError, "corpus: the features of .* are 9 wide, but arms.full expects 8", {}, {"features": 9}),
        (ConfigError, "corpus: the tokenizer of .* is not the one", {}, {"other_words": True}),
        (ConfigError, "corpus: .* has no caption that fits arms.full", {}, {"without_regions": 6}),
        (ConfigError, "arms.x: data.negatives: .* count", {"arms": {"full": {}, "x": {"data": {"negatives": {"count": 3}}}}}, None),
        (SourceError, "tasks.sst2: /nowhere", {"tasks": {"sst2": _TASK}}, None),
        (SourceError, "tasks.sst2: /elsewhere", {"tasks": {"sst2": _TASK}, "task_folders": {"sst2": "/elsewhere"}}, None),
        (
            ConfigError,
            r"arms.full: model.positions: 40 is too few for \d+ captions and hard negatives of .*arms.long \(60\)",
            {"arms": {"full": {}, "long": {"model": {"positions": 60}}}},
            {"tokens": (30, 50)},
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_any_run(
    corpus: str,
    few: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
    message: str,
    changes: dict[str, Any],
    other: dict[str, Any] | None,
) -> None:
    settings = {**_settings(corpus, _wide(tmp_path, monkeypatch, **other) if other else few, tmp_path), **changes}
    if "truth" in changes:
        (tmp_path / "bad.json").write_text('{"o": ["a"], "p": [["b"]]}')
        settings["truth"] = str(tmp_path / changes["truth"])
    if "tasks" in changes:
        task = {**_TASK, "data": {**_TASK["data"], "corpus": few}}  # type: ignore[dict-item]
        if "task_folders" in changes:
            write_tsv(tmp_path / "sst2" / "train.tsv", ["sentence", "label"], [("w1 w2", 0), ("w3", 1)] * 5)
            task["sst2"] = {"folder": str(tmp_path / "sst2")}
        settings["tasks"] = {"sst2": task}
    with pytest.raises(error, match=message):
        ablate(AblationSettings.model_validate(settings))
    assert not (tmp_path / "out").exists()


def test_arms_of_other_sizes_are_compared_where_everything_fits_all(corpus: str, few: str, tmp_path: Path) -> None:
    settings = _settings(corpus, few, tmp_path, arms={"full": {}, "plain": {"model": {"positions": 60}}})
    _written(AblationSettings.model_validate(settings))
    assert ablate(AblationSettings.model_validate(settings))


@pytest.mark.parametrize(
    "change, key",
    [
        ({"train": {"seed": 1}}, "train.seed"),
        ({"train": {"output": "o"}}, "train.output"),
        ({"arms": {"full": {}, "x": {"seed": 5}}}, "arms.x.seed"),
        ({"arms": {"full": {}, "x": {"output": None}}}, "arms.x.output"),
        ({"tasks": {"sst2": {"start": "s"}}}, "tasks.sst2.start"),
        ({"tasks": {"sst2": {"seed": 1, "steps": 1}}}, "tasks.sst2.seed"),
    ],
)
def test_settings_that_every_run_has_of_its_own_are_refused(
    corpus: str, few: str, tmp_path: Path, change: dict[str, Any], key: str
) -> None:
    with pytest.raises(ValidationError, match=f"{key}: is set by the ablation, run by run"):
        AblationSettings.model_validate(merged(_settings(corpus, few, tmp_path), change))
    started = merged(_settings(corpus, few, tmp_path), {"train": {"start": "weights"}})
    assert runs_of(AblationSettings.model_validate(started))[0][2].start == "weights"


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"a": "b"}', 'a must have a list of pair ids, not "b"'),
        ('{"b": ["c"], "a": ["b", 3]}', "a must have a list of pair ids"),
        ('["a"]', "must be a JSON mapping"),
        ("{", "must be a JSON mapping"),
    ],
)
def test_a_truth_file_in_another_form_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "truth.json"
    path.write_text('{"a": ["b", "c"], "d": []}')
    assert read_truth(str(path)) == {"a": {"b", "c"}, "d": set()}
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"truth: {path}.* {message}"):
        read_truth(str(path))


def test_the_configurations_of_the_benchmark_are_valid() -> None:
    made = configurations(2e13, 505, 3, 5e-4)
    runs = {name: runs_of(AblationSettings.model_validate(value)) for name, value in made.items()}
    assert {name: len(found) for name, found in runs.items()} == {"settings": 3, "headline": 9, "leave_one_out": 39, "uniter": 18}


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
