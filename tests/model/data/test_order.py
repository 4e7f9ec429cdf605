"""Properties of the order: each row once per epoch, no image twice in a batch, the same for any world, any step in constant time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.order import Mix, Order, share_of
from model.data.permutation import key_of, permuted, scrambled

groups = st.lists(st.integers(1, 7), min_size=1, max_size=60)
shapes = st.fixed_dictionaries({"seed": st.integers(0, 5), "batch": st.integers(1, 17), "window": st.integers(1, 5)})


def order_of(counts, least=None, **shape) -> Order:
    counts = np.array(counts)
    sizes = scrambled(np.arange(counts.sum()), np.uint64(9)) % np.uint64(30)
    return Order(np.cumsum(counts) - counts, counts, sizes, name="pairs", least=least, **shape)


def epoch_of(order: Order, epoch: int) -> list[np.ndarray]:
    found = [order[epoch * order.batches + number] for number in range(order.batches)]
    assert all(told == epoch for _, told in found)
    return [rows for rows, _ in found]


@given(st.integers(1, 5000), st.integers(0, 2**63))
def test_a_permutation_takes_every_index_to_another(count, seed):
    assert sorted(permuted(np.arange(count), count, key_of(seed)).tolist()) == list(range(count))


@given(st.integers(1, 2**40), st.integers(0, 99), st.data())
def test_a_permutation_is_computed_by_index(count, seed, data):
    some = np.array(data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=20)))
    found = permuted(some, count, key_of(seed))
    assert ((found >= 0) & (found < count)).all()
    assert [int(permuted(some[at : at + 1], count, key_of(seed))[0]) for at in range(len(some))] == found.tolist()
    assert len(set(found.tolist())) == len(set(some.tolist()))


def test_permutations_are_even():
    """Images of index 0 of 7 under 14,000 keys, and of the first ten of 1,000: no index is preferred (chi-square, p > 0.001)."""
    seven = np.bincount([int(permuted(np.zeros(1, int), 7, key_of(seed))[0]) for seed in range(14_000)], minlength=7)
    assert ((seven - 2000) ** 2 / 2000).sum() < 22.5  # 6 degrees of freedom
    many = np.concatenate([permuted(np.arange(10), 1000, key_of("k", seed)) for seed in range(4000)])
    assert ((np.bincount(many, minlength=1000) - 40) ** 2 / 40).sum() < 1143  # 999 degrees of freedom
    together = [tuple(permuted(np.arange(3), 3, key_of("t", seed)).tolist()) for seed in range(6000)]
    found = np.unique(together, axis=0, return_counts=True)[1]
    assert len(found) == 6 and ((found - 1000) ** 2 / 1000).sum() < 20.6  # 5 degrees of freedom


@given(groups, shapes, st.integers(0, 3))
def test_every_row_comes_once_an_epoch(counts, shape, epoch):
    order = order_of(counts, least=1, **shape)
    rows = np.concatenate(epoch_of(order, epoch))
    assert sorted(rows.tolist()) == list(range(sum(counts))) and order.dropped == 0 and order.rows == sum(counts)


@given(groups, shapes, st.integers(0, 3))
def test_full_batches_leave_out_as_many_as_they_say_and_repeat_none(counts, shape, epoch):
    order = order_of(counts, **shape)
    batches = epoch_of(order, epoch)
    rows = np.concatenate([*batches, np.zeros(0, int)]).tolist()
    assert all(len(batch) == shape["batch"] for batch in batches)
    assert len(set(rows)) == len(rows) == sum(counts) - order.dropped
    left = [sum(count > turn for count in counts) % shape["batch"] for turn in range(max(counts))]
    assert order.dropped == sum(left)


@given(groups, shapes, st.integers(0, 2))
def test_no_batch_holds_two_rows_of_a_group(counts, shape, epoch):
    order = order_of(counts, least=1, **shape)
    owner = np.repeat(np.arange(len(counts)), counts)
    for rows in epoch_of(order, epoch):
        assert len(set(owner[rows].tolist())) == len(rows)


@given(groups, shapes, st.integers(1, 8), st.integers(0, 40))
def test_ranks_share_the_same_batches_without_overlap_whatever_the_world(counts, shape, world, number):
    order = order_of(counts, least=1, **shape)
    rows, _ = order[number]
    shares = [share_of(rows, rank, world) for rank in range(world)]
    assert np.array_equal(np.concatenate(shares), rows)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(groups, shapes, st.integers(0, 100))
def test_a_batch_does_not_depend_on_what_was_asked_before(counts, shape, number):
    first, second = order_of(counts, least=1, **shape), order_of(counts, least=1, **shape)
    for before in (3, 77, number + 1):
        first[before]
    assert np.array_equal(first[number][0], second[number][0])


def test_epochs_and_seeds_differ_and_repeat():
    order = order_of([3] * 40, seed=1, batch=8, window=2)
    epochs = [np.concatenate(epoch_of(order, epoch)).tolist() for epoch in range(3)]
    assert len({tuple(rows) for rows in epochs}) == 3
    assert np.concatenate(epoch_of(order_of([3] * 40, seed=1, batch=8, window=2), 2)).tolist() == epochs[2]
    assert np.concatenate(epoch_of(order_of([3] * 40, seed=2, batch=8, window=2), 0)).tolist() != epochs[0]


def test_what_one_epoch_leaves_out_the_next_ones_hold():
    order = order_of([2] * 13, seed=0, batch=4, window=3)
    assert order.dropped == 2
    assert {int(row) for epoch in range(12) for row in np.concatenate(epoch_of(order, epoch))} == set(range(26))


def test_rows_of_a_batch_are_alike_in_length():
    counts, rng = np.ones(4096, int), np.random.default_rng(0)
    sizes = rng.integers(5, 60, 4096)
    order = Order(np.arange(4096), counts, sizes, name="texts", seed=0, batch=32, window=64)
    spread = np.mean([np.ptp(sizes[order[number][0]]) for number in range(order.batches)])
    plain = Order(np.arange(4096), counts, sizes, name="texts", seed=0, batch=32, window=1)
    assert spread < 4 < 45 < np.mean([np.ptp(sizes[plain[number][0]]) for number in range(plain.batches)])
    first = [int(sizes[order[number][0]].max()) for number in range(64)]
    assert first != sorted(first)  # the batches of a window come in no order of length


def test_other_rows_meet_in_every_epoch():
    """Within one window of a whole round, rows of one size would meet again and again."""
    sizes = np.random.default_rng(0).integers(5, 40, 1024)
    order = Order(np.arange(1024), np.ones(1024, int), sizes, name="texts", seed=0, batch=32, window=64)
    mates = []
    for epoch in (0, 1):
        batch_of = np.zeros(1024, int)
        for number in range(order.batches):
            batch_of[order[epoch * order.batches + number][0]] = number
        mates.append(batch_of[:, None] == batch_of)
    first = mates[0] & ~np.eye(1024, dtype=bool)
    assert mates[1][first].mean() < 4 * 31 / 1023  # by chance 31 of 1,023, with one window 24 times as often


@given(st.dictionaries(st.sampled_from(["pairs", "images", "texts"]), st.integers(1, 7), min_size=1), st.integers(1, 60))
def test_streams_come_in_their_proportions_and_batch_by_batch(weights, batches):
    mix = Mix(weights)
    steps = [mix.at(step) for step in range(3 * sum(weights.values()))]
    for name, weight in weights.items():
        assert [number for stream, number in steps if stream == name] == list(range(3 * weight))
        turns = [turn for turn, stream in enumerate(mix.pattern) if stream == name]
        assert max(np.diff([*turns, turns[0] + len(mix.pattern)])) <= -(-len(mix.pattern) // len(turns)) + 1
        assert mix.at(mix.steps(name, batches) - 1) == (name, batches - 1)


def test_the_middle_of_a_long_epoch_is_reached_without_walking_there():
    rows = 1_000_000
    order = Order(np.arange(rows), np.ones(rows, int), np.zeros(rows, int), name="pairs", seed=0, batch=64)
    asked: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.data.order.permuted", lambda indices, *rest: asked.append(len(indices)) or permuted(indices, *rest))
        order[order.batches // 2 + 7 * order.batches]
    assert sum(asked) <= 64 * 64 + 65  # one window, its batches, one round


@pytest.mark.parametrize("shape", [{"batch": 0}, {"batch": 4, "window": 0}])
def test_sizes_must_be_positive(shape):
    with pytest.raises(ValueError, match="must be positive"):
        order_of([1, 2], seed=0, **shape)


def test_an_empty_stream_has_no_batches():
    order = order_of(np.zeros(0, int), seed=0, batch=4)
    assert (order.batches, order.rows, order.dropped) == (0, 0, 0)
    with pytest.raises(IndexError, match="0 batches an epoch"):
        order[0]
