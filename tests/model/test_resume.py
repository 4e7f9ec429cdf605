"""Resuming on a real corpus: exact to the bit, and what may change in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from model import checkpoint
from model.config import TrainSettings, wanted
from model.data.loader import Batches, ShardLoader
from model.train import train
from schemas.errors import ConfigError
from tests.model.conftest import training

DROPOUT = {"size": "tiny", "positions": 40, "max_regions": 10, "dropout": 0.1}


def trained(corpus: str, output: Path, steps: int, stop: int | None = None, **changes: Any) -> dict[str, Any]:
    """The state of a run's newest checkpoint, after a training that may have stopped at a step, as if killed."""
    given = {**training(corpus, output), "steps": steps, "checkpoint_every": 1, "model": DROPOUT, **changes}
    settings = TrainSettings.model_validate(given)
    loader = ShardLoader(Batches(settings.data, seed=0, masking=settings.masking, wanted=wanted(settings)))
    if stop is not None:
        fetch = loader.batches.__class__.__getitem__

        def stopping(batches: Any, step: int) -> Any:
            if step >= stop:
                raise KeyboardInterrupt
            return fetch(batches, step)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(type(loader.batches), "__getitem__", stopping)
            train(settings, loader)
    else:
        train(settings, loader)
    held = checkpoint.latest(settings.output)
    assert held is not None
    return held.state


@pytest.mark.parametrize("workers", [0, 1])
def test_with_dropout_a_resumed_run_has_the_bits_of_an_unbroken_one(corpus: str, tmp_path: Path, workers: int) -> None:
    data = {"data": {**training(corpus, tmp_path)["data"], "workers": workers}}
    whole = trained(corpus, tmp_path / "whole", 4, **data)
    if workers:  # its iterator has no place to stop at
        trained(corpus, tmp_path / "cut", 4, stop=2)
    else:
        assert trained(corpus, tmp_path / "cut", 4, stop=2)["step"] == 2
    assert trained(corpus, tmp_path / "cut", 4, **data)["sha256"] == whole["sha256"]


def test_reading_batches_leaves_the_generator_of_dropout_alone(corpus: str) -> None:
    settings = TrainSettings.model_validate(training(corpus, Path("unused")))
    loader = ShardLoader(Batches(settings.data, seed=0, wanted=wanted(settings)))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    next(iter(loader))
    assert torch.equal(torch.get_rng_state(), before)


def test_another_number_of_processes_goes_on_with_new_dropout(corpus: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trained(corpus, tmp_path, 4, stop=2)
    held = checkpoint.latest(str(tmp_path))
    assert held is not None
    path = Path(held.url) / checkpoint.STATE
    path.write_text(json.dumps({**json.loads(path.read_text()), "world": 3}))
    assert trained(corpus, tmp_path, 4)["step"] == 4
    assert "was written by 3 processes" in caplog.text


def test_a_changed_setting_is_named_with_both_values_and_what_has_been_read_may_move(corpus: str, tmp_path: Path) -> None:
    trained(corpus, tmp_path / "first", 1)
    trained(corpus, tmp_path / "second", 2, stop=1, start=str(tmp_path / "first"))
    os.rename(tmp_path / "first", tmp_path / "moved")
    data = training(corpus, tmp_path)["data"]
    with pytest.raises(ConfigError, match=r"data.batch.pairs: 4 differs from 8"):
        trained(corpus, tmp_path / "second", 2, data={**data, "batch": {"pairs": 4}})
    with pytest.raises(ConfigError, match=r"data.max_tokens: 30 differs from 40"):
        trained(corpus, tmp_path / "second", 2, data={**data, "max_tokens": 30})
    assert trained(corpus, tmp_path / "second", 2, start=str(tmp_path / "moved"), data={**data, "damaged": "skip"})["step"] == 2


def test_two_runs_cannot_write_to_one_folder(corpus: str, tmp_path: Path) -> None:
    code = "import fcntl, sys; held = open(sys.argv[1], 'w'); fcntl.lockf(held, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline()
        with pytest.raises(ConfigError, match="output: another run is writing to"):
            trained(corpus, tmp_path, 2)
        other.communicate()
    assert trained(corpus, tmp_path, 2)["step"] == 2


@pytest.mark.parametrize("value", [True, float("inf")])
@pytest.mark.parametrize("key", ["flops", "optimizer.lr", "optimizer.epsilon", "objectives.cmcl.temperature", "steps"])
def test_numbers_that_are_none_are_refused(corpus: str, tmp_path: Path, key: str, value: Any) -> None:
    given = training(corpus, tmp_path)
    *path, last = key.split(".")
    held = given
    for name in path:
        held = held.setdefault(name, {})
    held[last] = value
    with pytest.raises(ValueError, match=rf"{last}(.|\n)*(must be a number|finite number)"):
        TrainSettings.model_validate(given)


def test_a_signal_to_the_whole_group_still_saves(corpus: str, tmp_path: Path) -> None:
    """Loader processes have sessions of their own; a batch system's SIGTERM would end them, and the training with them."""
    given = {**training(corpus, tmp_path / "run"), "steps": 100_000, "log_every": 1, "output": str(tmp_path / "run")}
    given["data"] = {**given["data"], "workers": 1}
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(given))
    command = [sys.executable, "-m", "pipelines.cli", "train", str(tmp_path / "train.yaml"), "--quiet"]
    running = subprocess.Popen(command, start_new_session=True, cwd=Path(__file__).parents[2])
    path = tmp_path / "run" / "log.csv"
    while running.poll() is None and (not path.exists() or path.read_text().count("\n") < 4):
        time.sleep(0.2)
    os.killpg(running.pid, signal.SIGTERM)
    assert running.wait(120) == 143
    held = checkpoint.latest(str(tmp_path / "run"))
    assert held is not None and held.state["step"] >= 3
