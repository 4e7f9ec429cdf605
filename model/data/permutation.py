"""Random numbers and permutations computed by index, so any position in any epoch is reached in constant time."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

_ROUNDS = 6
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def key_of(*parts: int | str) -> np.uint64:
    """A hash of `parts`, the key of the functions below."""
    text = "\0".join(map(str, parts))
    return np.uint64(int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little"))


def scrambled(values: np.ndarray, key: np.uint64) -> np.ndarray:
    """A pseudorandom uint64 for each of n non-negative integers: SplitMix64's finaliser (Steele et al. 2014), twice, keyed."""
    mixed = values.astype(np.uint64)
    for salt in (key, key ^ _GOLDEN):
        mixed = (mixed + salt) * _GOLDEN
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
        mixed ^= mixed >> np.uint64(31)
    return mixed


def permuted(indices: np.ndarray, count: int, key: np.uint64) -> np.ndarray:
    """Maps indices in [0, count) by the permutation of [0, count) that `key` selects, int64 [n].

    A balanced Feistel network over the next power of 4, walked along its cycles until it is back in range (Black and Rogaway 2002).
    """
    half = np.uint64(max(1, (int(count - 1).bit_length() + 1) // 2))
    low = (np.uint64(1) << half) - np.uint64(1)
    keys = scrambled(np.arange(_ROUNDS), key)
    found = np.asarray(indices).astype(np.uint64)
    outside = np.arange(len(found))
    while len(outside):
        found[outside] = _feistel(found[outside], half, low, keys)
        outside = outside[found[outside] >= np.uint64(count)]
    return found.astype(np.int64)


def _feistel(values: np.ndarray, half: np.uint64, low: np.uint64, keys: np.ndarray) -> np.ndarray:
    left, right = values >> half, values & low
    for key in keys:
        left, right = right, left ^ (scrambled_once(right, key) & low)
    return (left << half) | right


def scrambled_once(values: np.ndarray, key: np.uint64) -> np.ndarray:
    """One keyed pass of SplitMix64's finaliser, returning the better, high bits as the low ones."""
    mixed = (values + key) * _GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    return mixed >> np.uint64(32)
