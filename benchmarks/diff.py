"""Rows per second of `cmcl diff` on two corpora, compared with `cmcl verify` on both, and peak memory of the diff.

    python -m benchmarks.diff A B [--repeats 3]

Each command runs in a new process; seconds are medians and include the interpreter's start. Memory is anonymous (allocated) memory.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import psutil

from benchmarks.peak_memory import memory_of
from schemas.corpus import open_corpus


def timed(*arguments: str) -> tuple[float, int]:
    """Seconds and peak anonymous bytes of a `cmcl` command. Raises RuntimeError if it fails."""
    start, peak = time.perf_counter(), 0
    process = subprocess.Popen([sys.executable, "-m", "pipelines.cli", *arguments], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, memory_of(psutil.Process(process.pid))[0])
        time.sleep(0.02)
    if process.returncode not in (0, 1):
        raise RuntimeError(f"cmcl {' '.join(arguments)} exited with status {process.returncode}")
    return time.perf_counter() - start, peak


def main() -> None:
    """Prints one line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    rows = 0
    for url in (args.a, args.b):
        corpus, index = open_corpus(url)
        manifests = [corpus.manifest(entry.stage) for entry in index.stages]
        rows += sum(sum(manifest.counts.rows_out.values()) for manifest in manifests if manifest)
    runs = [(timed("diff", args.a, args.b), timed("verify", args.a), timed("verify", args.b)) for _ in range(args.repeats)]
    compared = statistics.median(run[0][0] for run in runs)
    verified = statistics.median(run[1][0] + run[2][0] for run in runs)
    equal = statistics.median(timed("diff", args.a, args.a)[0] for _ in range(args.repeats))
    print(f"{rows:,} rows: diff {compared:.2f} s, verify of both {verified:.2f} s, ratio of rows per second {verified / compared:.2f}")
    print(f"peak memory of diff {max(run[0][1] for run in runs) / 1e6:.0f} MB; two equal corpora {equal:.2f} s")


if __name__ == "__main__":
    main()
