"""How many threads torch's kernels use: within a block, or while a model works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def kernel_threads(count: int) -> Iterator[None]:
    """Kernels of this thread run on `count` threads within the block. OpenMP keeps the number by calling thread, so set it each time."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
