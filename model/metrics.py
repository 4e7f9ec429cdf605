"""Retrieval metrics, their ceilings and intervals. Ties count as errors, so constant scores have a recall of 0."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import comb

import numpy as np
from scipy.special import stdtrit

CUTS = (1, 5, 10)


def ranks(scores: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Rank, int64 [Q] from 1, of each query's best true candidate: 1 + the false candidates whose score is not below it.

    scores: float [Q, C]. true: bool [Q, C], at least one per query. Raises ValueError on a score that is NaN.
    """
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).any(1).sum())} of {len(scores)} queries have scores that are not numbers")
    best = np.where(true, scores, -np.inf).max(1)
    return 1 + ((scores >= best[:, None]) & ~true).sum(1)


def reranked(scores: np.ndarray, candidates: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """Scores, float64 [Q, C], in which each query's candidates, int64 [Q, K], come first, in the order of their joint scores [Q, K].

    In float32, sums would tie candidates whose scores differ.
    """
    below = scores - scores.max(1, keepdims=True).astype(np.float64) + joint.min(1, keepdims=True) - 1
    np.put_along_axis(below, candidates, joint.astype(np.float64), 1)
    return below


def top(scores: np.ndarray, count: int) -> np.ndarray:
    """The candidates with the highest scores, int64 [Q, min(count, C)]; ties go to the lower index."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


def recall(found: np.ndarray) -> dict[str, float]:
    """Share of ranks within 1, 5 and 10."""
    return {f"R@{cut}": float((found <= cut).mean()) for cut in CUTS}


def ceilings(own: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """The expected recall, counting only a query's own candidates, of a scorer that knows exactly which candidates are true.

    It ranks the true candidates first, in random order. So one of `own` (bool [Q, C], a subset of `true`) is among the first k with
    probability 1 - C(n - m, k) / C(n, k), for n true candidates, m of them own.
    """
    counts = list(zip(true.sum(1).tolist(), own.sum(1).tolist(), strict=True))
    return {f"R@{cut}": float(np.mean([1 - comb(n - m, cut) / comb(n, cut) if n > cut else 1.0 for n, m in counts])) for cut in CUTS}


def interval(
    values: Sequence[np.ndarray], against: Sequence[np.ndarray] | None = None, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """A mean and its 95 % interval over seeds and images at once; with `against`, of the paired difference.

    Each of `draws` bootstrap samples of the images gets a deviation of the seeds' mean from Student's t distribution, with S - 1 degrees of
    freedom for S seeds: resampling a few seeds would give much too narrow intervals. So one number a seed gives the t interval, and one
    seed an interval over images alone.

    values, against: for each seed, one value per image, [I]; of the same seeds and images. Raises ValueError when their numbers differ.
    """
    held = np.stack(list(values))
    if against is not None:
        held = np.subtract(*np.stack([held, np.stack(list(against))]))
    (seeds, images), centre = held.shape, float(held.mean())
    found = centre + _resampled(images, draws, seed) @ (held.mean(0) - centre)
    if seeds > 1:
        found += _deviations(seeds - 1, draws, seed + 1) * held.mean(1).std(ddof=1) / np.sqrt(seeds)
    low, high = np.quantile(found, [0.025, 0.975], method="hazen")
    return centre, float(low), float(high)


def by_group(hits: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The share of hits among all counted items, as one number per group whose mean it is, float64 [G], for `interval`.

    It is linearised, since groups have different numbers of items. hits, counts: int [G].
    """
    share = hits.sum() / counts.sum()
    found: np.ndarray = share + (hits - share * counts) * len(counts) / counts.sum()
    return found


@lru_cache(32)
def _resampled(count: int, draws: int, seed: int) -> np.ndarray:
    """The share of each of `count` items in bootstrap samples, float64 [draws, count]."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), draws) / count


@lru_cache(32)
def _deviations(freedom: int, draws: int, seed: int) -> np.ndarray:
    """Evenly spaced quantiles of Student's t distribution, in random order, float64 [draws]."""
    found: np.ndarray = np.random.default_rng(seed).permutation(stdtrit(freedom, (np.arange(draws) + 0.5) / draws))
    return found
