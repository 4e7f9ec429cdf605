"""Linear layers by oneDNN in place of MKL.

MKL's fast code is for Intel's CPUs alone, and what all have in common (`transforms/core/instructions.py`) takes three times as long;
oneDNN's AVX2 code asks for no vendor.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class _Linear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        found: Tensor = torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "none", [], "")
        return found


def by_onednn(model: nn.Module) -> None:
    """Changes a float32 model on the CPU, for inference: its linear layers go through oneDNN where torch has it."""
    if torch.backends.mkldnn.is_available():
        for module in model.modules():
            if type(module) is nn.Linear:
                module.__class__ = _Linear
