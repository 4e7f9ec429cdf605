"""Beam's overhead: a row-local stage through Beam and the same function in a plain process pool, on the same partitions.

    python -m benchmarks.beam_overhead [--captions FILE] [--rounds 3] [--runners local,spark,flink,prism]

Prints the start-up time of each (a run with every task up to date) and one ratio per runner: Beam to pool, excluding start-up.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pipelines.config import parse_config
from pipelines.run import plan_of, run
from schemas.corpus import Corpus
from transforms.core.beam import RunContext, RunStage, StageFingerprint, run_task
from transforms.core.stage import Stage

WORKERS = 2
STAGE = "graphs"  # row-local and fast, so any overhead of Beam is visible
MEASURED = ("pool", "local")  # their processes are waited for, so their CPU time is known; job servers are killed


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--captions", default=os.path.join(os.environ.get("CMCL_DATA", "../shared/data"), "coco_val2017/captions_val2017.json")
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runners", default="local")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="cmcl-overhead-") as folder:
        config = parse_config(
            {
                "corpus": folder,
                "pixels": False,
                "partitions": 16,
                "tfidf": None,
                "swaps": {"per_kind": 1},
                "pairs": [{"format": "coco", "name": "coco", "captions": os.path.abspath(args.captions)}],
            },
            "/",
        )
        run(config, workers=WORKERS)
        corpus, states = plan_of(config)
        stage = next(state.stage for state in states if state.stage.name == STAGE)
        context = RunContext(corpus, config.seed, 1.0, {STAGE: StageFingerprint("f", {})})
        engines: dict[str, Callable[[], None]] = {"pool": lambda: in_pool(context, stage)}
        for runner in args.runners.split(","):
            engines[runner] = partial(through_beam, runner, context, stage)
        beyond: dict[str, list[Cost]] = {name: [] for name in engines}
        startups: dict[str, list[float]] = {name: [] for name in engines}
        for _ in range(args.rounds):  # alternating, so that other load on the machine affects all alike
            for name, action in engines.items():
                forget(corpus)
                work = cost_of(action)
                startup = cost_of(action)  # now every task is up to date
                beyond[name].append(Cost(work.wall_s - startup.wall_s, work.cpu_s - startup.cpu_s))
                startups[name].append(startup.wall_s)
        for name in engines:
            walls, cpus = [cost.wall_s for cost in beyond[name]], [cost.cpu_s for cost in beyond[name]]
            cpu = f", {_line(cpus)} CPU" if name in MEASURED else ""
            print(f"{name}: start-up {_line(startups[name])}; excluding start-up {_line(walls)}{cpu}")
        for name in engines:
            if name != "pool":
                cpu = f", {_ratio(beyond, name, 'cpu_s'):.2f} CPU" if name in MEASURED else ""
                print(f"ratio {name} to pool, excluding start-up: {_ratio(beyond, name, 'wall_s'):.2f} wall{cpu}")


def _ratio(beyond: dict[str, list[Cost]], name: str, what: str) -> float:
    return statistics.median(getattr(cost, what) for cost in beyond[name]) / statistics.median(
        getattr(cost, what) for cost in beyond["pool"]
    )


def in_pool(context: RunContext, stage: Stage) -> None:
    """Runs the stage's tasks in a plain process pool."""
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        pool.starmap(run_task, [(context, stage, p) for p in range(context.corpus.partitions)], chunksize=1)
        pool.close()
        pool.join()


def through_beam(runner: str, context: RunContext, stage: Stage) -> None:
    """Runs the same tasks as one pipeline."""
    from pipelines.runners import open_runner

    with open_runner(runner, WORKERS, []) as pipeline:
        pipeline | RunStage(context, stage, [])
        pipeline.run().wait_until_finish()


def forget(corpus: Corpus) -> None:
    """Removes the stage's output."""
    shutil.rmtree(corpus.folder(STAGE), ignore_errors=True)


@dataclass(frozen=True)
class Cost:
    """Wall-clock seconds, and CPU seconds of this process and its descendants."""

    wall_s: float
    cpu_s: float


def cost_of(action: Callable[[], None]) -> Cost:
    """The cost of an action. CPU time is more reliable on a busy machine."""

    def used() -> float:
        return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))

    start, before = time.perf_counter(), used()
    action()
    return Cost(time.perf_counter() - start, used() - before)


def _line(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s (of {', '.join(f'{one:.2f}' for one in sorted(seconds))})"


if __name__ == "__main__":
    main()
