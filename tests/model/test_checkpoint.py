"""Checkpoints: old ones go, damaged ones are passed over, unwritten ones do not count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from model import checkpoint
from model.checkpoint import CheckpointError
from model.train import train
from tests.model.batches import MemoryLoader, facts
from tests.model.test_train import settings


def test_old_checkpoints_go(tmp_path: Path) -> None:
    train(settings(tmp_path, steps=6, checkpoint_every=1, keep=2), MemoryLoader())
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-00000005", "step-00000006"]


def test_a_truncated_checkpoint_is_named_and_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(settings(tmp_path), MemoryLoader())
    damaged = tmp_path / "step-00000004" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"step-00000004/model.safetensors is damaged"):
        checkpoint.load(str(tmp_path))
    network, progress = train(settings(tmp_path), MemoryLoader())
    assert progress.step == 4 and "step-00000004/model.safetensors is damaged" in caplog.text
    assert checkpoint.load(str(tmp_path)).state["step"] == 4
    (tmp_path / "step-00000004" / "state.json").write_text('{"step": 4')
    assert checkpoint.load(str(tmp_path)).state["step"] == 2


@pytest.mark.parametrize("keep", [1, 2])
def test_a_run_that_starts_over_keeps_its_own_checkpoints(tmp_path: Path, keep: int) -> None:
    train(settings(tmp_path, steps=6, checkpoint_every=3, keep=keep), MemoryLoader())
    for damaged in tmp_path.glob("step-*/model.safetensors"):
        damaged.write_bytes(damaged.read_bytes()[:-100])
    _, progress = train(settings(tmp_path, steps=3, checkpoint_every=3, keep=keep), MemoryLoader())
    assert progress.step == 3 and [path.name for path in tmp_path.glob("step-*")] == ["step-00000003"]
    assert checkpoint.latest(str(tmp_path)).state["step"] == 3  # type: ignore[union-attr]


def test_an_unwritten_checkpoint_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk while saving: the error is raised, and the previous checkpoint is still the one to resume from."""
    train(settings(tmp_path, steps=2), MemoryLoader())
    from schemas import files

    write = files.HashingSink.write

    def full(sink: Any, data: Any) -> int:
        if memoryview(data).nbytes > 1 << 20:
            raise OSError(28, "No space left on device")
        return write(sink, data)

    monkeypatch.setattr(files.HashingSink, "write", full)
    longer = settings(tmp_path / "other", steps=2)
    with pytest.raises(OSError, match="No space left"):
        train(longer, MemoryLoader())
    assert checkpoint.latest(str(tmp_path / "other")) is None and checkpoint.latest(str(tmp_path)).state["step"] == 2  # type: ignore[union-attr]
    assert not list((tmp_path / "other").rglob(".tmp-*"))


def test_a_run_with_soft_labels_starts_one_without(tmp_path: Path) -> None:
    """The head of the classes, which nothing needs then, is left out, and made anew for other classes."""
    train(settings(tmp_path / "first", steps=1), MemoryLoader())
    first = checkpoint.load(str(tmp_path / "first")).tensors["model"]
    for classes in (0, 3):
        network, _ = train(
            settings(tmp_path / str(classes), start=str(tmp_path / "first"), steps=1, optimizer={"lr": 1e-30}),
            MemoryLoader(data_facts=facts(classes=classes)),
        )
        assert torch.equal(network.body.text.word.weight, first["body.text.word.weight"])
