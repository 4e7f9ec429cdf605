"""Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/) for fairseq."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, List  # noqa: UP035  fairseq supports only the old syntax

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.optim import FairseqOptimizer, register_optimizer
from omegaconf import II
from torch import Tensor

MATRICES = 6.0  # learning rate of matrices relative to that of the other parameters


def orthogonal(stack: Tensor, steps: int = 5) -> Tensor:
    """Approximately the nearest semi-orthogonal matrices (singular values of 0.7 to 1.2), by Newton-Schulz iteration.

    stack: float (matrices, rows, columns), rows <= columns. Computed in bfloat16.
    """
    x = stack.bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.to(stack.dtype)


class Muon(torch.optim.Optimizer):
    """Muon for matrices inside the layers, Adam for embeddings, biases and norms.

    groups: parameter groups, each with `matrices`: whether it contains only matrices.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float] = (0.9, 0.98), momentum: float = 0.95):
        super().__init__(groups, {"lr": lr, "betas": betas, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """One update from the current gradients."""
        for group in self.param_groups:
            given = [p for p in group["params"] if p.grad is not None]
            (self._matrices if group["matrices"] else self._others)(given, group)

    def _matrices(self, given: list[Tensor], group: dict[str, Any]) -> None:
        alike: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
        for p in given:
            state = self.state[p]
            if not state:
                state["momentum"] = torch.zeros_like(p)
            mean = state["momentum"].lerp_(p.grad, 1 - group["momentum"])
            wanted = p.grad.lerp(mean, group["momentum"])
            flat = wanted if p.size(0) <= p.size(1) else wanted.t()
            alike.setdefault(tuple(flat.shape), []).append((p, flat))
        for rows in alike.values():
            for (p, _), step in zip(rows, orthogonal(torch.stack([flat for _, flat in rows])), strict=True):
                tall = p.size(0) > p.size(1)
                p.add_(step.t() if tall else step, alpha=-MATRICES * group["lr"] * max(1.0, p.size(0) / p.size(1)) ** 0.5)

    def _others(self, given: list[Tensor], group: dict[str, Any]) -> None:
        first, second = group["betas"]
        for p in given:
            state = self.state[p]
            if not state:
                state.update(steps=0, mean=torch.zeros_like(p), square=torch.zeros_like(p))
            state["steps"] += 1
            state["mean"].lerp_(p.grad, 1 - first)
            state["square"].mul_(second).addcmul_(p.grad, p.grad, value=1 - second)
            root = (state["square"] / (1 - second ** state["steps"])).sqrt_().add_(1e-8)
            p.addcdiv_(state["mean"], root, value=-group["lr"] / (1 - first ** state["steps"]))


@dataclass
class MuonConfig(FairseqDataclass):
    """Options of fairseq-train: only the learning rate, which applies to embeddings, biases and norms."""

    lr: List[float] = II("optimization.lr")  # noqa: UP006


@register_optimizer("muon", dataclass=MuonConfig)
class FairseqMuon(FairseqOptimizer):
    """`--optimizer muon`."""

    def __init__(self, cfg: Any, params: Any):
        super().__init__(cfg)
        params = list(params)
        # all 2D parameters except the embedding table, by far the tallest
        matrices = [p for p in params if p.ndim == 2 and p.size(0) <= 4 * p.size(1)]
        inside = {id(p) for p in matrices}
        others = [p for p in params if id(p) not in inside]
        self._optimizer = Muon([{"params": matrices, "matrices": True}, {"params": others, "matrices": False}], lr=cfg.lr[0])

    @property
    def optimizer_config(self) -> dict[str, Any]:
        """The settings that override a checkpoint's."""
        return {"lr": self.cfg.lr[0]}
