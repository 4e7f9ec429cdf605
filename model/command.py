"""Runs `cmcl train`, `cmcl evaluate` and `cmcl ablate`. Imports torch, so the command line imports this module only when required."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from typing import Any

import pyarrow as pa

from model import checkpoint, parallel
from model.ablate import AblationSettings, ablate, read_truth
from model.config import TrainSettings
from model.convert import convert_unimo
from model.data.loader import ShardLoader
from model.downstream import batches_of, measure_task
from model.evaluate import evaluate
from model.look import attention_source
from model.scoring import joint_head, open_scorer
from model.tasks import TASKS
from model.tasks.base import Task
from model.train import train
from model.trials import READERS, measure, read_trials
from schemas import files
from schemas.errors import ConfigError
from schemas.settings import read_settings, resolved, validated

__all__ = ["attention_source", "run_ablate", "run_evaluate", "run_train"]

logging.getLogger("model").setLevel(logging.WARNING)  # such as rows left out and damaged checkpoints


def run_train(args: argparse.Namespace) -> int:
    """Trains, or resumes; returns the exit status, 143 when it was asked to stop before the end."""
    value, base = read_settings(args.config, args.overrides)
    settings = validated(TrainSettings, placed(value, base), args.config)
    parallel.start(settings.device)
    loader = ShardLoader(batches_of(settings, parallel.rank(), parallel.world()))
    _, progress = train(settings, loader, bar=not args.quiet and sys.stderr.isatty() and parallel.rank() == 0)
    if parallel.rank() == 0:
        losses = ", ".join(f"{name} {loss:.4f}" for name, loss in progress.losses.items())
        print(
            f"{settings.output}: step {progress.step}, {progress.samples} samples, "
            f"{f'{progress.flops:.3g} operations, ' if settings.flops else ''}{progress.skipped} updates skipped; {losses}"
        )
    parallel.stop()
    if progress.share(settings) < 1:
        print("saved; run again to resume", file=sys.stderr)
        return 143
    return 0


def run_evaluate(args: argparse.Namespace) -> int:
    """Evaluates a checkpoint and prints the report; with --output also writes it as JSON."""
    task = checkpoint.load(args.checkpoint, only="").state["settings"]["task"]
    if task in TASKS and issubclass(TASKS[task], Task):
        return _run_measure_task(args, task)
    if args.folder:
        raise ConfigError(f"--folder: {args.checkpoint} was not fine-tuned on a task's files")
    rerank = None if args.rerank == "all" else int(args.rerank)
    if args.trials:
        report = _trials(args, rerank)
    else:
        report, _ = evaluate(args.checkpoint, args.corpus, rerank, args.head, read_truth(args.truth), args.hidden, not args.no_negatives)
    if args.output:
        files.write_json(args.output, report)
    print("\n".join(lines(report)))
    return 0


def _trials(args: argparse.Namespace, rerank: int | None) -> dict[str, Any]:
    """The report on public sets. Raises ConfigError for options that do not apply to them, or two files of one set and kind."""
    for option in ("truth", "hidden", "no_negatives"):
        if getattr(args, option):
            raise ConfigError(f"--{option.replace('_', '-')}: does not apply to --trials, which measures the public sets alone")
    tables: dict[tuple[str, str], pa.Table] = {}
    for given in args.trials:
        name, _, path = given.partition("=")
        if name not in READERS or not path:
            raise ConfigError(f"--trials takes NAME=FILE with NAME one of {', '.join(READERS)}, not {given!r}")
        table = read_trials(name, path, args.split)
        if tables.setdefault((name, kind := table["kind"][0].as_py()), table) is not table:
            raise ConfigError(f"--trials: {given}: another file has the set {name} and the kind {kind!r} as well")
    scorer, held = open_scorer(args.checkpoint, args.corpus)
    head = joint_head(held, args.head, rerank)
    report = {"checkpoint": held.url, "step": held.state["step"], "corpus": args.corpus, "head": head}
    return {**report, "trials": measure(scorer, pa.concat_tables(tables.values()), args.corpus, head, rerank)}


def _run_measure_task(args: argparse.Namespace, task: str) -> int:
    """Prints a task's metrics."""
    if args.trials or args.truth:
        raise ConfigError(f"--{'trials' if args.trials else 'truth'}: {args.checkpoint} was fine-tuned for {task}, which has its own files")
    report = measure_task(args.checkpoint, args.corpus, args.folder, args.hidden)
    if args.output:
        files.write_json(args.output, report)
    print(f"{report['checkpoint']} (step {report['step']}) on {task}, with the corpus {report['corpus']}")
    for split, found in report["splits"].items():
        for part in ("metrics", "metrics_image_hidden"):
            if part in found:
                cells = "  ".join(f"{name} {100 * value:.2f}" for name, value in found[part].items())
                print(f"  {split}, {found['rows']} rows{', image hidden' if part != 'metrics' else ''}: {cells}")
        for reason, count in found["left_out"].items():
            print(f"    left out: {count} rows, {reason}")
        if found["cut"]:
            print(f"    cut: the texts of {found['cut']} rows")
    return 0


def run_convert(args: argparse.Namespace) -> int:
    """Converts published weights, and says what of them was left out."""
    count, left_out = convert_unimo(args.source, args.output)
    print(f"{args.output}: {count} variables; left out: {', '.join(left_out) or 'none'}")
    return 0


def run_ablate(args: argparse.Namespace) -> int:
    """Trains and evaluates the missing runs of an ablation; returns the exit status, 143 when it was asked to stop before the end."""
    value, base = read_settings(args.config, args.overrides)
    for key in ("output", "corpus", "truth"):
        if isinstance(value.get(key), str):
            value[key] = resolved(value[key], base)
    named = [held for key in ("arms", "tasks") if isinstance(held := value.get(key), dict)]
    if isinstance(value.get("task_folders"), dict):
        value["task_folders"] = {
            task: resolved(held, base) if isinstance(held, str) else held for task, held in value["task_folders"].items()
        }
    for held in [value.get("train"), *(one for group in named for one in group.values())]:
        if isinstance(held, dict):
            held.update(placed(held, base))
    settings = validated(AblationSettings, value, args.config)
    rows = ablate(settings, bar=not args.quiet and sys.stderr.isatty())
    if not rows:
        print("saved; run again to resume", file=sys.stderr)
        return 143
    print(f"{settings.output}: {len(settings.arms)} arms, {len(settings.seeds)} seeds; table.csv, table.md, plot.svg")
    return 0


def placed(value: dict[str, Any], base: str) -> dict[str, Any]:
    """A training's settings with relative paths resolved against the folder `base`."""
    made: dict[str, Any] = {
        key: resolved(held, base) if key in ("output", "start") and isinstance(held, str) else held for key, held in value.items()
    }
    data = made.get("data")
    if isinstance(data, dict) and isinstance(data.get("corpus"), str):
        made["data"] = {**data, "corpus": resolved(data["corpus"], base)}
    for task in TASKS.keys() & made.keys():
        if isinstance(made[task], dict) and isinstance(made[task].get("folder"), str):
            made[task] = {**made[task], "folder": resolved(made[task]["folder"], base)}
    return made


def lines(report: dict[str, Any]) -> list[str]:
    """The lines of a report as text."""
    made = [f"{report['checkpoint']} (step {report['step']}) on {report['corpus']}"]
    if "trials" in report:
        return made + _trial_lines(report["trials"])
    made[0] += f": {report['images']} images, {report['captions']} captions"
    made += [f"  left out: {count} captions, {reason}" for reason, count in report["skipped"].items() if count]
    for title, part in (
        ("recall", report["recall"]),
        ("recall, every true caption", report.get("recall_of_all_true", {})),
        ("ceiling of recall", {"": report["ceiling"]} if "ceiling" in report else {}),
        ("chance", {"": report["chance"]}),
        ("chance, every true caption", {"": report["chance_of_all_true"]} if "chance_of_all_true" in report else {}),
    ):
        for how, sides in part.items():
            for side, values in sides.items():
                cells = "  ".join(f"{name} {100 * value:5.1f}" for name, value in values.items())
                made.append(f"{' '.join(filter(None, (title, how, side.replace('_', ' ')))):55} {cells}")
    for part in ("negatives", "negatives_image_hidden"):
        for kind, found in report.get(part, {}).items():
            made.append(
                f"{part.replace('_', ' ')} {kind:14} {found['negatives']:7}"
                + "".join(f"  {way} {100 * found[way]:5.1f}" for way in ("separate", "joint") if way in found)
            )
    return made


def _trial_lines(report: dict[str, Any]) -> list[str]:
    """The lines of a report on public sets; groups are listed where the published figure is not a mean over them."""
    made = []
    for name, kinds in report.items():
        for kind, values in kinds.items() if name != "skipped" else ():
            groups = {} if "macro" in values.get("separate", {}) else values.get("groups", {})
            for title, found in {kind: values, **{f"{kind} {group}": held for group, held in groups.items()}}.items():
                ways = {way: json.dumps(held) for way, held in found.items() if way not in ("trials", "groups")} or {"nothing": "left"}
                made += [f"{name} {title} {way}: {held} of {found['trials']}" for way, held in ways.items()]
    return made + [f"  left out: {reason}: {count}" for reason, count in report["skipped"].items()]
