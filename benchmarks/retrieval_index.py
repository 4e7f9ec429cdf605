"""An approximate index at scale: time to train, fill and search, recall@10, and memory.

    python -m benchmarks.retrieval_index CORPUS FOLDER [--count 1000000] [--queries 1024] [--shards 8] [--index auto]

CORPUS is one with `text_vectors`: its sentence vectors are perturbed until there are `count` of them (random vectors have no neighbours),
and written to FOLDER as a corpus's shards are. Then a fresh process does the work over memory maps. Peak memory is that of this process
without the pages of mapped files, which the system drops when it needs them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from benchmarks.retrieval_search import perturbed, table
from schemas.corpus import open_corpus
from schemas.vectors import SHARD
from transforms.retrieval.base import collection_of
from transforms.retrieval.collection import Collection, vectors_of
from transforms.retrieval.index import Searcher, factory_for, fill, first_bytes, lists_of, recalled, sample_size, train
from transforms.retrieval.search import Hits, search_threads

_ROWS = 8192  # of a record batch
K, KEPT = 10, 35  # neighbours, and how many a search for them keeps (`ListSettings.kept`)


def write_table(path: Path, rows: pa.Table) -> None:
    """An Arrow file."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=_ROWS)


def read_table(path: Path) -> pa.Table:
    """Views of a memory map."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def write_inputs(corpus: str, folder: Path, count: int, queries: int, shards: int) -> None:
    """The shards' vectors, and the queries."""
    real = collection_of(open_corpus(corpus)[0], "text_vectors")
    sentences = real.take(np.arange(len(real)))
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        write_table(folder / f"vectors-{shard}.arrow", table(perturbed(sentences, count // shards, shard)))
    write_table(folder / "queries.arrow", table(perturbed(sentences, queries, shards)))


class Peak:
    """The most memory that this process has held, sampled ten times a second."""

    def __init__(self) -> None:
        self.bytes = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        process = psutil.Process()
        while True:
            held = process.memory_info()
            self.bytes = max(self.bytes, held.rss - held.shared)
            time.sleep(0.1)


def measure(folder: Path, index: str) -> None:
    """Trains, fills and searches; prints the figures."""
    peak, peaks = Peak(), dict[str, int]()
    paths = sorted(folder.glob("vectors-*.arrow"))
    collection = Collection([read_table(path) for path in paths])
    queries = np.concatenate([vectors_of(batch) for batch in read_table(folder / "queries.arrow").to_batches()])
    factory, seconds, buffers = factory_for(index, len(collection), collection.width), {}, []
    start = time.process_time()
    if lists := lists_of(factory):
        drawn = np.sort(np.random.default_rng(0).permutation(len(collection))[: sample_size(factory, len(collection), collection.width)])
        trained = train(factory, collection.take(drawn))
        seconds["train"], peaks["train"], start = time.process_time() - start, peak.bytes, time.process_time()
        for number, path in enumerate(paths):
            data = fill(trained, [vectors_of(batch) for batch in read_table(path).to_batches()])
            write_table(folder / f"shard-{number}.arrow", pa.table([pa.array([data], pa.large_binary())], schema=SHARD))
            buffers.append(first_bytes(read_table(folder / f"shard-{number}.arrow")["data"]))
        seconds["fill"], peaks["fill"] = time.process_time() - start, peak.bytes
    searcher = Searcher(collection, 131_072, 4_096, buffers, min(lists, max(8, lists // 16)), lists)
    with search_threads(1):
        start = time.process_time()
        found = searcher.search(queries, KEPT)
        seconds["search"], peaks["search"] = time.process_time() - start, peak.bytes
        some = Hits(found.positions[:512], found.scores[:512])
        share = recalled(some, replace(searcher, shards=()).search(queries[:512], K), K) / (K * len(some.positions)) if lists else 1.0
    print(
        f"{len(collection)} vectors of {collection.width}, {factory}: "
        + ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
        + f" of processor time; {len(queries) / seconds['search']:.0f} queries a second; recall@{K} {share:.4f}; "
        f"peak memory {peak.bytes >> 20} MB (" + ", ".join(f"{name} {held >> 20}" for name, held in peaks.items()) + ")"
    )


def main() -> None:
    """Writes the inputs, and measures in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=1024)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--index", default="auto")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.folder, args.index)
        return
    write_inputs(args.corpus, args.folder, args.count, args.queries, args.shards)
    command = [sys.executable, "-m", "benchmarks.retrieval_index", args.corpus, str(args.folder), "--index", args.index, "--measure"]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
