"""Linear layers by oneDNN instead of MKL.

MKL's fast code runs on Intel CPUs only, and its mode for all CPUs (`transforms/core/instructions.py`) takes three times as long; oneDNN's
AVX2 code runs on any vendor's CPUs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class _Linear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        found: Tensor = torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "none", [], "")
        return found


def by_onednn(model: nn.Module) -> None:
    """Makes the linear layers of a float32 model on the CPU use oneDNN, if torch has it; for inference only."""
    if torch.backends.mkldnn.is_available():
        for module in model.modules():
            if type(module) is nn.Linear:
                module.__class__ = _Linear
