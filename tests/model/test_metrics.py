"""Ranks, recalls, ceilings and intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.metrics import ceilings, interval, ranks, recall, reranked, top


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 queries have scores that are not numbers"):
        ranks(np.array([[1.0, np.nan], [1.0, 0.0]]), np.eye(2, dtype=bool))


def test_ties_count_as_wrong() -> None:
    true = np.eye(4, dtype=bool)
    assert ranks(np.zeros((4, 4)), true).tolist() == [4] * 4
    assert recall(ranks(np.zeros((12, 12)), np.eye(12, dtype=bool))) == {"R@1": 0.0, "R@5": 0.0, "R@10": 0.0}
    assert recall(ranks(np.eye(4), true))["R@1"] == 1.0
    assert recall(ranks(np.eye(4) + np.array([0, 1, 0, 0]), true)) == {"R@1": 0.25, "R@5": 1.0, "R@10": 1.0}


@given(seed=st.integers(0, 2**32), queries=st.integers(1, 6), candidates=st.integers(2, 9))
def test_rank_is_that_of_the_best_true_one_among_the_false(seed: int, queries: int, candidates: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (queries, candidates)).astype(float)
    true = rng.random((queries, candidates)) < 0.4
    true[:, 0] = True
    for query, rank in enumerate(ranks(scores, true)):
        best = max(score for score, right in zip(scores[query], true[query], strict=True) if right)
        assert rank == 1 + sum(score >= best for score, right in zip(scores[query], true[query], strict=True) if not right)


@given(seed=st.integers(0, 2**32), count=st.integers(1, 9))
def test_reranking_orders_the_first_by_the_joint_score_and_leaves_the_rest(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(3, 9))
    first = top(scores, count)
    joint = rng.normal(size=first.shape) * 100
    order = np.argsort(-reranked(scores, first, joint), axis=1)
    for query in range(3):
        assert order[query, :count].tolist() == first[query, np.argsort(-joint[query])].tolist()
        assert order[query, count:].tolist() == np.argsort(-scores[query])[count:].tolist()


def test_ceiling_is_what_knowing_the_truth_reaches_by_chance() -> None:
    own, true = np.zeros((1, 8), bool), np.zeros((1, 8), bool)
    own[0, :2], true[0, :6] = True, True
    rng, hits = np.random.default_rng(0), np.zeros(3)
    for _ in range(4000):
        found = ranks(true + rng.random((1, 8)) * 0.1, own)[0]
        hits += [found <= 1, found <= 5, found <= 10]
    assert list(ceilings(own, true).values()) == pytest.approx(hits / 4000, abs=0.03)
    assert ceilings(own, own) == {"R@1": 1.0, "R@5": 1.0, "R@10": 1.0}


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng, inside = np.random.default_rng(1), 0
    for trial in range(100):
        images = rng.random(150)  # how hard each image is, for both arms
        shift = rng.normal(0, 0.02, (2, 5))
        arms = [
            [(rng.random(150) < np.clip(images + gain + one, 0, 1)).astype(float) for one in side]
            for gain, side in zip((0.05, 0.0), shift, strict=True)
        ]
        expected = np.mean(np.clip(images + 0.05, 0, 1) - images)
        centre, low, high = interval(arms[0], arms[1], draws=200, seed=trial)
        assert low <= centre <= high
        inside += low <= expected <= high
    assert 88 <= inside <= 100
    assert interval(arms[0], arms[0]) == (0, 0, 0)  # the same images and seeds on both sides
