"""Peak memory and processor time of `cmcl report` and `cmcl diff` on corpora of two sizes, made of captions alone.

    python -m benchmarks.report_memory WORK [--captions 25014 1000000] [--partitions 8]

Each is run in a process of its own. The second corpus of a comparison has another word in one caption of a hundred.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.training_corpus import commit
from schemas import ids
from schemas.corpus import Corpus, write_index
from schemas.manifest import Counts, TaskRecord
from schemas.rejects import RejectLog
from schemas.store import TableWriter
from schemas.tables import IMAGES, PAIRS

CAPTIONS_OF_IMAGE = 5
_WORDS = ("a man", "two dogs", "the red kite", "some people", "a small boat", "an old train", "three plates", "a cat", "the street",
          "is next to", "stands on", "runs after", "looks at", "carries", "in the rain", "at night", "by the sea", "a ball")  # fmt: skip


def write_captions(url: Path, count: int, partitions: int, changed: bool) -> None:
    """A corpus of `count` captions of images without pixels; `changed`: one caption of a hundred has another word."""
    corpus, rng = Corpus(str(url), partitions), np.random.default_rng(0)
    images = [f"src/{number}" for number in range(-(-count // CAPTIONS_OF_IMAGE))]
    places = ids.placements(images)
    parts = ids.partition_of(places, partitions)
    chosen = rng.integers(0, len(_WORDS), (count, 6)).tolist()
    records = []
    for part in range(partitions):
        own = np.flatnonzero(parts == part)
        own = own[np.argsort(places[own])].tolist()
        rows = [row for image in own for row in _pairs(images[image], image, chosen, count, changed)]
        pairs = pa.table(dict(zip(PAIRS.names, zip(*rows, strict=True), strict=True)), schema=PAIRS)
        shown = pa.Table.from_pylist([{"image_id": images[image], "source": "src"} for image in own], schema=IMAGES)
        files = []
        for name, table in (("images", shown), ("pairs", pairs), ("rejects", RejectLog("pairs").table())):
            with TableWriter(corpus.table_url("pairs", name, part), table.schema) as writer:
                for batch in table.to_batches(max_chunksize=4096):
                    writer.write(batch)
            assert writer.info
            files.append(writer.info)
        counts = Counts(rows_in=len(rows), rows_out={"images": len(own), "pairs": len(rows)})
        records.append(TaskRecord("pairs", part, "", files, counts, 0))
    total = Counts(rows_in=count, rows_out={"images": len(images), "pairs": count})
    write_index(corpus, 0, [commit(corpus, 0, "pairs", records, total)])


def _pairs(image: str, number: int, chosen: list[list[int]], count: int, changed: bool) -> Iterator[tuple[str, str, str, str]]:
    """Rows of `pairs` of one image, in their order."""
    rows = []
    for row in range(number * CAPTIONS_OF_IMAGE, min((number + 1) * CAPTIONS_OF_IMAGE, count)):
        caption = " ".join(_WORDS[word] for word in chosen[row]) + f" {row}"
        caption += " indeed" if changed and row % 100 == 0 else ""
        rows.append((ids.pair_id(image, caption), image, caption, "src"))
    return iter(sorted(rows))


def measured(*arguments: str) -> tuple[float, float]:
    """Peak resident memory, MB, and processor seconds of a `cmcl` command."""
    child = subprocess.Popen([sys.executable, "-m", "pipelines.cli", *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 1), f"{arguments[0]} failed"
    return used.ru_maxrss / 1e3, used.ru_utime + used.ru_stime


def main() -> None:
    """Prints peak memory for each size, and the ratio of the last to the first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("work", metavar="WORK", type=Path)
    parser.add_argument("--captions", type=int, nargs="+", default=[25_014, 1_000_000])
    parser.add_argument("--partitions", type=int, default=8)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    peaks: dict[str, list[float]] = {}
    for count in args.captions:
        with tempfile.TemporaryDirectory(dir=args.work) as folder:
            a, b = Path(folder, "a"), Path(folder, "b")
            for url, changed in ((a, False), (b, True)):
                write_captions(url, count, args.partitions, changed)
            for name, arguments in (("report", ("report", str(a), "--out", f"{folder}/r")), ("diff", ("diff", str(a), str(b)))):
                peak, seconds = measured(*arguments)
                peaks.setdefault(name, []).append(peak)
                print(f"{count:,} captions, {name}: peak {peak:.0f} MB, {seconds:.1f} s of processor time", flush=True)
    for name, found in peaks.items():
        print(f"{name}: {found[-1] / found[0]:.2f} times the memory")


if __name__ == "__main__":
    main()
