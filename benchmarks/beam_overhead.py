"""What Beam costs: a row-local stage through it against the same function in a plain process pool, on the same partitions.

    python -m benchmarks.beam_overhead [--captions FILE] [--rounds 3] [--runners local,spark,flink,prism]

Prints the start-up of each (the same with every task standing) and one ratio a runner: Beam to pool, beyond start-up.
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
STAGE = "graphs"  # row-local, and as slow as its engine: what Beam adds shows if anything does
MEASURED = ("pool", "local")  # whose processes are waited for, so that their processor time is known; job servers are ended


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--captions", default=os.path.join(os.environ.get("CMCL_DATA", "../shared/data"),
                                                           "coco_val2017/captions_val2017.json"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runners", default="local")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="cmcl-overhead-") as folder:
        config = parse_config({"corpus": folder, "pixels": False, "partitions": 16, "tfidf": None,
                               "swaps": {"per_kind": 1},
                               "pairs": [{"format": "coco", "name": "coco", "captions": os.path.abspath(args.captions)}]}, "/")
        run(config, workers=WORKERS)
        corpus, states = plan_of(config)
        stage = next(state.stage for state in states if state.stage.name == STAGE)
        context = RunContext(corpus, config.seed, 1.0, {STAGE: StageFingerprint("f", {})})
        engines: dict[str, Callable[[], None]] = {"pool": lambda: in_pool(context, stage)}
        for runner in args.runners.split(","):
            engines[runner] = partial(through_beam, runner, context, stage)
        beyond: dict[str, list[Cost]] = {name: [] for name in engines}
        startups: dict[str, list[float]] = {name: [] for name in engines}
        for _ in range(args.rounds):  # in turn, so that what else the machine does falls on all alike
            for name, action in engines.items():
                forget(corpus)
                work = cost_of(action)
                startup = cost_of(action)  # now every task stands
                beyond[name].append(Cost(work.wall_s - startup.wall_s, work.cpu_s - startup.cpu_s))
                startups[name].append(startup.wall_s)
        for name in engines:
            walls, cpus = [cost.wall_s for cost in beyond[name]], [cost.cpu_s for cost in beyond[name]]
            cpu = f", {_line(cpus)} of processor time" if name in MEASURED else ""
            print(f"{name}: start-up {_line(startups[name])}; beyond it {_line(walls)}{cpu}")
        for name in engines:
            if name != "pool":
                cpu = f", {_ratio(beyond, name, 'cpu_s'):.2f} of processor time" if name in MEASURED else ""
                print(f"ratio {name} to pool, beyond start-up: {_ratio(beyond, name, 'wall_s'):.2f} of wall time{cpu}")


def _ratio(beyond: dict[str, list[Cost]], name: str, what: str) -> float:
    return statistics.median(getattr(cost, what) for cost in beyond[name]) / statistics.median(
        getattr(cost, what) for cost in beyond["pool"])


def in_pool(context: RunContext, stage: Stage) -> None:
    """The stage's tasks in a plain process pool."""
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        pool.starmap(run_task, [(context, stage, p) for p in range(context.corpus.partitions)], chunksize=1)
        pool.close()
        pool.join()


def through_beam(runner: str, context: RunContext, stage: Stage) -> None:
    """The same tasks as one pipeline."""
    from pipelines.runners import open_runner

    with open_runner(runner, WORKERS, []) as pipeline:
        pipeline | RunStage(context, stage, [])
        pipeline.run().wait_until_finish()


def forget(corpus: Corpus) -> None:
    """Removes what the stage made."""
    shutil.rmtree(corpus.folder(STAGE), ignore_errors=True)


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, and of processor time of this process and all below it."""

    wall_s: float
    cpu_s: float


def cost_of(action: Callable[[], None]) -> Cost:
    """What an action costs. Processor time tells more where other work goes on."""
    def used() -> float:
        return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))

    start, before = time.perf_counter(), used()
    action()
    return Cost(time.perf_counter() - start, used() - before)


def _line(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s (of {', '.join(f'{one:.2f}' for one in sorted(seconds))})"


if __name__ == "__main__":
    main()
