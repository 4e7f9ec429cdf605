"""Bounded search: cuts from a combine, equality with the exact search where nothing is truncated, recall where something is."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.tfidf.reference import Row, counts_of, vectors_of, vocabulary_of
from tests.transforms.tfidf.test_negatives import CORPUS, assert_law, coco_rows, make_rows, run
from transforms.tfidf.bounded import BoundedSearch
from transforms.tfidf.captions import Captions
from transforms.tfidf.champions import Cuts, champions_of, cuts_of, merge_champions, no_champions
from transforms.tfidf.recall import Recall, recall_of, sampled
from transforms.tfidf.settings import TfidfSettings


def summaries(rows: list[Row], partitions: int, options: TfidfSettings, bound: int) -> tuple[Captions, list[pa.RecordBatch]]:
    """The corpus of `rows`, and each partition's champions."""
    counts = counts_of(rows, partitions, options)
    vocabulary = vocabulary_of(counts, options)
    vectors = vectors_of(counts, vocabulary, options)
    return Captions(vectors), [champions_of(part, vocabulary, bound) for part in vectors]


@settings(max_examples=60, deadline=None)
@given(CORPUS, st.integers(1, 6), st.integers(1, 9))
def test_equals_brute_force_when_nothing_is_cut(drawn, partitions, k):
    rows = make_rows(drawn)
    options = TfidfSettings(k=k, max_df=1.0, bound=len(rows), rescore=max(k, 100))
    _, parts = summaries(rows, partitions, options, len(rows))
    cuts = cuts_of(merge_champions(parts, len(rows)), len(rows))
    assert cuts.num_rows == 0
    assert_law(rows, partitions, options, lambda corpus: BoundedSearch(corpus, cuts, options.rescore))


@settings(max_examples=60, deadline=None)
@given(CORPUS, st.integers(1, 4))
def test_cuts_do_not_depend_on_order_or_partitions(drawn, bound):
    rows, options = make_rows(drawn), TfidfSettings(max_df=1.0)
    _, parts = summaries(rows, 3, options, bound)
    merged = [merge_champions([merge_champions([a, b], bound), c], bound) for a, b, c in permutations(parts)]
    merged.append(merge_champions([parts[0], merge_champions([no_champions(), *parts[1:]], bound)], bound))
    merged.append(merge_champions(summaries(rows, 1, options, bound)[1], bound))
    assert all(one.equals(other) for one, other in pairwise(merged))


def test_a_word_keeps_as_many_captions_as_the_bound():
    rows, options, bound = coco_rows(100), TfidfSettings(), 20
    corpus, parts = summaries(rows, 3, options, bound)
    cuts = Cuts(cuts_of(merge_champions(parts, bound), bound), corpus.columns)
    kept, df = np.zeros(corpus.columns, int), np.zeros(corpus.columns, int)
    for part, first in zip(corpus.parts, corpus.starts, strict=False):
        chosen = corpus.is_candidate[first : first + len(part)]
        kept += np.bincount(cuts.apply(part)[chosen].indices, minlength=corpus.columns)
        df += np.bincount(part.matrix[chosen].indices, minlength=corpus.columns)
    np.testing.assert_array_equal(kept, np.minimum(df, bound))


@pytest.mark.parametrize(("bound", "small"), [(30, 8_192), (200, 8_192), (60, 0)])
def test_bounded_output_does_not_depend_on_partitions(bound, small, monkeypatch):
    monkeypatch.setattr("transforms.tfidf.search._SMALL", small)  # 0: thresholds are estimated
    monkeypatch.setattr("transforms.tfidf.search._GROUP_ROWS", 40)
    rows, tables = coco_rows(200), []
    for partitions, block_rows, query_rows in ((1, 2_000, 1_000), (5, 300, 170)):
        options = TfidfSettings(k=10, rescore=60, block_rows=block_rows, query_rows=query_rows)
        corpus, parts = summaries(rows, partitions, options, bound)
        search = BoundedSearch(corpus, cuts_of(merge_champions(parts, bound), bound), options.rescore)
        tables.append(pa.Table.from_batches([out.rewrites for out in run(corpus, options, search)[0]]))
    assert tables[0].equals(tables[1])


def test_recall_is_measured_on_the_same_captions_whatever_the_partitions():
    rows, options, bound = coco_rows(300), TfidfSettings(k=10, rescore=100, recall_sample=200), 60
    measured = []
    for partitions in (1, 4):
        corpus, parts = summaries(rows, partitions, options, bound)
        search = BoundedSearch(corpus, cuts_of(merge_champions(parts, bound), bound), options.rescore)
        measured.append(sum((recall_of(corpus, part, options, 7, search) for part in range(partitions)), Recall()))
    assert measured[0] == measured[1]
    assert 100 < measured[0].captions < 320
    assert 0.8 < measured[0].share <= 1.0


def test_the_sample_follows_the_seed():
    images = np.arange(10_000, dtype=np.uint64) // 5
    first, again, other = (sampled(images, 10_000, 1_000, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert 800 < first.sum() < 1_200
    assert sampled(images, 10_000, 10_000, 1).all()
    assert Recall().share == 1.0
