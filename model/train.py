"""Training: a loop over batches, the same in one process and in several (`torchrun`), which can stop and resume at any update."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from model import checkpoint, parallel
from model.batch import Batch, Loader
from model.config import TrainSettings, objectives_of
from model.heads import Network
from model.logs import Log, Window
from model.objectives import Objective
from model.objectives.base import Views
from model.optimizer import constrain, gradient_norm, rate
from model.runs import Progress, restored, save
from schemas.errors import CmclError, ConfigError
from schemas.ids import counter_rng

_COLUMNS = "step lr loss loss/* gradient_norm samples_per_second padding wait flops mfu temperature skipped".split()


_IDLE = 100  # updates in a row without anything to learn from, after which a training would hardly end


class TrainingError(CmclError):
    """Training cannot continue; the message names the step and the rows."""


def train(settings: TrainSettings, loader: Loader, bar: bool = False) -> tuple[Network, Progress]:
    """Trains, resuming from the newest checkpoint in `settings.output`; returns the network and the progress.

    A SIGTERM or SIGINT saves a checkpoint after the current update and returns early.

    Raises ConfigError when settings, data and checkpoint do not fit each other (before any work), CheckpointError when weights cannot be
    read, TrainingError when a loss or gradient is not finite.
    """
    facts = loader.facts
    objectives = objectives_of(settings, facts)
    device = parallel.start(settings.device)
    held = checkpoint.latest(settings.output)
    network, optimizer, progress = restored(settings, facts, held, device)
    if held:
        loader.load_state(held.state["loader"])
    if settings.compile:
        for layer in network.body.layers:
            layer.compile()
    columns = [column for name in _COLUMNS for column in ([f"loss/{one.name}" for one in objectives] if name == "loss/*" else [name])]
    log = Log(settings.output, columns, progress.step, settings.tensorboard) if parallel.rank() == 0 else None
    saved = held.state["step"] if held else -1
    batches = iter(loader)
    window = Window(settings, device)
    with (
        closing(log) if log else nullcontext(),
        _signals() as stopped,
        tqdm(
            total=1.0,
            initial=progress.share(settings),
            disable=not bar,
            unit="run",
            bar_format="{percentage:5.1f}%|{bar}| {elapsed}<{remaining}{postfix}",
        ) as shown,
    ):
        while progress.share(settings) < 1:
            with window.waiting():
                given = [_next(batches, settings) for _ in range(settings.accumulate)]
            window.saw(given)
            counted = settings.flops is not None or (progress.step + 1) % settings.log_every == 0
            update = _update(network, optimizer, objectives, [batch.to(device) for batch in given], settings, progress, counted, stopped)
            shown.n = min(1.0, progress.share(settings))
            shown.set_postfix({"step": progress.step, **{name: f"{loss:.3f}" for name, loss in progress.losses.items()}})
            if log and progress.step % settings.log_every == 0:
                log.write(
                    progress.step,
                    {
                        **window.close(update.flops),
                        "lr": update.lr,
                        "loss": update.total,
                        "flops": update.flops,
                        "gradient_norm": update.norm,
                        "temperature": float(network.contrast.temperature.detach()),
                        "skipped": progress.skipped,
                        **{f"loss/{name}": loss for name, loss in progress.losses.items()},
                    },
                )
            if progress.step % settings.checkpoint_every == 0 or update.stop:
                saved = save(settings, facts, network, optimizer, loader, progress)
            if update.stop:
                break
        if saved != progress.step:
            save(settings, facts, network, optimizer, loader, progress)
    return network, progress


@dataclass(frozen=True)
class Update:
    """Figures of one update over all processes: weighted loss, gradient norm, operations, learning rate; stop: a process was asked to."""

    total: float
    norm: float
    flops: float
    lr: float
    stop: bool


def _update(
    network: Network,
    optimizer: torch.optim.AdamW,
    objectives: list[Objective],
    batches: list[Batch],
    settings: TrainSettings,
    progress: Progress,
    counted: bool,
    stopped: list[int],
) -> Update:
    """One update: losses and gradients of the batches of every process, one reduction, one step of AdamW."""
    lr = rate(settings.optimizer, progress.share(settings))
    network.train()
    optimizer.zero_grad(set_to_none=True)
    drawn = [_drawn(objectives, batch, settings, f"{progress.step}-{number}") for number, batch in enumerate(batches)]
    work = [(batch, [(objectives.index(one), one, one.count(batch)) for one in own]) for batch, own in zip(batches, drawn, strict=True)]
    device = network.contrast.bias.device
    counts = torch.zeros(len(objectives), dtype=torch.float64, device=device)
    for _, chosen in work:
        for number, _, count in chosen:
            counts[number] += count
    counts = parallel.summed(counts)
    losses: list[tuple[Batch, int, Tensor]] = []
    with _counting(counted) as flops, torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
        for batch, chosen in work:
            losses += _backward(network, batch, chosen, counts, settings)
    parallel.sum_gradients(network.parameters())
    facts = torch.zeros(len(objectives) + 3, dtype=torch.float64, device=device)
    for _, number, loss in losses:
        facts[number] += loss
    facts[-3:] = torch.tensor([float(flops()), float(len(stopped)), float(sum(map(len, batches)))], dtype=torch.float64)
    *sums, operations, stop, samples = parallel.summed(facts).tolist()
    norm = float(gradient_norm(network))
    if not all(map(torch.isfinite, torch.tensor([*sums, norm]))):
        raise TrainingError(_blame(progress.step, losses, objectives, batches))
    tally = counts.tolist()
    if any(tally):
        if settings.optimizer.clip:
            torch.nn.utils.clip_grads_with_norm_(network.parameters(), settings.optimizer.clip, torch.tensor(norm, device=device))
        for group in optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        optimizer.step()
        constrain(network)
        progress.idle = 0
    else:
        progress.skipped, progress.idle = progress.skipped + 1, progress.idle + 1
        if progress.idle >= _IDLE:
            names = ", ".join(one.name for one in objectives)
            raise TrainingError(
                f"step {progress.step + 1}: {_IDLE} updates in a row had nothing to learn from, for {names}: look at data.batch, "
                "data.negatives and data.mix"
            )
    progress.step, progress.samples = progress.step + 1, progress.samples + int(samples)
    progress.flops += operations if settings.flops else 0
    progress.losses.update({one.name: sums[number] / tally[number] for number, one in enumerate(objectives) if tally[number]})
    total = sum(_weight(one, settings) * sums[number] / tally[number] for number, one in enumerate(objectives) if tally[number])
    return Update(total, norm, operations, lr, stop > 0)


def _drawn(objectives: list[Objective], batch: Batch, settings: TrainSettings, position: str) -> list[Objective]:
    """The objectives of a batch: all that apply to its stream, or one drawn by weight; word-region alignment accompanies matching."""
    fitting = [one for one in objectives if batch.stream in one.streams]
    mains = [one for one in fitting if one.name != "wra"]
    if settings.mixing == "sum" or len(mains) < 2:
        return fitting
    weights = torch.tensor([one.settings.weight for one in mains], dtype=torch.float64)
    drawn = mains[int(counter_rng(settings.seed, "task", position).choice(len(mains), p=(weights / weights.sum()).numpy()))]
    return [one for one in fitting if one is drawn or (one.name == "wra" and drawn.name == "itm")]


def _weight(objective: Objective, settings: TrainSettings) -> float:
    """The factor of an objective's loss; the weights of objectives that are drawn are their probabilities instead."""
    return 1.0 if settings.mixing == "one" and objective.name != "wra" else objective.settings.weight


def _backward(
    network: Network, batch: Batch, chosen: list[tuple[int, Objective, Tensor]], counts: Tensor, settings: TrainSettings
) -> list[tuple[Batch, int, Tensor]]:
    """Computes the gradient of a batch's weighted losses, each divided by its count over all batches; returns the sums. chosen: numbers of
    objectives, and their own counts.
    """
    views, direct, losses = Views(network, batch), [], []
    for number, objective, own in chosen:
        if counts[number] == 0 or own == 0 and parallel.world() == 1:
            continue
        scale = (_weight(objective, settings) / counts[number]).to(network.contrast.bias.dtype)
        loss = objective.backward(views, scale)
        if loss is None:
            loss = objective.loss(views)
            direct.append(loss * scale)
        losses.append((batch, number, loss.detach()))
    if direct:
        torch.stack(direct).sum().backward()
    return losses


def _blame(step: int, losses: list[tuple[Batch, int, Tensor]], objectives: list[Objective], batches: list[Batch]) -> str:
    """The error text for an infinite or NaN loss or gradient; names the rows whose features are not finite, else all of the batch."""
    bad = [(batch, objectives[number].name) for batch, number, loss in losses if not torch.isfinite(loss)]
    what = f"the loss of {bad[0][1]} is" if bad else "the gradient is"
    if not bad and parallel.world() > 1:
        what = f"a loss of another process or the gradient is, in process {parallel.rank()}"
    names: list[str] = []
    for batch in [batch for batch, _ in bad] or batches:
        finite = batch.images.features.isfinite().flatten(1).all(1).tolist() if batch.images else []
        names += [name for name, fine in zip(batch.names, finite, strict=False) if not fine] or list(batch.names)
    named = list(dict.fromkeys(names))
    more = f" and {len(named) - 8} more" if len(named) > 8 else ""
    return f"step {step + 1}: {what} not finite, with {', '.join(named[:8])}{more}: look at these rows, or lower optimizer.lr"


def _next(batches: Iterator[Batch], settings: TrainSettings) -> Batch:
    try:
        return next(batches)
    except StopIteration:
        raise ConfigError("corpus: the loader returned no batch; its streams are empty") from None


@contextmanager
def _signals() -> Iterator[list[int]]:
    """A list to which SIGTERM and SIGINT are appended while the block runs."""
    stopped: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def note(number: int, _: Any) -> None:
        if stopped:  # a second signal stops at once
            raise KeyboardInterrupt
        stopped.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _counting(counted: bool) -> Iterator[Any]:
    """A function that returns the number of operations in the block, whose compiled code runs uncompiled in order to be counted."""
    if not counted:
        yield lambda: 0
        return
    counter = FlopCounterMode(display=False)
    with torch.compiler.set_stance("force_eager"), counter:
        yield counter.get_total_flops
