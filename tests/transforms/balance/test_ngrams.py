"""N-gram differences against a direct count, and the flows of the selection."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.balance.blind import ranked
from transforms.balance.cells import cells_of, overlapping, owner
from transforms.balance.fit import Fit
from transforms.balance.flows import balanced
from transforms.balance.ngrams import CHARACTERS, WORDS, TextPair, differences
from transforms.scenes.language import captions
from transforms.scenes.layout import sample_scene

_TEXT = st.lists(st.sampled_from(["a", "dog", "Cat,", "on", "the", "bench", "é", "two-way", "I"]), max_size=8).map(" ".join)


def _counts(text: str) -> Counter[object]:
    words, padded = re.findall(r"\w+", text.lower()), f" {text.lower()} "
    found: Counter[object] = Counter(tuple(words[at : at + n]) for n in WORDS for at in range(len(words) - n + 1))
    found.update(padded[at : at + n] for n in CHARACTERS for at in range(len(padded) - n + 1))
    return found


@given(_TEXT, _TEXT, _TEXT, _TEXT)
def test_differences_are_those_of_the_whole_texts(before: str, one: str, other: str, after: str) -> None:
    begin, end = f"{before} ", f" {after}"
    true, false = _counts(begin + one + end), _counts(begin + other + end)
    expected = sorted(false[key] - true[key] for key in {*true, *false} if false[key] != true[key])
    matrix = differences([TextPair(begin + one + end, begin + other + end, len(begin), len(end))])
    assert sorted(matrix.data.tolist()) == expected
    assert (differences([TextPair(begin + other + end, begin + one + end, len(begin), len(end))]) + matrix).nnz == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.floats(0.5, 20))
def test_selection_is_bounded_and_leaves_smaller_flows(seed: int, most: int, tolerance: float) -> None:
    rng = np.random.default_rng(seed)
    groups = np.sort(rng.integers(0, 60, 300))
    old, new = rng.integers(0, 12, 60)[groups], rng.integers(0, 12, 300) // rng.integers(1, 4, 300)
    matrix = sp.coo_matrix((np.repeat([-1.0, 1.0], 300), (np.tile(np.arange(300), 2), np.concatenate([old, new]))), shape=(300, 12)).tocsr()
    kept = balanced(matrix, groups, most, tolerance)
    assert np.bincount(groups[kept], minlength=1).max() <= most
    assert (kept == balanced(matrix, groups, most, tolerance)).all()
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    first = np.zeros(300, dtype=bool)
    first[[at + k for at in starts for k in range(most) if at + k < 300 and groups[at + k] == groups[at]]] = True
    flow = [np.abs(matrix[those].sum(axis=0)).sum() / max(1, those.sum()) for those in (kept, first)]
    assert flow[0] <= flow[1] + 0.05


def test_no_candidates() -> None:
    assert not len(balanced(differences([]), np.empty(0, np.int64), 3, 1.0))


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_cell_is_read_where_it_lies(cells: int, partitions: int) -> None:
    for cell in range(cells):
        parts = overlapping(cell, cells, partitions)
        assert owner(cell, cells, partitions) == parts[0]
        assert all(cell in overlapping(part, partitions, cells) for part in parts)
    assert sorted({part for cell in range(cells) for part in overlapping(cell, cells, partitions)}) == list(range(partitions))
    assert [cells_of(pairs, 100) for pairs in (0, 149, 151, 1000)] == [1, 1, 2, 10]


def test_a_word_that_only_false_texts_have_gives_them_away() -> None:
    texts = [caption.text for at in range(40) for caption in captions(sample_scene(3, at), 3)]
    pairs = [TextPair(f"a {text}", f"{word} {text}", 0, len(text) + 1) for text in texts for word in ("no", "the")]
    trained = np.arange(len(pairs)) % 4 < 2
    assert (ranked(differences(pairs), trained, 0.1) or 0) > 0.95
    mirrored = [TextPair(pair.false, pair.true, pair.before, pair.after) if at % 8 > 3 else pair for at, pair in enumerate(pairs)]
    assert 0.3 < (ranked(differences(mirrored), trained, 0.1) or 0) < 0.7


def test_fit_is_measured_on_other_images() -> None:
    captions = ["a dog on a sofa", "a dog on a sofa", "a cat on a sofa", "a boat on a lake", "a boat on a lake", "a red bus", "a tree"]
    captions += ["a kite", "a plate", "two birds", "some grass", "one train"]
    found = Fit(captions, [str(at) for at in range(len(captions))]).differences(
        [TextPair(captions[0], "a boat on a sofa", 2, len(" on a sofa")), TextPair(captions[0], "a cat on a sofa", 2, len(" on a sofa"))]
    )
    assert found.sum(axis=1).ravel().tolist() == [[0, 0]]  # as many words in as out, beside the same others
    rows = found.toarray()
    assert rows[0, 0] == 1 and rows[0, 1:].sum() == -1  # never a boat with a sofa
    assert rows[1].any()
