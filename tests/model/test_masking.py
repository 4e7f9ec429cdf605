"""Properties of masking: what may be hidden, how much, and that the same generator hides the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.batch import IGNORED
from model.masking import Masking, cut_fragments, draw_mismatches, mask_regions, mask_tokens, overlaps
from tests.model.batches import VOCABULARY


def _texts(rng: np.random.Generator, lengths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    ids = np.full((len(lengths), max(lengths)), VOCABULARY.pad)
    for row, length in enumerate(lengths):
        ids[row, :length] = [VOCABULARY.cls, *rng.integers(3, 59, length - 2), VOCABULARY.sep]
    return ids, np.array(lengths)


LENGTHS = st.lists(st.integers(2, 30), min_size=1, max_size=6)


@given(seed=st.integers(0, 2**32), lengths=LENGTHS, spans=st.booleans(), share=st.sampled_from([0.0, 0.15, 0.5, 1.0]))
def test_tokens(seed: int, lengths: list[int], spans: bool, share: float) -> None:
    ids, sizes = _texts(np.random.default_rng(seed), lengths)
    how = Masking(tokens=share, spans=spans)
    masked, labels = mask_tokens(ids, sizes, how, VOCABULARY, np.random.default_rng(seed))
    chosen = labels != IGNORED
    assert (masked[~chosen] == ids[~chosen]).all() and (labels[chosen] == ids[chosen]).all()
    assert not np.isin(masked[chosen], [VOCABULARY.pad, VOCABULARY.cls, VOCABULARY.sep]).any()
    for row, length in enumerate(lengths):
        assert not chosen[row, [0, *range(length - 1, ids.shape[1])]].any()
        assert chosen[row].sum() == (min(length - 2, max(1, round(share * (length - 2)))) if share else 0)
    again = mask_tokens(ids, sizes, how, VOCABULARY, np.random.default_rng(seed))
    assert np.array_equal(masked, again[0]) and np.array_equal(labels, again[1])


@pytest.mark.parametrize("spans", [False, True])
def test_fates_of_tokens_are_80_10_10(spans: bool) -> None:
    rng = np.random.default_rng(0)
    ids, sizes = _texts(rng, [102] * 400)
    masked, labels = mask_tokens(ids, sizes, Masking(spans=spans), VOCABULARY, rng)
    chosen = labels != IGNORED
    assert chosen.sum() == 400 * 15
    assert (masked[chosen] == VOCABULARY.mask).mean() == pytest.approx(0.8, abs=0.03)
    assert (masked[chosen] == ids[chosen]).mean() == pytest.approx(0.1 + 0.1 / 56, abs=0.02)
    runs = (np.diff(chosen.astype(int), axis=1) == 1).sum() / chosen.sum()
    assert (runs < 0.5) == spans  # spans: few beginnings a token


@given(seed=st.integers(0, 2**32), count=st.integers(1, 12))
def test_regions(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = np.sort(rng.random((1, 12, 2, 2)), axis=2).reshape(1, 12, 4)
    hidden = mask_regions(boxes, np.array([count]), Masking(), rng)[0]
    assert not hidden[count:].any() and hidden.any()
    fewest = max(1, round(0.15 * count))
    assert hidden.sum() >= fewest
    bare = mask_regions(boxes, np.array([count]), Masking(overlap=1.0), np.random.default_rng(seed + 1))[0]
    assert bare.sum() == fewest
    wide = mask_regions(boxes, np.array([count]), Masking(), np.random.default_rng(seed + 1))[0]
    near = (overlaps(boxes[0][bare], boxes[0]) > 0.3).any(0)
    near[count:] = False
    assert np.array_equal(wide, near | bare)


def test_overlap_is_intersection_over_union() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6], [0, 0, 0, 0]], float)
    assert np.allclose(overlaps(boxes, boxes), [[1, 1 / 7, 0, 0], [1 / 7, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])


@given(seed=st.integers(0, 2**32), lengths=LENGTHS)
def test_fragments_and_source_make_the_text_again(seed: int, lengths: list[int]) -> None:
    ids, sizes = _texts(np.random.default_rng(seed), lengths)
    laid, wholes, sources, labels = cut_fragments(ids, sizes, Masking(), VOCABULARY, np.random.default_rng(seed))
    assert np.array_equal(wholes, sizes)
    for row, length in enumerate(lengths):
        tokens, source, target = ids[row, 1 : length - 1], laid[row, : sources[row]], laid[row, sources[row] : length]
        assert len(target) == (max(1, int(0.25 * len(tokens))) if len(tokens) > 1 else 0)
        assert source[0] == VOCABULARY.cls and source[-1] == VOCABULARY.sep
        assert sorted([*source[1:-1], *target]) == sorted(tokens)
        expected = [*target, VOCABULARY.sep] if len(target) else []
        assert labels[row][labels[row] != IGNORED].tolist() == [int(token) for token in expected]
        if expected:
            assert labels[row, sources[row] - 1] == target[0]


@given(seed=st.integers(0, 2**32), hard=st.booleans())
def test_mismatches_are_surely_wrong(seed: int, hard: bool) -> None:
    rng = np.random.default_rng(seed)
    image_keys, text_keys = rng.integers(0, 4, 6), rng.integers(10, 14, 6)
    known = {(0, 1), (2, 3)}
    negatives = (np.array([6, 7, 8]), np.array([0, 0, 3]))
    images, texts, labels = draw_mismatches(image_keys, text_keys, known, negatives, Masking(hard=hard, mismatched=0.9), rng)
    for row in range(6):
        image, text = int(images[row]), int(texts[row])
        if labels[row]:
            assert (image, text) == (row, row)
        elif text >= 6:
            assert hard and negatives[1][text - 6] == row == image
        else:
            assert row in (image, text) and image != text and (image, text) not in known
            assert image_keys[image] != image_keys[text] and text_keys[text] != text_keys[image]


def test_a_single_pair_stays_matched() -> None:
    nothing = (np.empty(0, int), np.empty(0, int))
    drawn = draw_mismatches(np.array([1]), np.array([2]), set(), nothing, Masking(mismatched=1.0), np.random.default_rng(0))
    assert [part.tolist() for part in drawn] == [[0], [0], [1.0]]
