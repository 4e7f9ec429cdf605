"""Sequence to sequence on texts: fragments cut out of a text are generated in order, given the rest (UNIMO)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from model.batch import IGNORED, Batch, Stream
from model.objectives.base import Objective, Views


class Seq2seq(Objective):
    """Cross-entropy of the generated tokens, averaged over them."""

    name: ClassVar[str] = "seq2seq"
    streams: ClassVar[tuple[Stream, ...]] = ("texts",)

    def count(self, batch: Batch) -> Tensor:
        """The number of tokens to generate, including each text's final `[SEP]`."""
        assert batch.fragments is not None
        return (batch.fragments.labels != IGNORED).sum()

    def loss(self, views: Views) -> Tensor:
        """The sum over the generated tokens."""
        fragments = views.batch.fragments
        assert fragments is not None
        chosen = fragments.labels != IGNORED
        states = views.network.body.generate(fragments)[chosen]
        return F.cross_entropy(views.network.token_scores(states), fragments.labels[chosen], reduction="sum")
