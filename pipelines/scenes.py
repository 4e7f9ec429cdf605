"""The job that renders a collection of synthetic scenes with ground truth: one Beam element per shard."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schemas.errors import from_text
from transforms.scenes.collections import ShardTask, check_replaceable, claim, clear_stale, finished, shard_tasks
from transforms.scenes.task_files import check_tasks, task_files, write_tasks

LOG = logging.getLogger(__name__)


def make_scenes(
    out: str | os.PathLike[str],
    count: int,
    seed: int,
    *,
    pixels: bool = True,
    captions: bool = True,
    shard_size: int = 500,
    texts: int = 0,
    start_index: int = 0,
    unseen: int | None = None,
    workers: int = 1,
    beam_options: Sequence[str] = (),
) -> dict[str, Any]:
    """Makes scenes `start_index` to `start_index + count` and `texts` unrelated sentences in the folder `out`.

    Shards that are already complete with the same settings are skipped, so a killed run is resumed by running it again. The bytes of
    a scene depend only on `seed` and its index. `beam_options` are passed to Beam; with `workers` above 1 the local runner uses that many
    processes. unseen: also write downstream tasks, in which this many scenes, the last, are not for training. Returns the numbers of
    scenes, captions, texts, shards and skipped shards, and seconds.

    `out` must be absent, empty, or a folder of scenes made earlier.

    Raises, before any work, ValueError when a number is out of range, and ConfigError or CorpusError when `out` contains other files;
    RuntimeError when a shard is incomplete at the end.
    """
    limits = (
        ("count", count, 0),
        ("shard_size", shard_size, 1),
        ("texts", texts, 0),
        ("start_index", start_index, 0),
        ("workers", workers, 1),
        ("unseen", 1 if unseen is None else unseen, 1),
    )
    for name, value, least in limits:
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")
    if unseen is not None and unseen >= count:
        raise ValueError(f"unseen must be less than count, or there are no scenes for training: {unseen} of {count}")
    begun = time.monotonic()
    folder = str(Path(out).absolute())
    claim(folder)
    stale = clear_stale(folder)
    if stale:
        LOG.info("removed %d half-written files of an earlier run", stale)
    tasks = shard_tasks(folder, count, seed, pixels=pixels, captions=captions, shard_size=shard_size, texts=texts, start_index=start_index)
    summaries = [finished(task) for task in tasks]
    complete = [summary for summary in summaries if summary is not None]
    waiting = [task for task, summary in zip(tasks, summaries, strict=True) if summary is None]
    for task in waiting:
        check_replaceable(task)
    questions = {} if unseen is None else task_files(seed, start_index, start_index + count, unseen)
    check_tasks(folder, questions)
    LOG.info("%d shards to make, %d already complete with the same settings and skipped", len(waiting), len(complete))
    if waiting:
        try:
            _run(waiting, workers, beam_options)
        finally:
            clear_stale(folder)
    done = complete + [summary for task in waiting if (summary := finished(task)) is not None]
    if len(done) < len(tasks):
        missing = len(tasks) - len(done)
        raise RuntimeError(f"{missing} of {len(tasks)} shards in {folder} are incomplete; is another run writing there?")
    write_tasks(folder, questions)
    total: dict[str, Any] = {name: sum(int(summary[name]) for summary in done) for name in ("scenes", "captions", "texts")}
    return {**total, "shards": len(tasks), "skipped": len(complete), "seconds": round(time.monotonic() - begun, 3)}


def _run(tasks: list[ShardTask], workers: int, beam_options: Sequence[str]) -> None:
    from pipelines.interrupts import interruptible
    from pipelines.runners import end_workers, open_runner  # importing Beam takes a second: only when there is work
    from transforms.scenes.beam import RunScenes

    with open_runner("local", workers, beam_options) as pipeline, interruptible(end_workers):
        _ = pipeline | RunScenes(tasks)
        try:
            pipeline.run().wait_until_finish()
        except RuntimeError as error:
            raise from_text(str(error)) or error from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `cmcl scenes`; Beam's options (`beam_options`) are set by the caller."""
    parser.set_defaults(beam_options=[])
    parser.add_argument("out", help="output folder")
    parser.add_argument("--count", type=int, required=True, help="number of scenes")
    parser.add_argument("--seed", type=int, required=True, help="random seed: the same seed gives the same bytes")
    parser.add_argument("--no-pixels", dest="pixels", action="store_false", help="do not render images")
    parser.add_argument("--no-captions", dest="captions", action="store_false", help="write no captions: an image-only collection")
    parser.add_argument("--texts", type=int, default=0, help="number of sentences that describe no scene (default 0)")
    parser.add_argument("--tasks", action="store_true", help="also write downstream tasks about the scenes, in published layouts")
    parser.add_argument("--unseen", type=int, help="number of scenes, the last, that tasks do not train on (default: a fifth)")
    parser.add_argument("--start-index", type=int, default=0, help="index of the first scene (default 0)")
    parser.add_argument("--shard-size", type=int, default=500, help="scenes per shard (default 500)")
    parser.add_argument("--workers", type=int, default=1, help="number of local worker processes (default 1)")


def main(args: argparse.Namespace) -> int:
    """Runs `cmcl scenes` with parsed arguments, prints a JSON summary, and returns the exit status."""
    try:
        summary = make_scenes(
            args.out,
            args.count,
            args.seed,
            pixels=args.pixels,
            captions=args.captions,
            shard_size=args.shard_size,
            texts=args.texts,
            start_index=args.start_index,
            unseen=_unseen(args),
            workers=args.workers,
            beam_options=args.beam_options,
        )
    except ValueError as error:
        print(f"cmcl scenes: {error}", file=sys.stderr)
        return 2
    print(json.dumps(summary))
    return 0


def _unseen(args: argparse.Namespace) -> int | None:
    """The number of unseen scenes, None without tasks."""
    if not args.tasks and args.unseen is not None:
        raise ValueError("--unseen requires --tasks")
    return (args.count // 5 if args.unseen is None else args.unseen) if args.tasks else None
