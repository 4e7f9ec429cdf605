"""The job that makes a collection of known-truth scenes: one Beam element a shard, a small summary back."""

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
    workers: int = 1,
    beam_options: Sequence[str] = (),
) -> dict[str, Any]:
    """Make scenes `start_index` to `start_index + count` under the folder `out`, and `texts` sentences of their own.

    Shards that stand complete with the same settings are skipped, so a killed run is resumed by running it again. The bytes of
    a scene depend on `seed` and its index alone. `beam_options` are passed to Beam; with `workers` above 1 the
    local runner uses that many processes. Returns scenes, captions, texts, shards, skipped shards and seconds.

    `out` must be absent, empty, or a folder of scenes that was made before.

    Raises ValueError when a number is out of range, ConfigError or CorpusError when `out` holds what was not written by this, before any
    work; RuntimeError when a shard is not whole at the end.
    """
    limits = (("count", count, 0), ("shard_size", shard_size, 1), ("texts", texts, 0), ("start_index", start_index, 0),
              ("workers", workers, 1))
    for name, value, least in limits:
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")
    begun = time.monotonic()
    folder = str(Path(out).absolute())
    claim(folder)
    stale = clear_stale(folder)
    if stale:
        LOG.info("removed %d half-written files of an earlier run", stale)
    tasks = shard_tasks(folder, count, seed, pixels=pixels, captions=captions, shard_size=shard_size, texts=texts,
                        start_index=start_index)
    stand = [finished(task) for task in tasks]
    standing = [summary for summary in stand if summary is not None]
    waiting = [task for task, summary in zip(tasks, stand, strict=True) if summary is None]
    for task in waiting:
        check_replaceable(task)
    LOG.info("%d shards to make, %d stand with the same settings and are skipped", len(waiting), len(standing))
    if waiting:
        try:
            _run(waiting, workers, beam_options)
        finally:
            clear_stale(folder)
    done = standing + [summary for task in waiting if (summary := finished(task)) is not None]
    if len(done) < len(tasks):
        missing = len(tasks) - len(done)
        raise RuntimeError(f"{missing} of {len(tasks)} shards under {folder} are not whole; is another run writing there?")
    total: dict[str, Any] = {name: sum(int(summary[name]) for summary in done) for name in ("scenes", "captions", "texts")}
    return {**total, "shards": len(tasks), "skipped": len(standing), "seconds": round(time.monotonic() - begun, 3)}


def _run(tasks: list[ShardTask], workers: int, beam_options: Sequence[str]) -> None:
    from pipelines.interrupts import interruptible
    from pipelines.runners import end_workers, open_runner  # Beam takes a second to import: only when there is work
    from transforms.scenes.beam import RunScenes

    with open_runner("local", workers, beam_options) as pipeline, interruptible(end_workers):
        _ = pipeline | RunScenes(tasks)
        try:
            pipeline.run().wait_until_finish()
        except RuntimeError as error:
            raise from_text(str(error)) or error from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `cmcl scenes`; options for Beam (`beam_options`) come from elsewhere."""
    parser.set_defaults(beam_options=[])
    parser.add_argument("out", help="folder to write to")
    parser.add_argument("--count", type=int, required=True, help="number of scenes")
    parser.add_argument("--seed", type=int, required=True, help="seed of the collection: the same seed gives the same bytes")
    parser.add_argument("--no-pixels", dest="pixels", action="store_false", help="write no pictures")
    parser.add_argument("--no-captions", dest="captions", action="store_false",
                        help="write no captions: an image-only collection")
    parser.add_argument("--texts", type=int, default=0, help="number of sentences that belong to no scene (default 0)")
    parser.add_argument("--start-index", type=int, default=0, help="index of the first scene (default 0)")
    parser.add_argument("--shard-size", type=int, default=500, help="scenes a shard (default 500)")
    parser.add_argument("--workers", type=int, default=1, help="local processes (default 1)")


def main(args: argparse.Namespace) -> int:
    """Run `cmcl scenes` with parsed arguments and print a summary as JSON; the exit status."""
    try:
        summary = make_scenes(
            args.out, args.count, args.seed, pixels=args.pixels, captions=args.captions, shard_size=args.shard_size,
            texts=args.texts, start_index=args.start_index, workers=args.workers, beam_options=args.beam_options)
    except ValueError as error:
        print(f"cmcl scenes: {error}", file=sys.stderr)
        return 2
    print(json.dumps(summary))
    return 0
