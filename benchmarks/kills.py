"""Kills runs of a configuration at random moments and resumes them, and compares the corpus with that of an unbroken run.

    python -m benchmarks.kills CONFIG FOLDER [--kills 10] [--workers 2] [--seed 0] [--keep STAGE ...]

Both corpora are made below FOLDER. A run is killed once it has finished a random number of tasks, so that every stage has its turn, and the
next one goes on from there. The driver gets SIGKILL, so it cleans nothing up; its workers end by themselves. Where a run has ended, its
corpus is compared and begun again. With `--keep`, it begins with these finished stages of the unbroken corpus. Exits with status 1 if a
corpus differs.
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

_MOST = 25  # tasks between two kills


def command(args: argparse.Namespace, corpus: Path) -> list[str]:
    """The command line of a run."""
    run = [sys.executable, "-m", "pipelines.cli", "run", args.config, "--quiet", "--workers", str(args.workers)]
    return [*run, "--set", f"corpus={corpus}"]


def hash_of(corpus: Path) -> str:
    """The corpus hash. Raises RuntimeError if the corpus does not verify."""
    if findings := verify(*open_corpus(str(corpus))):
        raise RuntimeError(f"{corpus}: {findings[0].text}")
    return corpus_hash(*open_corpus(str(corpus)))["corpus"]


def finished(corpus: Path) -> int:
    """The number of finished tasks."""
    return len(list(corpus.glob("*/task*.json")))


def killed(args: argparse.Namespace, corpus: Path, tasks: int) -> str | None:
    """The stage in which a run was killed after it had finished `tasks` tasks; None: it ended before."""
    process = subprocess.Popen(command(args, corpus), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while finished(corpus) < tasks:
        if process.poll() is not None:
            return None
        time.sleep(0.01)
    below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(below, timeout=60)
    if alive:
        raise RuntimeError(f"workers outlive their driver: {alive}")
    return max(corpus.glob("*/*"), key=lambda path: path.stat().st_mtime_ns).parent.name


def begin(args: argparse.Namespace, corpus: Path) -> None:
    """Removes the corpus, and copies the stages that are kept."""
    shutil.rmtree(corpus, ignore_errors=True)
    for stage in args.keep:
        shutil.copytree(args.folder / "whole" / stage, corpus / stage)
    if args.keep:
        shutil.copy(args.folder / "whole" / "corpus.json", corpus)


def main() -> None:
    """Prints the moments and the outcome."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", nargs="*", default=[], metavar="STAGE", help="stages that are not made again")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(command(args, args.folder / "whole"), check=True, stdout=subprocess.DEVNULL)
    wanted, tasks = hash_of(args.folder / "whole"), finished(args.folder / "whole")
    corpus, moments, completed = args.folder / "killed", random.Random(args.seed), 0
    stages: Counter[str] = Counter()
    begin(args, corpus)
    while stages.total() < args.kills:
        done = finished(corpus)
        stage = killed(args, corpus, moments.randrange(done + 1, min(done + _MOST, tasks)))
        if stage:
            stages[stage] += 1
            print(f"killed in {stage}, {finished(corpus)} of {tasks} tasks finished", flush=True)
        if stage is None or stages.total() == args.kills or tasks - finished(corpus) < 2:
            subprocess.run(command(args, corpus), check=True, stdout=subprocess.DEVNULL)
            if (found := hash_of(corpus)) != wanted:
                sys.exit(f"{corpus} has hash {found}, the unbroken corpus {wanted}")
            completed += 1
            print(f"completed: hash {found}", flush=True)
            begin(args, corpus)
    print(f"{args.kills} kills in {len(stages)} stages, {completed} corpora completed after them, each with hash {wanted}")


if __name__ == "__main__":
    main()
