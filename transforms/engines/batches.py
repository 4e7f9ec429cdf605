"""Isolates failures: one bad item must not fail its whole batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from itertools import groupby
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def apply_each(work: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]) -> tuple[list[Result | None], dict[int, str]]:
    """Applies `work`, which returns n results for n items. A failing batch is halved and retried, down to single items.

    Returns the results, None for items that fail by themselves, and the errors by index. KeyboardInterrupt and the like propagate.
    """
    if not items:
        return [], {}
    try:
        found = list(work(items))
        if len(found) != len(items):
            raise ValueError(f"{len(found)} results for {len(items)} items")
        return [*found], {}
    except Exception as error:  # whatever an engine raises
        if len(items) == 1:
            return [None], {0: f"{type(error).__name__}: {error}"}
    half = len(items) // 2
    first, failed = apply_each(work, items[:half])
    second, also = apply_each(work, items[half:])
    return first + second, failed | {index + half: why for index, why in also.items()}


def equally_long(items: Sequence[Sized]) -> Iterator[list[int]]:
    """Indices of the items by length, short ones first; those of equal length in their order."""
    order = sorted(range(len(items)), key=lambda index: len(items[index]))
    for _, group in groupby(order, key=lambda index: len(items[index])):
        yield list(group)
