"""An approximate index at scale, made and searched by its stages: time to train, fill and search, recall@10, and peak memory by size.

    python -m benchmarks.retrieval_index CORPUS FOLDER [--counts 100000 1000000] [--queries 2048] [--partitions 8] [--index auto]

CORPUS is one with `text_vectors`: its sentence vectors are perturbed until there are as many as asked for (random vectors have no
neighbours), and written to a corpus below FOLDER. For each size, a fresh process then runs the stages that follow. `allocated_mb` is the
memory that it has taken itself, sampled fifty times a second, without the pages of mapped files, which the system drops when it needs them;
`resident_mb` is the system's own high-water mark of the process (VmHWM), which includes them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.retrieval_search import perturbed, table
from pipelines.runners import open_runner
from schemas.corpus import Corpus, open_corpus
from schemas.vectors import QUERY_VECTORS, VECTORS
from transforms.core.beam import RunContext, RunStage, StageFingerprint
from transforms.core.params import Params
from transforms.core.stage import Stage
from transforms.core.task import Task
from transforms.retrieval.base import OfTexts, collection_of
from transforms.retrieval.index_stages import TextIndex, TextShards
from transforms.retrieval.neighbour_stages import TextNeighbours
from transforms.retrieval.settings import RetrievalParams, RetrievalSettings, TextRetrieval

K, SAMPLED = 10, 256  # neighbours, and queries whose recall is measured
_ROWS = 4096  # made at a time


class PerturbedParams(Params):
    """source: a corpus with sentence vectors. count, queries: how many are made of them."""

    source: str
    count: int
    queries: int


class Perturbed(Stage[PerturbedParams]):
    """Writes perturbed sentence vectors as the stage `text_vectors` would."""

    name = OfTexts.vectors
    writes = {"query_vectors": QUERY_VECTORS, "vectors": VECTORS}

    def process(self, task: Task, payload: Any) -> None:
        """Makes one partition, a few thousand vectors at a time."""
        real = collection_of(open_corpus(self.params.source)[0], self.name)
        sentences = real.take(np.arange(len(real)))
        for name, rows in (("vectors", self.params.count), ("query_vectors", self.params.queries)):
            own = rows // task.corpus.partitions
            for start in range(0, own, _ROWS):
                made = perturbed(sentences, min(_ROWS, own - start), seed=[task.partition, start, len(name)])
                task.write(name, table(made, self.writes[name], task.partition * own + start))


class Peak:
    """The most memory that this process has allocated since the last `reset`, sampled fifty times a second."""

    def __init__(self) -> None:
        self.bytes = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def reset(self) -> None:
        """Begins anew."""
        self.bytes = 0

    def _watch(self) -> None:
        process = psutil.Process()
        while True:
            held = process.memory_info()
            self.bytes = max(self.bytes, held.rss - held.shared)
            time.sleep(0.02)


def run_stage(corpus: Corpus, stage: Stage[Any]) -> None:
    """Runs one stage in this process."""
    context = RunContext(corpus, 0, 0.5, {stage.name: StageFingerprint("benchmark", {})})
    with open_runner("local", 1, []) as pipeline:
        pipeline | RunStage(context, stage, [])
        pipeline.run().wait_until_finish()


def searching(index: str, sampled: int) -> RetrievalParams:
    """The settings of retrieval: K neighbours by this index, with recall measured on `sampled` queries."""
    return RetrievalParams(retrieval=RetrievalSettings(images=None, texts=TextRetrieval(k=K, index=index, recall_sample=sampled)))


def measure(folder: Path, partitions: int, index: str) -> None:
    """Trains, fills, searches, and searches again with recall; prints the figures as JSON."""
    corpus, peak = Corpus(str(folder), partitions), Peak()
    without, sampled = searching(index, 0), searching(index, SAMPLED)
    steps = {"train": TextIndex(without), "fill": TextShards(without), "search": TextNeighbours(without), "recall": TextNeighbours(sampled)}
    seconds, allocated = {}, {}
    for name, stage in steps.items():
        peak.reset()
        start = time.process_time()
        run_stage(corpus, stage)
        seconds[name], allocated[name] = round(time.process_time() - start, 1), peak.bytes >> 20
    vectors, chosen, found = (corpus.manifest(name) for name in (OfTexts.vectors, OfTexts.index, OfTexts.neighbours))
    assert vectors and chosen and found
    resident = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    figures = {
        "vectors": vectors.counts.rows_out["vectors"],
        "index": chosen.extra["index"],
        "cpu_s": seconds,
        "queries_a_second": round(vectors.counts.rows_out["query_vectors"] / seconds["search"], 1),
        f"recall_at_{K}": found.extra.get("recall_at_k", 1.0),
        "allocated_mb": allocated,
        "peak_mb": max(allocated.values()),
        "resident_mb": int(resident.split()[1]) >> 10,
    }
    print(json.dumps(figures), flush=True)


def main() -> None:
    """For each size, writes the vectors and measures, each in a process of its own; prints one line per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=2048)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--index", default="auto")
    parser.add_argument("--only", choices=["write", "measure"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    for count in args.counts:
        place = args.folder / str(count)
        if args.only == "write":
            run_stage(
                Corpus(str(place), args.partitions), Perturbed(PerturbedParams(source=args.corpus, count=count, queries=args.queries))
            )
        elif args.only == "measure":
            measure(place, args.partitions, args.index)
        else:
            for step in ("write", "measure"):
                own = ["--counts", str(count), "--queries", str(args.queries), "--partitions", str(args.partitions), "--index", args.index]
                command = [sys.executable, "-m", "benchmarks.retrieval_index", args.corpus, str(args.folder), *own, "--only", step]
                subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
