"""Starts, saves and resumes runs."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from model import checkpoint, parallel
from model.batch import DataFacts, Loader
from model.checkpoint import Checkpoint
from model.config import NOT_RESUMED, TrainSettings
from model.heads import Network
from model.optimizer import load_state_tensors, optimizer_of, state_tensors
from model.pretrained import start_from
from model.random_state import random_state, restore
from model.tasks import TASKS, task_of
from model.tasks.base import Task
from model.transformer import Shape
from schemas.errors import ConfigError
from schemas.ids import counter_rng

_log = logging.getLogger(__name__)


@dataclass
class Progress:
    """Progress of a training: updates, operations, rows processed, updates skipped because no objective applied, and latest losses."""

    step: int = 0
    flops: float = 0.0
    samples: int = 0
    skipped: int = 0
    idle: int = 0  # those of them since the last that was not
    losses: dict[str, float] = field(default_factory=dict)

    def share(self, settings: TrainSettings) -> float:
        """The completed share of the training."""
        return max(self.step / settings.steps if settings.steps else 0.0, self.flops / settings.flops if settings.flops else 0.0)


def restored(
    settings: TrainSettings, facts: DataFacts, held: Checkpoint | None, device: torch.device
) -> tuple[Network, torch.optim.AdamW, Progress]:
    """The network, its optimizer and the progress: new, started from other weights, or resumed from a checkpoint."""
    torch.manual_seed(settings.seed)
    network = Network(
        settings.model, Shape(vocabulary=facts.vocabulary.size, features=facts.features, geometry=facts.geometry, classes=facts.classes)
    )
    if settings.task in TASKS and isinstance(task := task_of(settings), Task):
        network.add_task(task.head(network, facts.labels))
    if held is None and settings.start:
        if checkpoint.is_checkpoint(settings.start):
            start = checkpoint.load(settings.start, only="model")
            new = ["task"] if facts.classes == start.state["facts"]["classes"] else ["task", "classes"]
            _load_weights(network, start, facts, apart=new)
        else:
            unused = start_from(network, settings.start)
            _log.info("%s: %d tensors were not used: %s", settings.start, len(unused), ", ".join(unused[:5]))
    if settings.objectives.cmcl and isinstance(settings.objectives.cmcl.temperature, float):
        network.contrast.temperature.requires_grad_(False).fill_(settings.objectives.cmcl.temperature)
    network.to(device)
    optimizer, progress = optimizer_of(network, settings.optimizer), Progress()
    torch.manual_seed(settings.seed + (parallel.rank() + 1) * 2**32)  # dropout differs between processes
    if held is not None:
        _check_resumable(settings, facts, held)
        _load_weights(network, held, facts)
        load_state_tensors(network, optimizer, held.tensors["optimizer"])
        names = [f"{parallel.rank()}.{number}" for number in range(len(random_state(device)))]
        if held.state["world"] == parallel.world():
            restore([held.tensors["random"][name] for name in names if name in held.tensors["random"]], device)
        else:
            _log.warning("%s was written by %d processes: dropout and mismatches are drawn anew", held.url, held.state["world"])
            torch.manual_seed(int(counter_rng(settings.seed, "dropout", f"{held.state['step']} {parallel.rank()}").integers(1 << 63)))
        progress = Progress(**held.state["progress"])
    return network, optimizer, progress


def _load_weights(network: Network, held: Checkpoint, facts: DataFacts, apart: Sequence[str] = ()) -> None:
    theirs, ours = held.state["facts"]["vocabulary"], dataclasses.asdict(facts.vocabulary)
    if theirs["sha256"] != ours["sha256"]:
        names = [f"{side['size']} tokens, {side['sha256'][:12]}" for side in (ours, theirs)]
        raise ConfigError(f"corpus: its tokenizer ({names[0]}) is not the one that {held.url} was trained with ({names[1]})")
    checkpoint.fill(network, held, apart)


def _check_resumable(settings: TrainSettings, facts: DataFacts, held: Checkpoint) -> None:
    """Raises ConfigError when a run would continue with other data, or with changed settings that affect the result."""
    for key, before, now in _changes(held.state["settings"], settings.model_dump(mode="json")):
        if key not in NOT_RESUMED:
            raise ConfigError(
                f"{key}: {now!r} differs from {before!r}, which {held.url} was trained with: restore it, or choose another output"
            )
    if held.state["facts"]["corpus"] != facts.corpus:
        raise ConfigError(
            f"corpus: this one ({facts.corpus[:12]}) is not the one that {held.url} was trained on "
            f"({held.state['facts']['corpus'][:12]}): choose another output"
        )


def _changes(before: Any, now: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The settings that differ: their keys, and both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() | now.keys()):
            yield from _changes(before.get(name), now.get(name), f"{key}.{name}" if key else name)
    elif before != now:
        yield key, before, now


def save(
    settings: TrainSettings, facts: DataFacts, network: Network, optimizer: torch.optim.AdamW, loader: Loader, progress: Progress
) -> int:
    """Saves a checkpoint from the first process, with the state of every process's generators; returns its step."""
    device = network.contrast.bias.device
    states = [parallel.gather(state[None].to(device))[0].cpu() for state in random_state(device)]
    if parallel.rank() == 0:
        random = {f"{rank}.{number}": state[rank].clone() for number, state in enumerate(states) for rank in range(parallel.world())}
        checkpoint.save(
            settings.output,
            progress.step,
            {"model": dict(network.state_dict()), "optimizer": state_tensors(network, optimizer), "random": random},
            {
                "settings": settings.model_dump(mode="json"),
                "facts": dataclasses.asdict(facts),
                "loader": loader.state(),
                "progress": dataclasses.asdict(progress),
                "world": parallel.world(),
            },
            settings.keep,
        )
    parallel.wait()
    return progress.step
