"""Training: it learns, resumes bit for bit, stops when asked, logs, and refuses what does not fit."""

from __future__ import annotations

import csv
import dataclasses
import math
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from model import checkpoint
from model.batch import Known
from model.checkpoint import CheckpointError
from model.config import TrainSettings
from model.objectives.cmcl import pairs_of
from model.train import TrainingError, train
from schemas.errors import ConfigError
from tests.model.batches import VOCABULARY, MemoryLoader, facts, pairs

ALL = {"cmcl": {}, "mlm": {}, "mrfr": {"weight": 0.1}, "mrc": {}, "mrc_kl": {}, "itm": {}, "wra": {}, "seq2seq": {}}
STREAMS = ("pairs", "texts", "images")


def settings(folder: Path, **changes: Any) -> TrainSettings:
    return TrainSettings.model_validate(
        {
            "data": {"corpus": "in memory"},
            "output": str(folder),
            "model": {"size": "tiny", "positions": 16, "max_regions": 8},
            "objectives": {"cmcl": {}},
            "steps": 4,
            "log_every": 1,
            "checkpoint_every": 2,
            "tensorboard": False,
            "optimizer": {"lr": 1e-3},
            "device": "cpu",
            **changes,
        }
    )


def weights(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def log(folder: Path) -> list[dict[str, str]]:
    with open(folder / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_losses_fall_on_batches_seen_again(tmp_path: Path) -> None:
    class Same(MemoryLoader):
        def batch(self, position: int) -> Any:
            return super().batch(position % 3)

    network, progress = train(settings(tmp_path, objectives=ALL, steps=45, log_every=1, checkpoint_every=100), Same(STREAMS))
    rows = log(tmp_path)
    for name in ALL:
        seen = [float(row[f"loss/{name}"]) for row in rows if row[f"loss/{name}"]]
        assert seen[-1] < seen[0] or name == "wra", name
    assert progress.step == 45 == len(rows) and progress.samples == 45 * 3
    assert all(0 < float(row["padding"]) < 1 and 0 <= float(row["wait"]) < 1 and float(row["gradient_norm"]) > 0 for row in rows)
    assert all(row["mfu"] == "" and float(row["samples_per_second"]) > 0 for row in rows)  # no peak is known of a CPU
    assert 0.001 <= float(rows[-1]["temperature"]) <= 0.5


@pytest.mark.parametrize(
    "mixing, objectives, accumulate",
    [("sum", ALL, 1), ("one", ALL, 2), ("sum", {"cmcl": {"encoding": "separate", "in_batch": True, "chunk": 4}}, 1)],
)
def test_resume_is_exact_to_the_bit(tmp_path: Path, mixing: str, objectives: Any, accumulate: int) -> None:
    streams = STREAMS if "mlm" in objectives else ("pairs",)
    given = {"objectives": objectives, "mixing": mixing, "accumulate": accumulate, "flops": 1e15, "steps": 5, "checkpoint_every": 3}
    whole, _ = train(settings(tmp_path / "whole", **given), MemoryLoader(streams))

    class Killed(MemoryLoader):
        def batch(self, position: int) -> Any:
            if position == 4 * accumulate:
                raise KeyboardInterrupt
            return super().batch(position)

    with pytest.raises(KeyboardInterrupt):
        train(settings(tmp_path / "cut", **given), Killed(streams))
    assert checkpoint.latest(str(tmp_path / "cut")).state["step"] == 3  # type: ignore[union-attr]
    resumed, progress = train(settings(tmp_path / "cut", **given), MemoryLoader(streams))
    assert torch.equal(weights(whole), weights(resumed)) and progress.step == 5
    rows = [
        [{key: value for key, value in row.items() if key not in ("samples_per_second", "wait")} for row in log(tmp_path / name)]
        for name in ("whole", "cut")
    ]
    assert rows[0] == rows[1]
    final = [checkpoint.load(str(tmp_path / name)) for name in ("whole", "cut")]
    assert final[0].state["sha256"] == final[1].state["sha256"]


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    first, _ = train(settings(tmp_path), MemoryLoader())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    again, progress = train(settings(tmp_path), MemoryLoader())
    assert torch.equal(weights(first), weights(again)) and progress.step == 4
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}


def test_sigterm_saves_and_leaves(tmp_path: Path) -> None:
    class Asked(MemoryLoader):
        def batch(self, position: int) -> Any:
            if position == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().batch(position)

    handler = signal.getsignal(signal.SIGTERM)
    _, progress = train(settings(tmp_path, steps=50, checkpoint_every=50), Asked())
    assert progress.step == 3 and signal.getsignal(signal.SIGTERM) is handler
    assert checkpoint.load(str(tmp_path)).state["step"] == 3


def test_a_budget_of_operations_ends_the_training(tmp_path: Path) -> None:
    _, free = train(settings(tmp_path / "free", steps=2, flops=1e15), MemoryLoader(full=True))
    _, tight = train(settings(tmp_path / "tight", steps=None, flops=free.flops * 3), MemoryLoader(full=True))
    assert free.step == 2 and tight.step == 6 and tight.flops == pytest.approx(3 * free.flops)
    width, tokens = 192, 3 * 3 * 15 + 3 * 6 + 3 * 9  # sequences of P (1 + 1 + 2), each match alone
    tokens += 3 * 15
    dense = 3 * 2 * 4 * 12 * width**2 * tokens  # forward and backward, 4 layers, 12 H^2 weights each
    assert dense < free.flops / 2 < 1.3 * dense


def test_a_budget_that_nothing_uses_up_is_an_error(tmp_path: Path) -> None:
    given = {"objectives": {"cmcl": {"encoding": "separate", "in_batch": True}}, "flops": 1e9, "steps": None}
    with pytest.raises(TrainingError, match="100 updates in a row had nothing to learn from, for cmcl"):
        train(settings(tmp_path, **given), MemoryLoader(count=1, negatives=0))


def test_drawn_objectives_are_logged_with_the_weight_they_have(tmp_path: Path) -> None:
    train(settings(tmp_path, mixing="one", objectives={"mlm": {"weight": 36.0}, "mrfr": {}}), MemoryLoader())
    for row in log(tmp_path):
        assert sum(float(row[f"loss/{name}"] or 0) == float(row["loss"]) for name in ("mlm", "mrfr")) == 1


def test_a_fixed_temperature_is_what_was_asked_for(tmp_path: Path) -> None:
    network, _ = train(settings(tmp_path, objectives={"cmcl": {"temperature": 1.0}}), MemoryLoader())
    assert log(tmp_path)[-1]["temperature"] == "1" and float(network.contrast.temperature.detach()) == 1


def test_a_loss_that_is_not_finite_stops_and_names_the_pairs(tmp_path: Path) -> None:
    class Damaged(MemoryLoader):
        def batch(self, position: int) -> Any:
            batch = super().batch(position)
            if position == 1:
                assert batch.images is not None
                batch.images.features[2, 0, 0] = float("nan")
            return batch

    with pytest.raises(TrainingError, match=r"step 2: the loss of cmcl is not finite, with pair10-2: look at"):
        train(settings(tmp_path), Damaged())
    assert [row["step"] for row in log(tmp_path)] == ["1"]


def test_batches_with_nothing_to_learn_from_are_counted(tmp_path: Path) -> None:
    _, progress = train(
        settings(tmp_path, objectives={"cmcl": {"encoding": "separate", "in_batch": True}}), MemoryLoader(count=1, negatives=0)
    )
    assert progress.skipped == progress.step == 4 and log(tmp_path)[-1]["skipped"] == "4"


def test_empty_streams_are_an_error(tmp_path: Path) -> None:
    class Empty(MemoryLoader):
        def __iter__(self) -> Any:
            return iter(())

    with pytest.raises(ConfigError, match="the loader returned no batch"):
        train(settings(tmp_path), Empty())


@pytest.mark.parametrize(
    "changes, data, words",
    [
        ({"objectives": {"mrc_kl": {}}}, {"classes": 0}, "objectives.mrc_kl: requires soft labels"),
        (
            {"data": {"corpus": "x", "negatives": {"count": 2, "object": 1}}},
            {"lacking": ("count",)},
            "data.negatives: the corpus has none of the kind count",
        ),
        ({"data": {"corpus": "x", "mix": {"pairs": 1, "texts": 1}}}, {}, "data.mix: nothing that is trained uses texts"),
        (
            {"task": "retrieval", "objectives": {}, "data": {"corpus": "x", "mix": {"images": 1}}},
            {},
            "data.mix: nothing that is trained uses images",
        ),
        ({"objectives": {"mlm": {}}, "masking": {"tokens": 0}}, {}, "masking.tokens: 0 hides nothing"),
        ({"objectives": {"mrfr": {}}, "masking": {"regions": 0}}, {}, "masking.regions: 0 hides nothing"),
        ({"objectives": {"seq2seq": {}}}, {"rows": {"pairs": 9}}, "objectives.seq2seq: requires texts"),
        ({}, {"drawn": {}}, "objectives.cmcl: requires hard negatives"),
        ({}, {"max_regions": 9}, "model.max_regions: 8 is too few: an image of the corpus has 9"),
        ({}, {"max_tokens": 17}, "model.positions: 16 is too few: texts have up to 17 tokens"),
        ({}, {"rows": {}}, "corpus: has no rows"),
        (
            {"data": {"corpus": "x", "matched_images": 2}},
            {"drawn": {"negatives": 1}},
            "data.matched_images: 2 per pair, but the corpus has none",
        ),
        (
            {"data": {"corpus": "x", "negatives": {"object": 1}}, "objectives": {"mlm": {}}},
            {"drawn": {}},
            "data.negatives: {'object': 1} per pair",
        ),
        ({"task": "retrieval", "objectives": {}}, {"rows": {"pairs": 1}}, "task: retrieval requires at least 2 pairs"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(tmp_path: Path, changes: Any, data: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        train(settings(tmp_path, **changes), MemoryLoader(data_facts=facts(**data)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"flops": 1e9, "compile": True}, "flops: operations of compiled layers"),
        ({"objectives": {"cmcl": {"loss": "sigmoid", "positives": "outside"}}}, "positives: outside applies only to loss: softmax"),
        ({"objectives": {"cmcl": {"temperature": float("inf")}}}, "finite number"),
        ({"objectives": {"mlm": {"weight": float("inf")}}}, "weight"),
        ({"steps": None}, "steps or flops is required"),
        ({"objectives": {}}, "at least one of cmcl, mlm"),
        ({"objectives": {"wra": {}}}, "objectives.wra: requires objectives.itm"),
        ({"task": "retrieval"}, "objectives.cmcl: applies only to task: pretrain"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(tmp_path: Path, changes: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        settings(tmp_path, **changes)


def test_another_corpus_tokenizer_or_setting_is_refused_on_resume(tmp_path: Path) -> None:
    train(settings(tmp_path / "run", steps=2), MemoryLoader())
    with pytest.raises(ConfigError, match=r"corpus: this one \(dddddddddddd\) is not the one"):
        train(settings(tmp_path / "run", steps=2), MemoryLoader(data_facts=facts(corpus="d" * 64)))
    with pytest.raises(ConfigError, match=r"optimizer.lr: 0.5 differs from 0.001"):
        train(settings(tmp_path / "run", steps=2, optimizer={"lr": 0.5}), MemoryLoader())
    with pytest.raises(ConfigError, match=r"corpus: its tokenizer \(60 tokens, ffffffffffff\) is not the one"):
        train(
            settings(tmp_path / "new", start=str(tmp_path / "run")),
            MemoryLoader(data_facts=facts(vocabulary=dataclasses.replace(VOCABULARY, sha256="f" * 64))),
        )
    with pytest.raises(CheckpointError, match=r"body.image.feature.weight is \[192, 12\] in it and \[192, 13\]"):
        train(settings(tmp_path / "new", start=str(tmp_path / "run")), MemoryLoader(data_facts=facts(features=13)))


def test_training_starts_from_the_weights_of_another_run(tmp_path: Path) -> None:
    first, _ = train(settings(tmp_path / "first", steps=2), MemoryLoader())
    started, _ = train(settings(tmp_path / "second", start=str(tmp_path / "first"), steps=1, optimizer={"lr": 1e-30}), MemoryLoader())
    assert torch.allclose(weights(first), weights(started))


@pytest.mark.parametrize("loss", ["triplet", "circle"])
def test_retrieval_learns(tmp_path: Path, loss: str) -> None:
    class Same(MemoryLoader):
        def batch(self, position: int) -> Any:
            return super().batch(0)

    given = settings(
        tmp_path,
        task="retrieval",
        objectives={},
        retrieval={"loss": loss, **({"anchors": 4, "hardest": 2} if loss == "triplet" else {})},
        steps=25,
        model={"size": "tiny", "positions": 16, "max_regions": 8, "dropout": 0.0},
    )
    train(given, Same(count=4, positives=0, negatives=0, matches=0))
    seen = [float(row["loss/retrieval"]) for row in log(tmp_path)]
    least = math.log(1 + 3 * math.exp(-0.08)) if loss == "circle" else 0.0  # of three others, at scores of 1 and 0
    assert seen[-1] - least < 0.9 * (seen[0] - least)


_GRADIENTS = """
import sys, torch
from pathlib import Path
from model import parallel
from model.train import train
from tests.model.test_train import Halves, PARALLEL, settings

parallel.start("cpu")
torch.set_default_dtype(torch.float64)  # so that the order of sums is no excuse
for number, changes in enumerate(PARALLEL):
    network, _ = train(settings(Path(sys.argv[1]) / str(number), **changes), Halves(rank=parallel.rank(), world=parallel.world()))
    if parallel.rank() == 0:
        torch.save(torch.cat([p.grad.flatten() for p in network.parameters()]), f"{sys.argv[1]}/{number}.pt")
"""
PARALLEL = [{"objectives": objectives, "steps": 1, "model": {"size": "tiny", "positions": 16, "max_regions": 8, "dropout": 0.0},
             "optimizer": {"clip": None, "warmup": 0.0}} for objectives in (
    {"cmcl": {}, "mlm": {}}, {"cmcl": {"encoding": "separate", "in_batch": True}},
    {"cmcl": {"encoding": "separate", "in_batch": "companions"}},
    {"cmcl": {"encoding": "separate", "in_batch": True, "chunk": 2, "loss": "sigmoid"}, "mrfr": {"weight": 0.1}})]  # fmt: skip


class Halves(MemoryLoader):
    """The same global batch, whole in one process, or divided unevenly between two."""

    def batch(self, position: int) -> Any:
        whole = pairs(position, count=5)
        assert whole.images is not None and whole.matched_images is not None
        known = Known(whole.images.keys[torch.tensor([1, 4, 2])], torch.tensor([4, 0, 2]))  # images of other pairs, across the cut too
        whole = dataclasses.replace(whole, known_images=known)
        return whole if self._world == 1 else pairs_of(whole, *((0, 2), (2, 5))[self._rank])


def test_two_processes_compute_the_gradient_of_one(tmp_path: Path) -> None:
    """As started by `torchrun`: rank, world and the rendezvous address are in the environment."""
    script = tmp_path / "gradients.py"
    script.write_text(_GRADIENTS)
    started = []
    for world in (1, 2):
        (tmp_path / str(world)).mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for rank in range(world):
            where = {
                "PYTHONPATH": str(Path(__file__).parents[2]),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(world),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
            started.append(
                subprocess.Popen(
                    [sys.executable, str(script), str(tmp_path / str(world))],
                    env={**os.environ, **where},
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
    for process in started:
        errors = process.communicate(timeout=280)[1]
        assert process.returncode == 0, errors[-3000:]
    for number in range(len(PARALLEL)):
        one, two = (torch.load(tmp_path / processes / f"{number}.pt", weights_only=True).double() for processes in "12")
        assert float(one.abs().max()) > 1e-2
        assert float((one - two).abs().max()) < 1e-9, number


@pytest.mark.parametrize(
    "changes",
    [
        {"objectives": {"cmcl": {"encoding": "separate", "in_batch": True, "chunk": 4}}},
        {"objectives": ALL},
        {"objectives": {}, "task": "retrieval", "retrieval": {"loss": "circle"}},
    ],
    ids=["separate", "all", "retrieval"],
)
def test_bfloat16_comes_near_float32(tmp_path: Path, changes: Any) -> None:
    """Forward passes are rounded to 8 bits; what sums or exponentiates them is not."""
    found = []
    for precision in ("float32", "bfloat16"):
        given = settings(
            tmp_path / precision,
            precision=precision,
            steps=3,
            model={"size": "tiny", "positions": 16, "max_regions": 8, "dropout": 0.0},
            **changes,
        )
        found.append(train(given, MemoryLoader(STREAMS if changes["objectives"] == ALL else ("pairs",)))[1].losses)
    for name, loss in found[0].items():
        assert found[1][name] == pytest.approx(loss, rel=0.02, abs=0.02)
        assert len(f"{found[1][name] * 3:.9g}") > 7  # no number that bfloat16 could hold


@pytest.mark.slow
def test_compiled_layers_are_compiled_once_for_all_shapes(tmp_path: Path) -> None:
    import torch._dynamo

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    given = {
        "objectives": {"cmcl": {}, "mlm": {}},
        "steps": 4,
        "log_every": 100,
        "model": {"size": "tiny", "positions": 16, "max_regions": 8, "dropout": 0.0},
    }
    found = [train(settings(tmp_path / str(compiled), compile=compiled, **given), MemoryLoader())[1].losses for compiled in (False, True)]
    assert found[1] == pytest.approx(found[0], rel=1e-3)
    assert 1 <= torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 4
