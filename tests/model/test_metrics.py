"""Ranks, recalls, ceilings and intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from model import metrics
from model.metrics import by_group, ceilings, interval, ranks, recall, reranked, top


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


def test_the_highest_come_first_and_ties_go_to_the_lower() -> None:
    assert top(np.array([[1.0, 3.0, 2.0, 3.0]]), 3).tolist() == [[1, 3, 2]]


def test_reranking_in_single_precision_ties_nothing() -> None:
    scores = np.random.default_rng(0).normal(0, 0.01, (1, 5000)).astype(np.float32)
    found = reranked(scores, top(scores, 6), np.full((1, 6), 40, np.float32) + np.arange(6, dtype=np.float32))
    assert len(np.unique(found)) == len(np.unique(scores[0, top(scores, 5000)[0, 6:]])) + 6
    assert reranked(scores[:, :2], np.array([[0]]), np.array([[np.float32(0.1)]]))[0, 0] == np.float32(0.1)


def _seeds(rng: np.random.Generator, gain: float, shifts: np.ndarray, images: np.ndarray) -> list[np.ndarray]:
    """Whether each image is a hit, for each seed, given how hard the images and how good the seeds are."""
    return [(rng.random(len(images)) < np.clip(images + gain + shift, 0, 1)).astype(float) for shift in shifts]


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("spread", [0.02, 0.05])
def test_intervals_hold_the_truth_about_as_often_as_they_say(seeds: int, spread: float) -> None:
    rng, inside, trials = np.random.default_rng(seeds), 0, 250
    for _ in range(trials):
        images, shifts = 0.1 + 0.4 * rng.random(200), rng.normal(0, spread, (2, seeds))
        arms = [_seeds(rng, gain, side, images) for gain, side in zip((0.05, 0.0), shifts, strict=True)]
        centre, low, high = interval(arms[0], arms[1], draws=200)
        assert low <= centre <= high
        inside += low <= 0.05 <= high
    assert 0.93 <= inside / trials <= 1
    if spread == 0.05 and seeds > 2:  # where seeds matter more than images, no wider than they have to be either
        assert inside / trials <= 0.99


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_one_number_a_seed_has_the_interval_of_student(seeds: int) -> None:
    rng, inside = np.random.default_rng(seeds), 0
    for _ in range(400):
        values = rng.normal(3, 2, (seeds, 1))
        centre, low, high = interval(list(values))
        half = stats.t.ppf(0.975, seeds - 1) * stats.sem(values, axis=None)
        assert (centre, centre - low, high - centre) == pytest.approx((values.mean(), half, half), rel=2e-3)
        inside += low <= 3 <= high
    assert 0.93 <= inside / 400 <= 0.97


def test_intervals_are_paired_and_the_same_every_time() -> None:
    rng = np.random.default_rng(0)
    images, shifts = rng.random(150), rng.normal(0, 0.05, 3)
    arm = _seeds(rng, 0, shifts, images)
    better = [np.maximum(hits, np.arange(150) < 9) for hits in arm]
    assert interval(arm, arm) == (0, 0, 0)  # the same images and seeds on both sides
    first = interval(better, arm)
    metrics._resampled.cache_clear()
    metrics._deviations.cache_clear()
    again = interval(better, arm)
    alone = interval(better)
    assert first == again and first[2] - first[1] < (alone[2] - alone[1]) / 2
    swapped = interval(better, arm[::-1])
    assert swapped[0] == pytest.approx(first[0]) and swapped[2] - swapped[1] > first[2] - first[1]


def test_one_seed_has_an_interval_over_images_alone() -> None:
    hits = (np.arange(400) % 4 == 0).astype(float)
    centre, low, high = interval([hits])
    assert centre == 0.25 and (high - low) / 2 == pytest.approx(1.96 * np.sqrt(0.25 * 0.75 / 400), rel=0.1)
    assert interval([np.array([0.4])]) == (0.4, 0.4, 0.4)


def test_sides_of_other_numbers_are_refused() -> None:
    for other in ([np.zeros(5)], [np.zeros(4)] * 2):
        with pytest.raises(ValueError):
            interval([np.zeros(5)] * 2, other)


def test_groups_of_any_size_have_the_share_of_all_items() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 9, 4000)
    hits = rng.binomial(counts, 0.3)
    found = by_group(hits, counts)
    assert found.mean() == pytest.approx(hits.sum() / counts.sum())
    ratios = [hits[at].sum() / counts[at].sum() for at in (rng.integers(0, 4000, 4000) for _ in range(400))]
    assert found.std() / np.sqrt(4000) == pytest.approx(np.std(ratios), rel=0.15)  # as the share varies from sample to sample
