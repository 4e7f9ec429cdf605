"""Pauses Python's cyclic garbage collector while a batch of many small objects is made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """Disables the collector inside the block, whose memory use must be bounded (a record batch).

    Graphs and negatives are trees of tuples without cycles, which reference counting frees. Searching them for cycles took a tenth of
    the stage's time.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
