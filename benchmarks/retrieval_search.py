"""Speed of the stage's exact search relative to bare FAISS, on the same vectors and threads, and its peak memory.

    python -m benchmarks.retrieval_search CORPUS [--count 100000] [--queries 2048] [--depth 170] [--threads 1] [--rounds 5]

CORPUS is one with `text_vectors`: its sentence vectors are perturbed until there are `count` of them (random vectors have no neighbours).
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from schemas.corpus import open_corpus
from schemas.vectors import VECTORS
from transforms.retrieval.base import collection_of
from transforms.retrieval.collection import Collection
from transforms.retrieval.packages import faiss_module
from transforms.retrieval.search import search, search_threads

NOISE = 0.02  # of each number: cosines of about 0.93 with the sentence it comes from


def perturbed(real: np.ndarray, count: int, seed: int | Sequence[int] = 0) -> np.ndarray:
    """`count` vectors of length 1, float16."""
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal((count, real.shape[1]), np.float32)
    drawn *= NOISE
    drawn += real[rng.integers(0, len(real), count)]
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn.astype(np.float16)


def table(vectors: np.ndarray, schema: pa.Schema = VECTORS, start: int = 0) -> pa.Table:
    """The vectors as rows of a partition's table, numbered from `start`."""
    count, width = vectors.shape
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * width)
    lists = pa.ListArray.from_arrays(offsets, pa.array(vectors.ravel()), type=VECTORS.field("vector").type)
    numbers = pa.array(np.arange(start, start + count))
    return pa.Table.from_arrays([numbers.cast(pa.string()), numbers, numbers, pa.nulls(count, pa.uint64()), lists], schema=schema)


def main() -> None:
    """Prints queries per second of processor time of both, measured in turn, and how far their lists agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=2048)
    parser.add_argument("--depth", type=int, default=170)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    faiss = faiss_module()
    real = collection_of(open_corpus(args.corpus)[0], "text_vectors")
    sentences = real.take(np.arange(len(real)))
    vectors, queries = perturbed(sentences, args.count), perturbed(sentences, args.count + args.queries)[-args.queries :]
    collection = Collection([table(piece) for piece in np.array_split(vectors, 8)])
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors.astype(np.float32))
    seconds: dict[str, list[float]] = {"faiss": [], "stage": []}
    with search_threads(args.threads):
        for turn in range(args.rounds + 1):  # the first warms up
            start = time.process_time()
            _, theirs = index.search(queries.astype(np.float32), args.depth)
            middle = time.process_time()
            ours = search(collection, queries, args.depth)
            end = time.process_time()
            if turn:
                seconds["faiss"].append(middle - start)
                seconds["stage"].append(end - middle)
    same = np.mean([len(np.intersect1d(one, other)) / args.depth for one, other in zip(ours.positions, theirs, strict=True)])
    bare, stage = (np.median(seconds[name]) for name in ("faiss", "stage"))
    ratios = [f"{one / other:.3f}" for one, other in zip(seconds["faiss"], seconds["stage"], strict=True)]
    print(
        f"{args.count} vectors of {vectors.shape[1]}, {args.queries} queries, {args.depth} deep, {args.threads} threads: bare FAISS "
        f"{args.queries / bare:.0f} queries a second, exact and ordered {args.queries / stage:.0f}, ratio of medians {bare / stage:.3f} "
        f"(rounds {', '.join(ratios)}); lists agree to {same:.4f}; "
        f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB"
    )


if __name__ == "__main__":
    main()
