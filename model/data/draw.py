"""Which positives, negatives and matches a pair gets: seeded draws, a pure function of (seed, epoch, row)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from model.data.permutation import scrambled
from schemas.tokens import NEGATIVE_KINDS

_SPREAD = np.int64(1 << 20)  # more candidates than a pair ever has


def ranks(rows: np.ndarray, counts: np.ndarray, key: np.uint64) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random number for every candidate of n pairs.

    Args:
        rows: int64 [n], of the pairs in their stream. counts: int64 [n], candidates of each.

    Returns owners (positions in `rows`), indices (among the owner's candidates) and random numbers, all [counts.sum()].
    """
    owners = np.repeat(np.arange(len(rows)), counts)
    indices = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    return owners, indices, scrambled(rows[owners] * _SPREAD + indices, key)


def first_of(groups: np.ndarray, order: np.ndarray, quotas: np.ndarray) -> np.ndarray:
    """Positions, ascending, of the `quotas[g]` candidates of each group g with the lowest `order`."""
    by_group = np.lexsort((order, groups))
    sorted_groups = groups[by_group]
    begins = np.searchsorted(sorted_groups, sorted_groups)
    return np.sort(by_group[np.arange(len(groups)) - begins < quotas[sorted_groups]])


def draw(
    rows: np.ndarray, counts: np.ndarray, number: int, key: np.uint64, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Up to `number` candidates of each pair, all sets equally likely: owners ascending, indices. allowed: bool [counts.sum()]."""
    owners, indices, order = ranks(rows, counts, key)
    open_ = np.arange(len(owners)) if allowed is None else np.flatnonzero(allowed)
    chosen = open_[first_of(owners[open_], order[open_], np.full(len(rows), number))]
    return owners[chosen], indices[chosen]


def draw_by_kind(
    rows: np.ndarray, kinds: Sequence[np.ndarray], wanted: Mapping[str, int], key: np.uint64, allowed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Negatives of each pair, `wanted[kind]` of every kind; if there are too few of one kind, the other wanted kinds make up for it.

    kinds: for each pair, positions in NEGATIVE_KINDS, int8 [c]. allowed: bool, over all candidates. Returns owners ascending, indices.
    """
    owners, indices, order = ranks(rows, np.array([len(own) for own in kinds]), key)
    quota = np.array([wanted.get(kind, 0) for kind in NEGATIVE_KINDS])
    flat = np.concatenate([np.zeros(0, np.int8), *kinds]).astype(np.int64)
    open_ = np.flatnonzero(allowed & (quota[flat] > 0))
    chosen = open_[first_of(owners[open_] * len(quota) + flat[open_], order[open_], np.tile(quota, len(rows)))]
    missing = quota.sum() - np.bincount(owners[chosen], minlength=len(rows))
    rest = np.setdiff1d(open_, chosen, assume_unique=True)
    more = rest[first_of(owners[rest], order[rest], missing)]
    both = np.sort(np.concatenate([chosen, more]))
    return owners[both], indices[both]


def split(values: np.ndarray, kept: np.ndarray, lists: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The kept ones of values that belong to concatenated lists, for each list."""
    ends = np.cumsum([len(own) for own in lists])[:-1]
    return [own[here] for own, here in zip(np.split(values, ends), np.split(kept, ends), strict=True)]
