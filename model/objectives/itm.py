"""Image-text matching: binary cross-entropy, on the joint `[CLS]`, whether image and text belong together."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from model.batch import Batch, Stream
from model.objectives.base import Objective, Views


class Itm(Objective):
    """Cross-entropy of the decisions of the batch, which `masking.draw_mismatches` draws, averaged over them."""

    name: ClassVar[str] = "itm"
    streams: ClassVar[tuple[Stream, ...]] = ("pairs",)

    def count(self, batch: Batch) -> Tensor:
        """The number of decisions."""
        assert batch.mismatch is not None
        return torch.tensor(len(batch.mismatch.labels), device=batch.mismatch.labels.device)

    def loss(self, views: Views) -> Tensor:
        """The sum over the decisions."""
        draw, cls = views.batch.mismatch, views.mismatched().cls
        assert draw is not None and cls is not None
        scores = views.network.match(cls)
        return F.binary_cross_entropy_with_logits(scores, draw.labels.to(scores.dtype), reduction="sum")
