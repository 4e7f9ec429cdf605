"""Speed of the stage's exact search relative to bare FAISS, on the same vectors and threads, and its peak memory.

    python -m benchmarks.retrieval_search CORPUS [--count 100000] [--queries 4096] [--depth 170] [--threads 1]

CORPUS is one with `text_vectors`: its sentence vectors are perturbed until there are `count` of them (random vectors have no neighbours).
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import pyarrow as pa

from schemas.corpus import open_corpus
from schemas.vectors import VECTORS
from transforms.retrieval.base import collection_of
from transforms.retrieval.collection import Collection
from transforms.retrieval.packages import faiss_module
from transforms.retrieval.search import search, search_threads

NOISE = 0.02  # of each number: cosines of about 0.93 with the sentence it comes from


def perturbed(real: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """`count` vectors of length 1, float16."""
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal((count, real.shape[1]), np.float32)
    drawn *= NOISE
    drawn += real[rng.integers(0, len(real), count)]
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn.astype(np.float16)


def table(vectors: np.ndarray) -> pa.Table:
    """The vectors as a partition's table."""
    count, width = vectors.shape
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * width)
    lists = pa.ListArray.from_arrays(offsets, pa.array(vectors.ravel()), type=VECTORS.field("vector").type)
    numbers = pa.array(np.arange(count))
    return pa.Table.from_arrays([numbers.cast(pa.string()), numbers, numbers, pa.nulls(count, pa.uint64()), lists], schema=VECTORS)


def main() -> None:
    """Prints queries per second of processor time of both, and how far their lists agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=4096)
    parser.add_argument("--depth", type=int, default=170)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    faiss = faiss_module()
    real = collection_of(open_corpus(args.corpus)[0], "text_vectors")
    sentences = real.take(np.arange(len(real)))
    vectors, queries = perturbed(sentences, args.count), perturbed(sentences, args.count + args.queries)[-args.queries :]
    collection = Collection([table(piece) for piece in np.array_split(vectors, 8)])
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors.astype(np.float32))
    with search_threads(args.threads):
        for _turn in range(2):  # the first warms up
            start = time.process_time()
            _, theirs = index.search(queries.astype(np.float32), args.depth)
            middle = time.process_time()
            ours = search(collection, queries, args.depth)
            end = time.process_time()
    same = np.mean([len(np.intersect1d(one, other)) / args.depth for one, other in zip(ours.positions, theirs, strict=True)])
    print(
        f"{args.count} vectors of {vectors.shape[1]}, {args.queries} queries, {args.depth} deep, {args.threads} threads: bare FAISS "
        f"{args.queries / (middle - start):.0f} queries a second, exact and ordered {args.queries / (end - middle):.0f}, "
        f"ratio {(middle - start) / (end - middle):.2f}; lists agree to {same:.4f}; "
        f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB"
    )


if __name__ == "__main__":
    main()
