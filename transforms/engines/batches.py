"""Engines work on batches; one bad item must not take the others with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def apply_each(work: Callable[[Sequence[Item]], Sequence[Result]],
               items: Sequence[Item]) -> tuple[list[Result | None], dict[int, str]]:
    """`work` on all items: n items give n results. A batch that it fails on is halved and tried again, down to single items.

    Returns the results, None for items that it fails on alone, and why, by place. KeyboardInterrupt and the like pass through.
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
    return first + second, failed | {place + half: why for place, why in also.items()}
