"""Resuming: whatever happened before, the next batch depends on the step alone."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from model.batch import Batch
from model.data.loader import Batches, BatchStream, ShardLoader
from schemas.errors import ConfigError
from tests.model.data.conftest import batches


def told(batch: Batch) -> Any:
    """A batch as plain values, to compare."""

    def plain(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return str(value.dtype), value.tolist()
        return {key: plain(held) for key, held in vars(value).items()} if hasattr(value, "__dataclass_fields__") else value

    return plain(batch)


def take(loader: ShardLoader, number: int) -> list[Any]:
    return [told(batch) for batch in islice(iter(loader), number)]


@pytest.fixture(scope="module")
def made(corpus) -> Batches:
    return batches(corpus)


@pytest.fixture(scope="module")
def truth(made) -> list[Any]:
    """Three epochs and a half, step by step."""
    return [told(made[step]) for step in range(3 * len(made) + len(made) // 2)]


def resumed(corpus: str, state: dict[str, Any], **changes: Any) -> ShardLoader:
    """A new loader, as after a restart, from a state that was stored as JSON."""
    loader = ShardLoader(batches(corpus, **changes))
    loader.load_state(json.loads(json.dumps(state)))
    return loader


def test_from_the_start(made, truth):
    assert take(ShardLoader(made), 20) == truth[:20]


@pytest.mark.parametrize("step", [0, 1, 7, 13])
def test_resuming_twice_in_a_row(corpus, made, truth, step):
    loader = ShardLoader(made)
    take(loader, step)
    once = resumed(corpus, loader.state())
    assert take(once, 5) == truth[step : step + 5]
    again = resumed(corpus, once.state())
    assert take(again, 5) == truth[step + 5 : step + 10]


def test_just_after_resuming_the_state_is_that_which_was_loaded(corpus, made):
    state = {**ShardLoader(made).state(), "step": 17}
    assert resumed(corpus, state).state() == state
    assert resumed(corpus, resumed(corpus, state).state()).state() == state


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_at_the_end_of_an_epoch_and_in_the_third(corpus, made, truth, epochs):
    for step in (epochs * len(made) - 1, epochs * len(made), epochs * len(made) + 3):
        assert take(resumed(corpus, {**ShardLoader(made).state(), "step": step}), 4) == truth[step : step + 4]


def test_an_iterator_made_before_goes_where_the_state_says(made, truth):
    loader = ShardLoader(made)
    unused, used = iter(loader), iter(loader)
    assert told(next(used)) == truth[0]
    loader.load_state({**loader.state(), "step": 30})
    assert [told(next(used)), told(next(unused)), told(next(used))] == truth[30:33]
    assert loader.state()["step"] == 33


def test_a_second_iterator_goes_on_where_the_first_stopped(made, truth):
    loader = ShardLoader(made)
    assert take(loader, 4) + take(loader, 4) == truth[:8]


def test_persistent_workers_resume_exactly_and_their_number_does_not_matter(corpus, truth):
    loader = ShardLoader(batches(corpus, workers=2))
    first = iter(loader)
    assert [told(next(first)) for _ in range(5)] == truth[:5]
    state = loader.state()  # the workers are some batches ahead
    assert state["step"] == 5
    loader.load_state({**state, "step": 40})
    assert [told(next(first)) for _ in range(3)] == truth[40:43]
    assert take(loader, 3) == truth[43:46]
    assert take(resumed(corpus, state), 3) == take(resumed(corpus, state, workers=1), 3) == truth[5:8]


def test_two_iterators_of_persistent_workers_follow_a_loaded_state(corpus, truth):
    loader = ShardLoader(batches(corpus, workers=1))
    one, other = iter(loader), iter(loader)
    assert [told(next(one)) for _ in range(3)] + [told(next(other)) for _ in range(2)] == truth[:5]
    loader.load_state({**loader.state(), "step": 3})
    assert [told(next(one)), told(next(other)), told(next(one))] == truth[3:6]


def test_packed_texts_resume_exactly(corpus):
    changes = {"pack_texts": True, "mix": {"texts": 2, "pairs": 1}}
    loader = ShardLoader(batches(corpus, **changes))
    every = take(loader, 12)
    state = {**loader.state(), "step": 7}
    assert take(resumed(corpus, state, **changes), 5) == every[7:]


@pytest.mark.parametrize("world", [1, 3, 6])
def test_another_world_at_the_same_global_batch_goes_on_with_the_same_rows(corpus, world):
    """Two processes stop; one, three or six resume."""
    batch = {"pairs": 12, "images": 6, "texts": 6}
    loader = ShardLoader(batches(corpus, rank=1, world=2, batch=batch))
    take(loader, 9)
    ranks = [iter(resumed(corpus, loader.state(), rank=rank, world=world, batch=batch)) for rank in range(world)]
    whole = batches(corpus, batch=batch)
    for step in range(9, 18):
        assert tuple(name for rank in ranks for name in next(rank).names) == whole[step].names


def test_the_iterable_dataset_is_the_same_stream(made, truth):
    stream = BatchStream(made, 3)
    assert [told(batch) for batch in islice(iter(stream), 4)] == truth[3:7]
    loader = DataLoader(stream, batch_size=None, num_workers=2, persistent_workers=True)
    assert [told(batch) for batch in islice(iter(loader), 5)] == truth[3:8]
    stream.seek(21)
    assert [told(batch) for batch in islice(iter(loader), 5)] == truth[21:26]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"batch": {"pairs": 10, "images": 6, "texts": 8}},
        {"mix": {"pairs": 1}},
        {"negatives": {"tfidf": 1}},
        {"max_tokens": 20},
        {"region_buckets": (2, 4)},
    ],
)
def test_a_state_of_another_order_is_refused(corpus, made, changes):
    with pytest.raises(ConfigError, match="another corpus, seed or data settings"):
        resumed(corpus, ShardLoader(made).state(), **changes)


@pytest.mark.parametrize("state", [{}, {"step": 1}, {"step": -1, "order": ""}, {"step": "1", "order": ""}])
def test_what_is_no_state_is_refused(made, state):
    with pytest.raises(ConfigError, match="not a loader state"):
        ShardLoader(made).load_state(state)
