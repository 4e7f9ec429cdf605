"""Runs `cmcl train`, `cmcl evaluate` and `cmcl ablate`. Imports torch, so the command line imports this module only when required."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from typing import Any

import pyarrow as pa

from model import parallel
from model.ablate import AblationSettings, ablate, read_truth
from model.config import TrainSettings, wanted
from model.data.loader import Batches, ShardLoader
from model.evaluate import evaluate
from model.look import attention_source
from model.scoring import Scorer, load_network, trained_head
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
    loader = ShardLoader(
        Batches(
            settings.data,
            seed=settings.seed,
            masking=settings.masking,
            wanted=wanted(settings),
            rank=parallel.rank(),
            world=parallel.world(),
        )
    )
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
    rerank = None if args.rerank == "all" else int(args.rerank)
    trials = [read_trials(*_trial(given), split=args.split) for given in args.trials]
    report, _ = evaluate(args.checkpoint, args.corpus, rerank, args.head, read_truth(args.truth), args.hidden, not args.no_negatives)
    if trials:
        network, held = load_network(args.checkpoint)
        report["trials"] = measure(
            Scorer(network, held, args.corpus), pa.concat_tables(trials), args.corpus, args.head or trained_head(held), rerank
        )
    if args.output:
        files.write_json(args.output, report)
    print("\n".join(lines(report)))
    return 0


def run_ablate(args: argparse.Namespace) -> int:
    """Trains and evaluates the missing runs of an ablation; returns the exit status, 143 when it was asked to stop before the end."""
    value, base = read_settings(args.config, args.overrides)
    for key in ("output", "corpus", "truth"):
        if isinstance(value.get(key), str):
            value[key] = resolved(value[key], base)
    for held in [value.get("train"), *(value.get("arms") or {}).values()]:
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
    made = {key: resolved(held, base) if key in ("output", "start") and isinstance(held, str) else held for key, held in value.items()}
    data = made.get("data")
    if isinstance(data, dict) and isinstance(data.get("corpus"), str):
        made["data"] = {**data, "corpus": resolved(data["corpus"], base)}
    return made


def _trial(given: str) -> tuple[str, str]:
    """The name and file in `NAME=FILE`. Raises ConfigError for any other form or an unknown name."""
    name, _, path = given.partition("=")
    if name not in READERS or not path:
        raise ConfigError(f"--trials takes NAME=FILE with NAME one of {', '.join(READERS)}, not {given!r}")
    return name, path


def lines(report: dict[str, Any]) -> list[str]:
    """The lines of a report as text."""
    made = [
        f"{report['checkpoint']} (step {report['step']}) on {report['corpus']}: {report['images']} images, {report['captions']} captions"
    ]
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
    for name, kinds in report.get("trials", {}).items():
        for kind, found in kinds.items() if name != "skipped" else ():
            made += [f"{name} {kind} {how}: {json.dumps(values)} of {found['trials']}" for how, values in found.items() if how != "trials"]
    made += [f"  left out: {count} trials, {reason}" for reason, count in report.get("trials", {}).get("skipped", {}).items()]
    return made
