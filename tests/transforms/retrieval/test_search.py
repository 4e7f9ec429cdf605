"""The exact search against numpy, for any cut of the collection."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("faiss", reason="retrieval needs its extra: pip install 'cmcl[retrieval]'")

from schemas.vectors import VECTORS
from transforms.retrieval.collection import Collection
from transforms.retrieval.packages import faiss_module
from transforms.retrieval.search import MILLION, candidates, matrix_products, search, search_threads


def unit(values: np.ndarray) -> np.ndarray:
    """Rows of length 1, float16."""
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float16)


def table(vectors: np.ndarray, start: int = 0) -> pa.Table:
    """Vectors as a partition's table, in record batches of 5 rows."""
    count = len(vectors)
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * vectors.shape[1])
    columns = [
        pa.array([f"t{start + row}" for row in range(count)]),
        pa.array(np.arange(count)),
        pa.array(np.arange(count) + start),
        pa.nulls(count, pa.uint64()),
        pa.ListArray.from_arrays(offsets, pa.array(vectors.ravel()), type=VECTORS.field("vector").type),
    ]
    whole = pa.Table.from_arrays(columns, schema=VECTORS)
    return pa.Table.from_batches(
        [
            pa.RecordBatch.from_arrays([column.combine_chunks() for column in whole.slice(at, 5).columns], schema=VECTORS)
            for at in range(0, count, 5)
        ],
        schema=VECTORS,
    )


def cut(vectors: np.ndarray, places: list[int]) -> Collection:
    """The vectors as a collection of partitions that end at `places`."""
    ends = [0, *sorted(min(place, len(vectors)) for place in places), len(vectors)]
    return Collection([table(vectors[start:end], start) for start, end in zip(ends, ends[1:], strict=False)])


def brute_force(vectors: np.ndarray, queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Every product in Python's whole numbers (float16 times 2**24 is one), rounded to millionths; ties by position."""
    scaled = [[int(value) for value in np.ldexp(row.astype(np.float64), 24)] for row in vectors]
    asked = [[int(value) for value in np.ldexp(row.astype(np.float64), 24)] for row in queries]
    scores = np.array(
        [[round(sum(a * b for a, b in zip(one, other, strict=True)) / 2**48 * MILLION) for other in scaled] for one in asked], np.int64
    ).reshape(len(queries), len(vectors))
    order = np.lexsort((np.broadcast_to(np.arange(len(vectors)), scores.shape), -scores), axis=1)[:, :depth]
    return order, np.take_along_axis(scores, order, 1)


# Whole numbers in -2..2: many equal and many nearly equal vectors.
ROWS = st.lists(st.lists(st.integers(-2, 2), min_size=3, max_size=3).filter(any), min_size=1, max_size=60)


@settings(max_examples=150, deadline=None)
@given(ROWS, ROWS, st.lists(st.integers(0, 60), max_size=4), st.integers(1, 70), st.integers(1, 20), st.integers(1, 20))
def test_it_is_the_brute_force_for_any_cut(rows, asked, places, depth, block_rows, query_rows):
    vectors, queries = unit(np.array(rows, np.float64)), unit(np.array(asked, np.float64))
    hits = search(cut(vectors, places), queries, depth, block_rows, query_rows)
    positions, scores = brute_force(vectors, queries, depth)
    assert np.array_equal(hits.positions, positions) and np.array_equal(hits.scores, scores)


def test_near_equals_beyond_what_float32_tells_apart():
    """Vectors so alike that float32 cannot rank them, in numbers that force a deeper search."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(1, 256))
    vectors, queries = unit(base + rng.normal(size=(400, 256)) * 1e-3), unit(base + rng.normal(size=(5, 256)) * 1e-3)
    positions, scores = brute_force(vectors, queries, 7)
    for threads, block, places in ((1, 400, []), (2, 37, [11, 200]), (1, 64, [100, 100, 399])):
        with search_threads(threads):
            hits = search(cut(vectors, places), queries, 7, block)
        assert np.array_equal(hits.positions, positions) and np.array_equal(hits.scores, scores)


def test_few_queries_are_compared_by_matrix_products_and_faiss_is_left_as_it_was(monkeypatch):
    faiss, seen = faiss_module(), []
    before, knn = faiss.cvar.distance_compute_blas_threshold, faiss.knn
    monkeypatch.setattr(
        faiss, "knn", lambda *args, **options: seen.append(faiss.cvar.distance_compute_blas_threshold) or knn(*args, **options)
    )
    vectors = unit(np.random.default_rng(0).normal(size=(50, 8)))
    scores, positions = candidates(cut(vectors, [20]), vectors[:2], 5, 7)
    assert len(seen) > 1 and set(seen) == {1} and positions[:, 0].tolist() == [0, 1]
    with pytest.raises(KeyError), matrix_products():
        raise KeyError
    assert faiss.cvar.distance_compute_blas_threshold == before > 1


def test_a_collection_of_copies_is_ranked_by_position():
    hits = search(cut(unit(np.ones((300, 4))), [7, 50]), unit(np.ones((2, 4))), 5)
    assert hits.positions.tolist() == [[0, 1, 2, 3, 4]] * 2


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_collection_smaller_than_the_depth(count):
    hits = search(cut(unit(np.eye(4)[:count]), [1]), unit(np.ones((2, 4))), 10)
    assert hits.positions.shape == (2, count) and (hits.scores == 500000).all()


def test_queries_of_another_width_are_refused():
    with pytest.raises(ValueError, match="queries are 3 numbers wide, the collection 4: made by different models"):
        search(cut(unit(np.eye(4)), []), unit(np.eye(3)), 1)


def test_columns_and_partitions_by_position():
    collection = cut(unit(np.eye(30)), [4, 4, 17])
    positions = np.array([29, 0, 4, 16, 17, 4])
    assert collection.column("id", positions).to_pylist() == ["t29", "t0", "t4", "t16", "t17", "t4"]
    assert collection.partitions(positions).tolist() == [3, 0, 2, 2, 3, 2]
    assert np.array_equal(collection.take(positions), unit(np.eye(30))[positions])
