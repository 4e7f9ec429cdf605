"""Guards, each on candidates made for it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("faiss", reason="retrieval needs its extra: pip install 'cmcl[retrieval]'")

from schemas.rejects import Reason
from tests.transforms.retrieval.test_search import cut, table, unit
from transforms.retrieval.collection import Collection
from transforms.retrieval.guards import Query, Rules, judge
from transforms.retrieval.search import MILLION, search

NOTHING = np.zeros(0, np.int64)


def query(near: float = 2.0, keys: np.ndarray = NOTHING, **others: object) -> Query:
    return Query(round(near * MILLION), keys, Reason.SAME_TEXT, Reason.NEAR_TEXT, **others)


def spread(*cosines: float) -> np.ndarray:
    """Vectors with these cosines to (1, 0, ...), and as far from each other as these allow."""
    vectors = np.zeros((len(cosines), len(cosines) + 1))
    vectors[:, 0] = cosines
    vectors[np.arange(len(cosines)), np.arange(len(cosines)) + 1] = np.sqrt(1 - np.square(cosines))
    return unit(vectors)


def judged(asked: Query, vectors: np.ndarray, rules: Rules):
    collection = cut(vectors, [len(vectors) // 2])
    hits = search(collection, unit(np.eye(1, vectors.shape[1])), len(vectors))
    return judge(asked, hits.positions[0], hits.scores[0], collection, rules), hits


def test_a_list_ends_at_the_floor_or_at_k():
    vectors = spread(0.9, 0.8, 0.7, 0.4, 0.3)
    verdict, _ = judged(query(), vectors, Rules(10, 500_000, 0.99))
    assert verdict.kept == [0, 1, 2] and verdict.floored and not verdict.dropped
    verdict, _ = judged(query(), vectors, Rules(2, 0, 0.99))
    assert verdict.kept == [0, 1] and not verdict.floored


def test_the_caption_and_its_siblings_are_no_matches():
    vectors = spread(0.97, 0.9, 0.8, 0.7)
    verdict, hits = judged(query(near=0.95, keys=np.array([1])), vectors, Rules(10, 0, 0.99))
    assert [(int(hits.positions[0][at]), reason) for at, reason in verdict.dropped] == [(0, Reason.NEAR_TEXT), (1, Reason.SAME_TEXT)]
    sibling = vectors[2:3]
    verdict, _ = judged(query(near=0.95, siblings=sibling), vectors, Rules(10, 0, 0.99))
    assert verdict.dropped == [(0, Reason.NEAR_TEXT), (2, Reason.NEAR_TEXT)]


def test_what_is_nearly_a_better_match_is_dropped_once_not_the_better_one():
    vectors = np.concatenate([spread(0.9, 0.8, 0.7), spread(0.9, 0.8, 0.7)])
    verdict, hits = judged(query(), vectors, Rules(10, 0, 0.99))
    assert hits.positions[0][verdict.kept].tolist() == [0, 1, 2]
    assert [reason for _, reason in verdict.dropped] == [Reason.NEAR_MATCH] * 3


def test_copies_by_perceptual_hash():
    vectors = spread(0.9, 0.8, 0.7, 0.6)
    shard = table(vectors)
    hashes = np.array([0b1111, 0b0111, 0, 0], np.uint64)
    import pyarrow as pa

    collection = Collection([shard.set_column(3, shard.schema.field(3), pa.array(hashes, mask=np.array([0, 0, 0, 1], bool)))])
    hits = search(collection, unit(np.eye(1, 5)), 4)
    verdict = judge(
        Query(2 * MILLION, NOTHING, Reason.COPY_OF_IMAGE, Reason.NEAR_COPY, phash=0b1110),
        hits.positions[0],
        hits.scores[0],
        collection,
        Rules(4, 0, 0.99, near_copy_bits=2),
    )
    assert verdict.dropped == [(0, Reason.NEAR_COPY), (1, Reason.NEAR_COPY)] and verdict.kept == [2, 3]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.integers(-2, 2), min_size=3, max_size=3).filter(any), min_size=1, max_size=40),
    st.integers(1, 12),
    st.floats(-1, 1),
    st.floats(0.5, 1),
    st.floats(0.5, 1.1),
)
def test_the_rule_said_plainly(rows, k, floor, near_match, near):
    vectors = unit(np.array(rows, float))
    rules, asked = Rules(k, round(floor * MILLION), near_match), query(near=near, keys=np.array([2, 5]))
    verdict, hits = judged(asked, vectors, rules)
    wide = vectors.astype(float)
    kept, dropped = [], []
    for at, (position, score) in enumerate(zip(hits.positions[0], hits.scores[0], strict=True)):
        if score < rules.floor or len(kept) == k:
            break
        if position in (2, 5):
            dropped.append((at, Reason.SAME_TEXT))
        elif score >= asked.near:
            dropped.append((at, Reason.NEAR_TEXT))
        elif any(wide[position] @ wide[hits.positions[0][other]] >= near_match for other in kept):
            dropped.append((at, Reason.NEAR_MATCH))
        else:
            kept.append(at)
    assert (verdict.kept, verdict.dropped) == (kept, dropped)
    assert verdict.floored == bool((hits.scores[0] < rules.floor).any())


def test_a_verdict_does_not_depend_on_how_deep_the_search_went():
    vectors = unit(np.random.default_rng(1).normal(size=(200, 6)))
    rules = Rules(20, 0, 0.9)
    collection = cut(vectors, [50])
    verdicts = [
        judge(query(near=0.97), *(values[0] for values in (hits.positions, hits.scores)), collection, rules)
        for hits in (search(collection, vectors[:1], depth) for depth in (60, 100, 200))
    ]
    assert verdicts[0].kept == verdicts[1].kept == verdicts[2].kept and len(verdicts[0].kept) == 20
