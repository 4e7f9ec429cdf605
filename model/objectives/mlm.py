"""Masked language modelling: -log p(token | the rest), on captions with their image and on texts alone."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from model.batch import IGNORED, Batch, Stream
from model.objectives.base import Objective, ObjectiveSettings, Views


class MlmSettings(ObjectiveSettings):
    """Masked language modelling."""

    joint: bool = Field(False, description="hide regions at the same time; false: leave the image intact (conditional masking)")


class Mlm(Objective):
    """Cross-entropy of the tokens that masking chose, averaged over them."""

    name: ClassVar[str] = "mlm"
    streams: ClassVar[tuple[Stream, ...]] = ("pairs", "texts")
    settings_type: ClassVar[type[ObjectiveSettings]] = MlmSettings

    def count(self, batch: Batch) -> Tensor:
        """The number of chosen tokens."""
        return (_labels(batch) != IGNORED).sum()

    def loss(self, views: Views) -> Tensor:
        """The sum over the chosen tokens."""
        labels, states = _labels(views.batch), views.own(mask_images=self.settings.joint, mask_texts=True).tokens
        assert states is not None
        labels = labels[:, : states.shape[1]]  # companions may be longer
        chosen = labels != IGNORED
        return F.cross_entropy(views.network.token_scores(states[chosen]), labels[chosen], reduction="sum")


def _labels(batch: Batch) -> Tensor:
    """Labels of the captions or texts, int64 [P, L]."""
    assert batch.texts is not None and batch.texts.labels is not None
    return batch.texts.labels[: len(batch)]
