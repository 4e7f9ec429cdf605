"""Properties of the draws of companions."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.data.draw import draw, draw_by_kind
from model.data.permutation import key_of
from schemas.tokens import NEGATIVE_KINDS

KINDS = st.lists(st.lists(st.integers(0, 6), max_size=12), min_size=1, max_size=8)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(0, 4), st.integers(0, 99), st.data())
def test_a_draw_holds_each_candidate_once_and_as_many_as_there_are(counts, number, seed, data):
    rows, key = np.arange(len(counts)) * 17, key_of(seed)
    allowed = np.array(data.draw(st.lists(st.booleans(), min_size=sum(counts), max_size=sum(counts))), bool)
    owners, indices = draw(rows, np.array(counts), number, key, allowed)
    assert (np.diff(owners) >= 0).all() and len(set(zip(owners.tolist(), indices.tolist(), strict=True))) == len(owners)
    ends = np.cumsum(counts)
    for owner, count in enumerate(counts):
        open_ = np.flatnonzero(allowed[ends[owner] - count : ends[owner]])
        mine = indices[owners == owner]
        assert len(mine) == min(number, len(open_)) and set(mine.tolist()) <= set(open_.tolist())
        alone = draw(rows[owner : owner + 1], np.array([count]), number, key, allowed[ends[owner] - count : ends[owner]])
        assert alone[1].tolist() == mine.tolist()  # whoever shares the batch


def test_every_candidate_is_as_likely():
    found = np.concatenate([draw(np.array([5]), np.array([6]), 2, key_of(seed))[1] for seed in range(3000)])
    assert ((np.bincount(found, minlength=6) - 1000) ** 2 / 1000).sum() < 20.6


@given(KINDS, st.dictionaries(st.sampled_from(NEGATIVE_KINDS), st.integers(0, 3)), st.integers(0, 9))
def test_kinds_get_what_was_asked_and_others_make_up(kinds, wanted, seed):
    arrays = [np.array(own, np.int8) for own in kinds]
    allowed = np.ones(sum(map(len, kinds)), bool)
    owners, indices = draw_by_kind(np.arange(len(kinds)), arrays, wanted, key_of(seed), allowed)
    for owner, own in enumerate(kinds):
        drawn = [NEGATIVE_KINDS[own[index]] for index in indices[owners == owner]]
        usable = [NEGATIVE_KINDS[kind] for kind in own if wanted.get(NEGATIVE_KINDS[kind], 0)]
        assert len(drawn) == min(sum(wanted.values()), len(usable))
        assert all(drawn.count(kind) >= min(number, usable.count(kind)) for kind, number in wanted.items())
        assert set(drawn) <= set(usable)  # a kind that was left out never comes
