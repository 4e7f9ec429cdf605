"""Rows per second of `cmcl diff` on two corpora, compared with `cmcl verify` on both, and peak memory of the diff.

    python -m benchmarks.diff A B [--repeats 3]

Each command runs in a new process; seconds are medians, of wall and processor time, and include the interpreter's start.
"""

from __future__ import annotations

import argparse
import statistics
import time

from benchmarks.report_memory import measured
from schemas.corpus import open_corpus


def timed(*arguments: str) -> tuple[float, float, float]:
    """Wall and processor seconds and peak anonymous MB of a `cmcl` command. Raises RuntimeError if it fails."""
    start = time.perf_counter()
    _, allocated, processor = measured("pipelines.cli", *arguments, wanted=(0, 1))
    return time.perf_counter() - start, processor, allocated


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
    equal = [timed("diff", args.a, args.a) for _ in range(args.repeats)]
    for at, what in enumerate(("wall", "processor")):
        compared = statistics.median(run[0][at] for run in runs)
        verified = statistics.median(run[1][at] + run[2][at] for run in runs)
        print(
            f"{rows:,} rows, {what} time: diff {compared:.2f} s, verify of both {verified:.2f} s, ratio of rows per second "
            f"{verified / compared:.2f}; two equal corpora {statistics.median(one[at] for one in equal):.2f} s"
        )
    print(f"peak memory of diff: {max(run[0][2] for run in runs):.0f} MB")


if __name__ == "__main__":
    main()
