"""Peak memory and cost per caption of a complete run, from captions on disk to shards, for corpora of increasing size.

    python -m benchmarks.peak_memory CAPTIONS.json [--sizes 25000 500000] [--bound 8000 --rescore 700 | --exact] [--workers 1]

The corpora are COCO captions, repeated and perturbed (`benchmarks/corpora.py`). Each run is a separate process, whose memory, including its
workers', is sampled twenty times a second: `anonymous` is allocated memory, `resident` includes mapped files, which the system may
reclaim.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pyarrow as pa
import yaml

from benchmarks.corpora import coco_captions, repeat_and_perturb
from schemas.corpus import open_corpus


def memory_of(process: psutil.Process) -> tuple[int, int]:
    """Anonymous and resident bytes of a process and its children, ignoring processes that have just exited."""
    anonymous = resident = 0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0, 0
    for one in family:
        try:
            status = dict(line.split(":", 1) for line in Path(f"/proc/{one.pid}/status").read_text().splitlines() if ":" in line)
        except (FileNotFoundError, ProcessLookupError):
            continue
        anonymous += 1024 * int(status.get("RssAnon", "0 kB").split()[0])
        resident += 1024 * int(status.get("VmRSS", "0 kB").split()[0])
    return anonymous, resident


def measure(folder: Path, captions: pa.Table, rows: int, search: dict[str, int], workers: int) -> dict[str, float]:
    """Makes a corpus of `rows` captions; returns its peaks in MB, seconds, and milliseconds of search per caption."""
    table = repeat_and_perturb(captions, rows)
    with open(folder / "captions.tsv", "w", encoding="utf-8") as file:
        file.write("caption\timage\n")
        file.writelines(
            f"{' '.join(caption.split())}\t{image}\n"
            for caption, image in zip(table["caption"].to_pylist(), table["image_id"].to_pylist(), strict=True)
        )
    config = folder / "config.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "corpus": str(folder / "corpus"),
                "partitions": max(4, rows // 8192),
                "pixels": False,
                "workers": workers,
                "pairs": [{"format": "tsv", "name": "big", "captions": str(folder / "captions.tsv"), "image": "image"}],
                "tfidf": search,
            }
        )
    )
    del table
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "pipelines.cli", "run", str(config), "--quiet"], stdout=subprocess.DEVNULL)
    peak = [0, 0]
    handle = psutil.Process(process.pid)
    while process.poll() is None:
        peak = [max(pair) for pair in zip(peak, memory_of(handle), strict=True)]
        time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"the run exited with status {process.returncode}")
    wall = time.perf_counter() - start
    manifest = open_corpus(str(folder / "corpus"))[0].manifest("tfidf")
    assert manifest is not None
    numbers = manifest.counts.numbers
    result = {
        "captions": manifest.counts.rows_in,
        "anonymous_mb": peak[0] / 1e6,
        "resident_mb": peak[1] / 1e6,
        "seconds": wall,
        "search_ms_a_caption": 1000 * manifest.wall_s / manifest.counts.rows_in,
    }
    if numbers.get("recall_wanted"):
        result["recall"] = numbers["recall_found"] / numbers["recall_wanted"]
    return result


def main() -> None:
    """Runs each size and prints one line per run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captions", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[25_000, 500_000])
    parser.add_argument("--bound", type=int, default=8000)
    parser.add_argument("--rescore", type=int, default=700)
    parser.add_argument("--exact", action="store_true", help="search without a bound")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--scratch", default=None, help="folder for the corpora (about 25 kB per caption)")
    args = parser.parse_args()
    captions = coco_captions(args.captions)
    for rows in args.sizes:
        with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
            search = {} if args.exact else {"bound": args.bound, "rescore": args.rescore}
            print(json.dumps(measure(Path(folder), captions, rows, search, args.workers)), flush=True)


if __name__ == "__main__":
    main()
