"""The state of torch's random generators (the CPU's and one device's), so that a repeated forward pass uses the same dropout."""

from __future__ import annotations

import torch
from torch import Tensor


def random_state(device: torch.device) -> list[Tensor]:
    """The state of the CPU's generator, and the device's if it is a GPU."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def restore(state: list[Tensor], device: torch.device) -> None:
    """Restores a state that `random_state` returned."""
    torch.set_rng_state(state[0])
    if len(state) > 1:
        torch.cuda.set_rng_state(state[1], device)
