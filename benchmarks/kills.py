"""Kills runs of a configuration at random moments and resumes them, and compares the corpus with that of an unbroken run.

    python -m benchmarks.kills CONFIG FOLDER [--kills 10] [--workers 2] [--seed 0]

Both corpora are made below FOLDER. The driver gets SIGKILL, so it cleans nothing up; its workers end by themselves. If a run ends before
its moment, its corpus is compared and begun again. Exits with status 1 if a corpus differs.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil

from pipelines.verify import corpus_hash, verify
from schemas.corpus import open_corpus

_NEXT = 0.3  # probability that a corpus is completed and begun again after a kill


def command(args: argparse.Namespace, corpus: Path) -> list[str]:
    """The command line of a run."""
    run = [sys.executable, "-m", "pipelines.cli", "run", args.config, "--quiet", "--workers", str(args.workers)]
    return [*run, "--set", f"corpus={corpus}"]


def hash_of(corpus: Path) -> str:
    """The corpus hash. Raises RuntimeError if the corpus does not verify."""
    if findings := verify(*open_corpus(str(corpus))):
        raise RuntimeError(f"{corpus}: {findings[0].text}")
    return corpus_hash(*open_corpus(str(corpus)))["corpus"]


def killed(args: argparse.Namespace, corpus: Path, after_s: float) -> str | None:
    """The stage in which a run was killed after `after_s` seconds; None: it ended before."""
    process = subprocess.Popen(command(args, corpus), start_new_session=True)
    try:
        if process.wait(after_s):
            raise RuntimeError(f"the run failed with status {process.returncode}")
        return None
    except subprocess.TimeoutExpired:
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(below, timeout=60)
    if alive:
        raise RuntimeError(f"workers outlive their driver: {alive}")
    written = sorted(corpus.glob("*/*"), key=lambda path: path.stat().st_mtime_ns)
    return written[-1].parent.name if written else "start"


def main() -> None:
    """Prints the moments and the outcome."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    subprocess.run(command(args, args.folder / "whole"), check=True)
    span_s, wanted = time.monotonic() - start, hash_of(args.folder / "whole")
    corpus, moments = args.folder / "killed", random.Random(args.seed)
    stages: Counter[str] = Counter()
    completed = 0
    while stages.total() < args.kills:
        stage = killed(args, corpus, moments.uniform(0.1, 0.9) * span_s)
        if stage:
            stages[stage] += 1
        if stage is None or stages.total() == args.kills or moments.random() < _NEXT:
            subprocess.run(command(args, corpus), check=True)
            if (found := hash_of(corpus)) != wanted:
                sys.exit(f"{corpus} has hash {found}, the unbroken corpus {wanted}")
            completed += 1
            shutil.rmtree(corpus)
    where = ", ".join(f"{stage} {count}" for stage, count in stages.items())
    print(f"{args.kills} kills (last stage written to: {where}), {completed} corpora completed after them, each with hash {wanted}")


if __name__ == "__main__":
    main()
