"""Word-region alignment: the cost of optimal transport between the words and regions of a sequence, low if they match and high if not.

The plan is computed by IPOT (Xie et al., arXiv 1802.04307) with UNITER's settings. Gradients flow through the cost, not the plan.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from model.batch import Batch, Stream
from model.heads import wide
from model.objectives.base import Objective, ObjectiveSettings, Views


class WraSettings(ObjectiveSettings):
    """Word-region alignment, on the sequences of image-text matching."""

    weight: float = Field(0.1, gt=0, description="weight of the loss; UNITER's is 0.1")
    beta: float = Field(
        0.5, ge=0.05, description="step of IPOT: smaller is closer to the exact plan in fewer iterations; lower, it underflows"
    )
    iterations: int = Field(50, ge=1, description="iterations of IPOT")


class Wra(Objective):
    """Transport cost of matched pairs minus that of mismatched ones, averaged over the decisions of the batch."""

    name: ClassVar[str] = "wra"
    streams: ClassVar[tuple[Stream, ...]] = ("pairs",)
    settings_type: ClassVar[type[ObjectiveSettings]] = WraSettings

    def count(self, batch: Batch) -> Tensor:
        """The number of decisions."""
        assert batch.mismatch is not None
        return torch.tensor(len(batch.mismatch.labels), device=batch.mismatch.labels.device)

    def loss(self, views: Views) -> Tensor:
        """The sum over the decisions; words include `[CLS]` and `[SEP]`, as in UNITER's code, regions exclude `[IMG]`."""
        draw, states = views.batch.mismatch, views.mismatched()
        assert draw is not None and states.tokens is not None and states.regions is not None
        with torch.autocast(states.tokens.device.type, enabled=False):
            distance = transport_cost(
                states.tokens, states.regions, states.tokens_valid, states.regions_valid, self.settings.beta, self.settings.iterations
            )
        return (distance * (2 * draw.labels - 1)).sum()


def transport_cost(
    words: Tensor, regions: Tensor, words_valid: Tensor | None, regions_valid: Tensor | None, beta: float = 0.5, iterations: int = 50
) -> Tensor:
    """Cost of transporting uniform words to uniform regions, 1 - cosine per unit, at least float32 [B].

    words: [B, n, H]; regions: [B, m, H]; valid: bool [B, n], [B, m], None where nothing is padded.
    """
    cost = 1 - F.normalize(wide(words), dim=-1) @ F.normalize(wide(regions), dim=-1).transpose(1, 2)
    rows = cost.new_ones(cost.shape[:2]) if words_valid is None else words_valid.to(cost.dtype)
    columns = cost.new_ones(cost.shape[0], cost.shape[2]) if regions_valid is None else regions_valid.to(cost.dtype)
    # As in UNITER's code, regions are the rows, so the words' sums are exact after any number of iterations.
    plan = ipot(cost.detach().transpose(1, 2), columns, rows, beta, iterations).transpose(1, 2)
    return (cost * plan).sum((1, 2))


def ipot(cost: Tensor, rows: Tensor, columns: Tensor, beta: float, iterations: int) -> Tensor:
    """The transport plan [B, n, m] between uniform weights on the rows and columns marked 1 (padding: 0).

    A = exp(-C / beta), sigma = 1 / m, T = 1; repeat: Q = A * T, delta = 1 / (n Q sigma), sigma = 1 / (m Q' delta),
    T = diag(delta) Q diag(sigma).
    """
    cells = rows[:, :, None] * columns[:, None, :]
    kernel = torch.exp(-cost / beta) * cells
    share_rows, share_columns = rows / rows.sum(1, keepdim=True), columns / columns.sum(1, keepdim=True)
    sigma, plan = share_columns, cells
    tiny = torch.finfo(cost.dtype).tiny
    for _ in range(iterations):
        scaled = kernel * plan
        delta = share_rows / torch.einsum("bnm,bm->bn", scaled, sigma).clamp(min=tiny)
        sigma = share_columns / torch.einsum("bnm,bn->bm", scaled, delta).clamp(min=tiny)
        plan = delta[:, :, None] * scaled * sigma[:, None, :]
    return plan
