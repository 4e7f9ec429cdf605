"""Differences between two nearly equal texts in their word and character n-grams, as a sparse matrix.

Only n-grams that touch the edited stretch differ, so each text is cut to that stretch and its surroundings. N-grams are hashed: exact
integer arithmetic, the same on every machine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import scipy.sparse as sp

WORDS, CHARACTERS = (1, 2, 3), (3, 4, 5)  # lengths of the n-grams
BITS = 20  # of the hash of an n-gram
COLUMNS = 2 << BITS
_CHUNK = 20_000  # texts hashed at a time
_WORD = re.compile(r"\w+")
_MULTIPLIER, _MIXER, _SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(29)


@dataclass(frozen=True)
class TextPair:
    """Two texts that begin with the same `before` and end with the same `after` characters."""

    true: str
    false: str
    before: int
    after: int


def _cut(text: str, before: int, after: int) -> str:
    """The text between its first `before` and last `after` characters with the two words on each side, in lower case."""
    start = text.rfind(" ", 0, before)
    for _ in range(2):
        start = text.rfind(" ", 0, start) if start >= 0 else -1
    end = text.find(" ", len(text) - after)
    for _ in range(2):
        end = text.find(" ", end + 1) if end >= 0 else -1
    return f" {text[start + 1 : end if end >= 0 else len(text)].lower()} "


def differences(pairs: Sequence[TextPair]) -> sp.csr_matrix:
    """How often each n-gram occurs in the false text beyond the true one, float64 with whole values [n, COLUMNS]; columns are sorted."""
    parts = [_differences(pairs[start : start + _CHUNK]) for start in range(0, len(pairs), _CHUNK)]
    return sp.vstack(parts, format="csr") if parts else sp.csr_matrix((0, COLUMNS))


def _differences(pairs: Sequence[TextPair]) -> sp.csr_matrix:
    rows, columns, signs = [], [], []
    for sign, texts in ((-1, [_cut(p.true, p.before, p.after) for p in pairs]), (1, [_cut(p.false, p.before, p.after) for p in pairs])):
        for offset, units in ((0, _words(texts)), (1 << BITS, _characters(texts))):
            lengths = WORDS if offset == 0 else CHARACTERS
            found, hashed = _hashed(*units, lengths)
            rows.append(found)
            columns.append(hashed + offset)
            signs.append(np.full(len(found), sign, dtype=np.int8))
    entries = (np.concatenate(signs).astype(np.float64), (np.concatenate(rows), np.concatenate(columns)))
    matrix = sp.coo_matrix(entries, shape=(len(pairs), COLUMNS)).tocsr()
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix


def _words(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    found = [_WORD.findall(text) for text in texts]
    numbers: dict[str, int] = {}
    ids = [numbers.setdefault(word, len(numbers)) for own in found for word in own]
    hashes = [int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little") for word in numbers]
    return np.array(hashes, dtype=np.uint64)[np.array(ids, dtype=np.int64)], np.array([len(own) for own in found], dtype=np.int64)


def _characters(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    return points, np.array([len(text) for text in texts], dtype=np.int64)


def _hashed(units: np.ndarray, sizes: np.ndarray, lengths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Text and hash of every n-gram of these lengths. `units`: uint64 of all texts; `sizes`: the number of each text's units."""
    owner = np.repeat(np.arange(len(sizes)), sizes)
    rows, columns = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    state = np.zeros(len(units), dtype=np.uint64)
    for length in range(1, max(lengths) + 1):
        count = len(units) - length + 1
        if count <= 0:
            break
        state = _mixed(state[:count], units[length - 1 :])
        if length in lengths:
            whole = owner[:count] == owner[length - 1 :]
            rows.append(owner[:count][whole])
            columns.append((_mixed(state[whole], np.array([length], np.uint64)) >> np.uint64(64 - BITS)).astype(np.int64))
    return np.concatenate(rows), np.concatenate(columns)


def _mixed(state: np.ndarray, units: np.ndarray) -> np.ndarray:
    mixed: np.ndarray = (state ^ (units * _MULTIPLIER)) * _MIXER
    return mixed ^ (mixed >> _SHIFT)
