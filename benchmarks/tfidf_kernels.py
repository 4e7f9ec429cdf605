"""TF-IDF hard negatives without Beam and files, compared with bare scikit-learn + sparse-dot-topn; and cost by corpus size.

    python -m benchmarks.tfidf_kernels CAPTIONS.json [--sizes 25000 100000 500000] [--queries 8000] [--bound 8000] [--rescore 700]

Times are CPU seconds on one thread. Compared runs alternate; results are medians.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import pyarrow as pa  # noqa: E402
from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: E402
from sparse_dot_topn import sp_matmul_topn  # noqa: E402

from benchmarks.corpora import coco_captions, partitions_of, repeat_and_perturb  # noqa: E402
from transforms.tfidf.bounded import BoundedSearch  # noqa: E402
from transforms.tfidf.captions import Captions  # noqa: E402
from transforms.tfidf.champions import champions_of, cuts_of, merge_champions  # noqa: E402
from transforms.tfidf.counts import count_terms  # noqa: E402
from transforms.tfidf.document_frequencies import (  # noqa: E402
    Vocabulary,
    frequencies_of,
    merge_frequencies,
    read_vocabulary,
    vocabulary_batch,
)
from transforms.tfidf.negatives import Search, Stats, hard_negatives  # noqa: E402
from transforms.tfidf.recall import Recall, recall_of  # noqa: E402
from transforms.tfidf.settings import TfidfSettings  # noqa: E402
from transforms.tfidf.vectors import read_vectors, vector_batch  # noqa: E402

PARTITION_ROWS = 6_250


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of `work`, and its result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def prepared(tables: list[pa.Table], settings: TfidfSettings) -> tuple[Captions, Vocabulary]:
    """Runs the stages before the search."""
    counts = [count_terms(table, None, settings) for table in tables]
    vocabulary = read_vocabulary(vocabulary_batch(merge_frequencies([frequencies_of(part) for part in counts]), settings))
    return Captions(
        [read_vectors(vector_batch(part.rows, part.terms.column(0), vocabulary, settings), len(vocabulary.terms)) for part in counts]
    ), vocabulary


def negatives(corpus: Captions, parts: range, settings: TfidfSettings, search: Search | None = None) -> Stats:
    """Makes the output of some parts and discards it."""
    stats = Stats()
    for part in parts:
        for out in hard_negatives(corpus, part, settings, stats, search):
            del out
    return stats


def against_bare(captions: pa.Table, settings: TfidfSettings, repeats: int) -> None:
    """Prints the throughput of all kernels relative to the bare product, on the same captions."""
    tables = partitions_of(repeat_and_perturb(captions, captions.num_rows), -(-captions.num_rows // PARTITION_ROWS))
    texts = [text for table in tables for text in table["caption"].to_pylist()]

    def bare() -> None:
        matrix = TfidfVectorizer(max_df=settings.max_df, min_df=settings.min_df).fit_transform(texts)
        sp_matmul_topn(matrix, matrix.T, top_n=settings.k)

    def ours() -> Stats:
        corpus, _ = prepared(tables, settings)
        return negatives(corpus, range(len(tables)), settings)

    runs = []
    for turn in range(repeats):
        theirs, (mine, stats) = timed(bare)[0], timed(ours)
        runs.append((theirs, mine))
        print(f"run {turn}: bare {theirs:.2f} s, kernels {mine:.2f} s", flush=True)
    print(f"captions {len(texts)}, k {settings.k}, max_df {settings.max_df}: {stats}")
    ratio = statistics.median(theirs / mine for theirs, mine in runs)
    print(f"throughput of the kernels (search, guards, output in memory) / bare: {ratio:.2f}")


def curve(captions: pa.Table, sizes: list[int], queries: int, bound: int, settings: TfidfSettings) -> None:
    """Prints the cost per caption of exact and bounded search, and the bounded search's recall, for each size."""
    first: dict[str, float] = {}
    for size in sizes:
        parts = max(1, round(size / PARTITION_ROWS))
        corpus, vocabulary = prepared(partitions_of(repeat_and_perturb(captions, size), parts), settings)
        summaries, champions = timed(
            lambda c=corpus, v=vocabulary: merge_champions([champions_of(part, v, bound) for part in c.parts], bound)
        )
        bounded = BoundedSearch(corpus, cuts_of(champions, bound), settings.rescore)
        build, _ = timed(lambda b=bounded: list(b.partial.corpus.inverted(1)))
        asked = range(max(1, min(parts, round(queries / size * parts))))
        costs = {}
        for name, search in (("exact", None), ("bounded", bounded)):
            seconds, stats = timed(lambda c=corpus, a=asked, s=search: negatives(c, a, settings, s))
            costs[name] = seconds / stats.captions * 1e6
            first.setdefault(name, costs[name])
        recall = sum((recall_of(corpus, part, settings, 0, bounded) for part in range(parts)), Recall())
        print(
            f"{len(corpus)} captions, {len(vocabulary.terms)} words: "
            + ", ".join(f"{name} {cost:.0f} us per caption (x{cost / first[name]:.2f})" for name, cost in costs.items())
            + f"; recall@{settings.k} {recall.share:.3f} on {recall.captions}; champions {summaries:.2f} s, "
            f"postings {build:.2f} s, peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB",
            flush=True,
        )


def main() -> None:
    """Runs both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captions", type=Path)
    parser.add_argument("--sizes", type=int, nargs="*", default=[25_000, 100_000, 500_000])
    parser.add_argument("--queries", type=int, default=8_000, help="number of captions on which the cost is measured")
    parser.add_argument("--repeats", type=int, default=5, help="number of comparison runs with the bare product; 0: none")
    parser.add_argument("--max-df", type=float, default=0.5)
    parser.add_argument("--bound", type=int, default=8_000)
    parser.add_argument("--rescore", type=int, default=700)
    arguments = parser.parse_args()
    pa.set_cpu_count(1)
    settings = TfidfSettings(max_df=arguments.max_df, rescore=arguments.rescore)
    captions = coco_captions(arguments.captions)
    if arguments.repeats:
        against_bare(captions, settings, arguments.repeats)
    curve(captions, arguments.sizes, arguments.queries, arguments.bound, settings)


if __name__ == "__main__":
    main()
