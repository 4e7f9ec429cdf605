"""Python's cyclic garbage collector, put off while a batch of many small objects is made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """Keeps the collector from running inside the block, which must be bounded (a record batch).

    Graphs and negatives are trees of tuples: counting references frees them. Walking them over and over for cycles that are not there
    cost a tenth of the whole stage.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
