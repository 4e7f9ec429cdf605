"""Peak memory and processor time of `cmcl report` and `cmcl diff` on corpora of two sizes.

    python -m benchmarks.report_memory WORK [--captions 25014 1000000] [--partitions 16]

The captions, graphs, TF-IDF negatives, swaps and rejects of 1,000 synthetic scenes are made once by a run and then repeated for other
images, without pixels. The second corpus of a comparison has other words in one caption of a hundred. Two figures each: `resident`, the
highest resident memory, with the files that are mapped (wait4), and `allocated`, the highest anonymous memory, sampled every 50 ms.
A process's peak includes that of the process that started it, so this one imports nothing large, and corpora are made in others.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path


def make_scenes(folder: Path) -> None:
    """Runs a corpus of 5,000 captions of synthetic scenes."""
    from benchmarks.idle import write_captions
    from pipelines.config import parse_config
    from pipelines.run import run

    write_captions(folder / "captions.tsv", 5000, 1000)
    source = {"format": "tsv", "name": "made", "captions": str(folder / "captions.tsv")}
    settings = {"partitions": 1, "pixels": False, "portable": False, "tfidf": {"k": 5}, "swaps": {"per_kind": 1}, "pairs": [source]}
    run(parse_config({"corpus": str(folder / "scenes"), **settings}, str(folder)))


def measured(*arguments: str, wanted: tuple[int, ...] = (0,)) -> tuple[float, float, float]:
    """Resident and allocated MB, and processor seconds, of a Python module run with arguments. Raises RuntimeError if it fails."""
    child = subprocess.Popen([sys.executable, "-m", *arguments], stdout=subprocess.DEVNULL)
    allocated = 0
    while True:
        held, status, used = os.wait4(child.pid, os.WNOHANG)
        if held:
            break
        allocated = max(allocated, _anonymous(child.pid))
        time.sleep(0.05)
    if os.waitstatus_to_exitcode(status) not in wanted:
        raise RuntimeError(f"{' '.join(arguments)} ended with status {os.waitstatus_to_exitcode(status)}")
    return used.ru_maxrss / 1024, allocated / 1024, used.ru_utime + used.ru_stime


def _anonymous(process: int) -> int:
    """kB of anonymous memory; 0 for a process that has just ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def main() -> None:
    """Prints one line per command and size, and the ratio of the last size to the first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("work", metavar="WORK", type=Path)
    parser.add_argument("--captions", type=int, nargs="+", default=[25_014, 1_000_000])
    parser.add_argument("--partitions", type=int, nargs="+", default=[16], help="one number, or one for each size")
    parser.add_argument("--make", help=argparse.SUPPRESS)
    args = parser.parse_args()
    work: Path = args.work
    if args.make == "scenes":
        return make_scenes(work)
    if args.make:
        from benchmarks.repeated import write_repeated

        return write_repeated(work / "scenes", work / args.make, **json.loads(os.environ["CMCL_REPEATED"]))
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "scenes" / "corpus.json").exists():
        measured("benchmarks.report_memory", str(work), "--make", "scenes")
    peaks: dict[str, list[tuple[float, float]]] = {}
    for count, partitions in zip(args.captions, args.partitions * (len(args.captions) if len(args.partitions) == 1 else 1), strict=True):
        names = [f"{count}-{partitions}-{side}" for side in "ab"]
        for name in names:
            if not (work / name / "corpus.json").exists():
                os.environ["CMCL_REPEATED"] = json.dumps({"captions": count, "partitions": partitions, "changed": name.endswith("b")})
                measured("benchmarks.report_memory", str(work), "--make", name)
        a, b = (str(work / name) for name in names)
        for title, arguments in (("report", ("report", a, "--out", f"{a}-report")), ("diff", ("diff", a, b))):
            resident, allocated, seconds = measured("pipelines.cli", *arguments, wanted=(1,) if title == "diff" else (0,))
            peaks.setdefault(title, []).append((resident, allocated))
            print(
                f"{count:,} captions, {partitions} partitions, {title}: resident {resident:.0f} MB, allocated {allocated:.0f} MB, "
                f"{seconds:.1f} s of processor time",
                flush=True,
            )
    for title, found in peaks.items():
        ratios = [last / first for first, last in zip(found[0], found[-1], strict=True)]
        print(f"{title}: resident {ratios[0]:.2f} times, allocated {ratios[1]:.2f} times that of the first")


if __name__ == "__main__":
    main()
