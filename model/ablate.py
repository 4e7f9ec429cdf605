"""Ablations: one training under several settings (arms) and seeds, compared in one table. Runs are resumable; finished ones are skipped."""

from __future__ import annotations

import csv
import json
import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict
from itertools import islice
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from pydantic import Field, model_validator

from model.batch import DataFacts
from model.checkpoint import Checkpoint
from model.config import TrainSettings, objectives_of, wanted
from model.data.loader import ShardLoader
from model.data.shards import Shards, contents_of
from model.downstream import TaskRows, batches_of, measure_task
from model.evaluate import evaluate
from model.metrics import CUTS, by_group, interval
from model.scoring import check_corpus
from model.tasks import TASKS, task_of
from model.tasks.base import Task
from model.train import train
from schemas import files
from schemas.errors import ConfigError, CorpusError, SourceError
from schemas.manifest import fingerprint
from schemas.settings import Settings, validated

_log = logging.getLogger(__name__)
Run = tuple[str, int, TrainSettings]  # its arm and seed
_VERSION = 3  # of what is measured and stored; results of another version are measured again


class AblationSettings(Settings):
    """The training runs to compare, and how to evaluate them."""

    output: str = Field(min_length=1, description="folder of the runs (one subfolder each), the table and the plot")
    train: dict[str, Any] = Field(description="settings common to all arms, as in `cmcl train`, without output and seed")
    arms: dict[str, dict[str, Any]] = Field(min_length=1, description="by arm, settings that replace those of train; null removes one")
    against: str = Field(description="the arm that the others are compared with")
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1, description="seeds; each arm is trained once with each")
    corpus: str = Field(min_length=1, description="the corpus to evaluate on, unseen in training")
    tasks: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="what each run is then fine-tuned for: by task, as in `cmcl train`, without output, start and seed",
    )
    task_folders: dict[str, str] = Field(
        default_factory=dict, description="by task, folder of files about images of `corpus` to measure it on, instead of its own"
    )
    rerank: int | None = Field(32, ge=0, description="number of candidates per query that the joint head reranks; 0: none, null: all")
    truth: str | None = Field(None, description="JSON file: by pair id, the pair ids of all images that its caption is true of")
    workers: int = Field(1, ge=1, description="number of concurrent runs, with one thread each; 1: one run with torch's default threads")

    @model_validator(mode="after")
    def _fits(self) -> AblationSettings:
        if self.against not in self.arms:
            raise ValueError(f"against: {self.against!r} is not among the arms {', '.join(self.arms)}")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds: {list(self.seeds)} contains a duplicate")
        if other := sorted(self.task_folders.keys() - self.tasks.keys()):
            raise ValueError(f"task_folders: {other[0]!r} is not among the tasks")
        given = {"train": self.train} | {f"arms.{name}": held for name, held in self.arms.items()}
        given |= {f"tasks.{name}": held for name, held in self.tasks.items()}
        for where, held in given.items():
            for key in sorted({"output", "seed", *(["start"] if where.startswith("tasks.") else [])} & held.keys()):
                raise ValueError(f"{where}.{key}: is set by the ablation, run by run: leave it out")
        if wrong := [name for name in self.arms if not name or "/" in name or name.startswith(".")]:
            raise ValueError(f"arms: {wrong[0]!r} is not a valid folder name")
        return self


def merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """`base` with the settings in `change` replaced, recursively."""
    made = dict(base)
    for key, value in change.items():
        held = made.get(key)
        made[key] = merged(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return made


def runs_of(settings: AblationSettings) -> list[Run]:
    """Every run, validated. Raises ConfigError, naming the arm and the key."""
    found = []
    for arm, change in settings.arms.items():
        for seed in settings.seeds:
            given = merged(settings.train, change)
            given |= {"output": files.join(settings.output, arm, f"seed-{seed}"), "seed": seed}
            run = validated(TrainSettings, given, f"arms.{arm}")
            if run.task in TASKS and issubclass(TASKS[run.task], Task):
                raise ConfigError(f"arms.{arm}: task: {run.task} cannot be ablated, since ablations measure retrieval: use cmcl train")
            list(fine_tunings(settings, run))  # validated before any work
            found.append((arm, seed, run))
    return found


def ablate(settings: AblationSettings, bar: bool = False) -> list[dict[str, Any]]:
    """Trains and evaluates the runs that are missing, and writes `table.csv`, `table.md` and `plot.svg`; returns the table's rows, none if
    it was asked to stop before the end.

    Raises ConfigError, CorpusError or SourceError before any work when a run's settings are invalid, or do not fit the data. An error of a
    training is raised once other running ones have saved and stopped.
    """
    runs = runs_of(settings)
    missing = [run for run in runs if _result(settings, run[2]) is None]
    _check_positions(settings, runs)
    if missing:
        check_data(settings, missing)
    _log.info("%d of %d runs are complete", len(runs) - len(missing), len(runs))
    if settings.workers == 1:
        finished = all(run_one(settings, run, bar=bar) for _, _, run in missing)  # stops after a run that was asked to stop
    else:
        finished = _side_by_side(settings, [run for _, _, run in missing])
    if not finished:
        return []
    rows = table(settings, runs)
    write_table(settings.output, rows)
    return rows


def check_data(settings: AblationSettings, missing: Sequence[Run]) -> None:
    """Opens what the missing runs will read, each thing once. Raises ConfigError, CorpusError or SourceError when it does not fit."""
    read_truth(settings.truth)
    shards, facts = Shards(settings.corpus), dict[Any, DataFacts]()
    columns = shards.pairs.columns
    for arm, _, run in missing:
        if not ((columns["regions"] > 0) & (columns["length"] + 2 <= run.model.positions)).any():
            raise ConfigError(f"corpus: {settings.corpus} has no caption that fits arms.{arm} and whose image has regions")
        for one in (run, *fine_tunings(settings, run)):
            where = f"arms.{arm}" if one is run else f"tasks.{one.task}"
            read = one.task, one.data.model_dump_json(exclude_unset=True), wanted(one)
            try:
                if read not in facts:
                    facts[read] = batches_of(one).facts
                    if one is not run:
                        _check_rows(settings, one)
                objectives_of(one, facts[read])
                check_corpus(shards, Checkpoint(where, {}, {"facts": asdict(facts[read])}))
            except (ConfigError, CorpusError, SourceError) as error:
                raise type(error)(f"{where}: {error}") from None


def _check_rows(settings: AblationSettings, run: TrainSettings) -> None:
    """Reads the files that a fine-tuning will be measured on."""
    task, data = task_of(run), run.data
    if folder := settings.task_folders.get(run.task):
        task = type(task)(task.settings.model_copy(update={"folder": folder}))
        data = data.model_copy(update={"corpus": settings.corpus})
    assert isinstance(task, Task)
    task.prepare()
    for split in task.splits("evaluate"):
        TaskRows(task, [split], data, Shards(data.corpus))


def _check_positions(settings: AblationSettings, runs: Sequence[Run]) -> None:
    """Raises ConfigError when the arms' networks do not have room for the same captions and hard negatives, so none could be compared."""
    arms = {run.model.positions: arm for arm, _, run in runs}
    if len(arms) == 1:
        return
    shards = Shards(settings.corpus)
    rows = np.flatnonzero(shards.pairs.columns["regions"] > 0)
    lengths = np.concatenate([shards.pairs.columns["length"][rows], *(pair.negatives.lengths for pair in shards.pairs_at(rows))])
    few, many = min(arms), max(arms)
    if lost := int(((lengths + 2 > few) & (lengths + 2 <= many)).sum()):
        raise ConfigError(
            f"arms.{arms[few]}: model.positions: {few} is too few for {lost} captions and hard negatives of {settings.corpus}, on which "
            f"arms.{arms[many]} ({many}) is evaluated: set the same positions"
        )


def _side_by_side(settings: AblationSettings, missing: list[TrainSettings]) -> bool:
    """Trains runs concurrently; returns whether all finished. If one stops, no other begins; if interrupted, all save and stop."""
    left, running, finished = iter(missing), set[Future[bool]](), True
    # An idle worker ignores SIGTERM, since the pool would end all others if one of them died.
    idle = signal.signal, (signal.SIGTERM, signal.SIG_IGN)
    with ProcessPoolExecutor(settings.workers, multiprocessing.get_context("spawn"), *idle) as pool:
        try:
            while True:
                if finished:  # submits no more than are trained at once: a pool begins whatever it has taken
                    running |= {pool.submit(_in_worker, settings, run) for run in islice(left, settings.workers - len(running))}
                if not running:
                    return finished
                done, running = wait(running, return_when=FIRST_COMPLETED)
                finished = all([one.result() for one in done]) and finished
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _in_worker(settings: AblationSettings, run: TrainSettings) -> bool:
    """`run_one` with one thread. Ctrl-C, which reaches the workers too, waits: SIGTERM would be a second signal, which stops at once."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    torch.set_num_threads(1)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run_one(settings, run)
    finally:
        signal.signal(signal.SIGTERM, before)


def run_one(settings: AblationSettings, run: TrainSettings, bar: bool = False) -> bool:
    """Trains one run, or resumes it, and evaluates it into `result.json` and `ranks.safetensors`; returns whether it finished."""
    _, progress = train(run, ShardLoader(batches_of(run)), bar)
    if progress.share(run) < 1:
        return False
    report, arrays = evaluate(run.output, settings.corpus, settings.rerank, truth=read_truth(settings.truth), hidden=True)
    tuned = list(fine_tunings(settings, run))
    for one in tuned:
        _, progress_of_task = train(one, ShardLoader(batches_of(one)), bar)
        if progress_of_task.share(one) < 1:
            return False
    if tuned:
        report["tasks"] = scores_of(settings, tuned)
    with files.atomic_write(files.join(run.output, "ranks.safetensors")) as sink:
        sink.write(safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
    files.write_json(
        files.join(run.output, "result.json"),
        {
            "identity": _identity(settings, run),
            "report": report,
            "flops": progress.flops,
            "steps": progress.step,
            "samples": progress.samples,
        },
    )
    return True


def fine_tunings(settings: AblationSettings, run: TrainSettings) -> Iterator[TrainSettings]:
    """The fine-tunings that a pretraining run starts. Raises ConfigError, naming the task and the key."""
    for name, given in settings.tasks.items():
        own = {"model": run.model.model_dump(mode="json"), **given, "task": name, "start": run.output, "seed": run.seed}
        tuned = validated(TrainSettings, {**own, "output": files.join(run.output, "tasks", name)}, f"tasks.{name}")
        if not issubclass(TASKS[name], Task):
            raise ConfigError(f"tasks.{name}: is no task with files; ablations measure retrieval anyway")
        yield tuned


def scores_of(settings: AblationSettings, tuned: Sequence[TrainSettings]) -> dict[str, float]:
    """The metrics of finished fine-tunings by task and split, and UNITER's Meta-Sum, the sum of them all."""
    scores: dict[str, float] = {}
    for run in tuned:
        folder = settings.task_folders.get(run.task)
        splits = measure_task(run.output, settings.corpus if folder else run.data.corpus, folder)["splits"]
        found = {f"{run.task} {split} {name}": value for split, held in splits.items() for name, value in held["metrics"].items()}
        scores |= {name: value for name, value in found.items() if not name.endswith(" majority")}
    return {**scores, "meta_sum": sum(scores.values())}


def read_truth(url: str | None) -> dict[str, set[str]] | None:
    """The content of a truth file; None without one. Raises ConfigError, naming the pair, unless it maps ids to lists of ids."""
    if url is None:
        return None
    held = files.read_json(url)
    if not isinstance(held, dict):
        what = "does not exist" if files.size_of(url) is None else "must be a JSON mapping of pair ids to lists of pair ids"
        raise ConfigError(f"truth: {url} {what}")
    for pair, ids in held.items():
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
            raise ConfigError(f"truth: {url}: {pair} must have a list of pair ids, not {json.dumps(ids)[:80]}")
    return {pair: set(ids) for pair, ids in held.items()}


def _identity(settings: AblationSettings, run: TrainSettings) -> str:
    """A hash of a run's settings and of how it is evaluated; a result with another hash does not count as finished."""
    measured: dict[str, Any] = {"version": _VERSION, "corpus": settings.corpus, "rerank": settings.rerank, "truth": settings.truth}
    measured |= {
        "contents": [contents_of(url) for url in (settings.corpus, run.data.corpus)],
        "true": files.read_json(settings.truth) if settings.truth else None,
    }
    measured |= {name: held for name in ("tasks", "task_folders") if (held := getattr(settings, name))}
    return fingerprint([run.model_dump(mode="json", exclude={"output"}), measured])


def _result(settings: AblationSettings, run: TrainSettings) -> dict[str, Any] | None:
    """The result of a finished run; None if it is not finished."""
    held = files.read_json(files.join(run.output, "result.json"))
    return held if isinstance(held, dict) and held.get("identity") == _identity(settings, run) else None


def table(settings: AblationSettings, runs: list[Run]) -> list[dict[str, Any]]:
    """One row per arm and metric: the mean over seeds, the difference from `against`, and the 95 % interval of each.

    Intervals (`metrics.interval`): over images and seeds; over seeds alone for tasks, ceilings and chance. flops: None where none were
    counted. Raises ConfigError when two runs did not rank the same captions.
    """
    by_arm: dict[str, list[dict[str, np.ndarray]]] = {}
    results: dict[str, list[dict[str, Any]]] = {}
    owners: list[np.ndarray] = []
    for arm, _, run in runs:
        result = _result(settings, run)
        assert result is not None
        results.setdefault(arm, []).append(result)
        held = dict(_values(run.output, result["report"]))
        owners.append(held.pop("owners"))
        if not np.array_equal(owners[0], owners[-1]):
            raise ConfigError(f"arms.{arm}: model: not the same captions were ranked as in arms.{runs[0][0]}: they cannot be compared")
        by_arm.setdefault(arm, []).append(held)
    rows = []
    for arm, seeds in by_arm.items():
        for metric in seeds[0]:
            values, others = [one[metric] for one in seeds], [one[metric] for one in by_arm[settings.against] if metric in one]
            mean, low, high = interval(values)
            row = {
                "arm": arm,
                "metric": metric,
                "mean": mean,
                "low": low,
                "high": high,
                "seeds": len(seeds),
                "steps": float(np.mean([one["steps"] for one in results[arm]])),
                "flops": float(np.mean([one["flops"] for one in results[arm]])) or None,
            }
            if arm != settings.against and others and not metric.startswith(("ceiling", "chance")):
                row |= dict(zip(("difference", "difference_low", "difference_high"), interval(values, others), strict=True))
            rows.append(row)
    return rows


def _values(folder: str, report: dict[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """The captions' images as `owners`, [T], and the values of each metric: one per image, [I], or one overall for tasks and ceilings."""
    with files.open_read(files.join(folder, "ranks.safetensors")) as file:
        arrays = safetensors.numpy.load(file.read())
    yield "owners", (owners := arrays.pop("owners"))
    for name, ranks in sorted(arrays.items()):  # safetensors files are unordered
        if name.startswith("negatives"):
            yield name, ranks
            continue
        for cut in CUTS:
            hits = (ranks <= cut).astype(np.float64)
            if name.endswith("text_to_image"):
                hits = by_group(np.bincount(owners, hits), np.bincount(owners))
            yield f"{name} R@{cut}", hits
    yield from ((f"task {name}", np.array([value])) for name, value in report.get("tasks", {}).items())
    for part in ("ceiling", "chance", "chance_of_all_true"):
        for side, values in report.get(part, {}).items():
            yield from ((f"{part}.{side} {name}", np.array([value])) for name, value in values.items())


def write_table(folder: str, rows: list[dict[str, Any]]) -> None:
    """Writes the rows as CSV and Markdown (with each arm's mean number of updates), and plots the differences (SVG), in a local folder."""
    os.makedirs(folder, exist_ok=True)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with open(os.path.join(folder, "table.csv"), "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    runs = [
        f"| {row['arm']} | {row['seeds']} | {row['steps']:.0f} | {'' if row['flops'] is None else format(row['flops'], '.3g')} |"
        for row in {row["arm"]: row for row in rows}.values()
    ]
    lines = ["| arm | seeds | updates | operations |", "|---|---|---|---|", *runs, ""]
    lines += ["| arm | metric | % | 95 % | difference | 95 % |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = [row["arm"], row["metric"], f"{100 * row['mean']:.1f}", _range(row["low"], row["high"]), "", ""]
        if "difference" in row:
            cells[4:] = [f"{100 * row['difference']:+.1f}", _range(row["difference_low"], row["difference_high"])]
        lines.append(f"| {' | '.join(cells)} |")
    with open(os.path.join(folder, "table.md"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    _plot(os.path.join(folder, "plot.svg"), [row for row in rows if "difference" in row and row["metric"].endswith("R@1")])


def _range(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _plot(path: str, rows: list[dict[str, Any]]) -> None:
    """Differences in recall at 1 with their intervals, one panel per metric."""
    if not rows:
        return
    try:
        import altair
    except ImportError:
        raise ConfigError("the plot requires the package altair: pip install 'cmcl[train]'") from None
    percent = [{**row, **{key: 100 * row[key] for key in ("difference", "difference_low", "difference_high")}} for row in rows]
    base = altair.Chart(altair.Data(values=json.loads(json.dumps(percent)))).encode(y=altair.Y("arm:N", title=None, sort=None))
    bars = base.mark_rule().encode(x=altair.X("difference_low:Q", title="difference, points"), x2="difference_high:Q")
    dots = base.mark_point(filled=True).encode(x="difference:Q")
    zero = altair.Chart(altair.Data(values=[{}])).mark_rule(strokeDash=[4, 4]).encode(x=altair.datum(0))
    charts = [
        altair.layer(zero, *(part.transform_filter(altair.datum.metric == metric) for part in (bars, dots))).properties(
            title=metric, width=320
        )
        for metric in dict.fromkeys(row["metric"] for row in rows)
    ]
    altair.vconcat(*charts).save(path)
