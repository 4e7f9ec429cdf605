"""Masked region modelling: features (MRFR), the detector's top class (MRC), or its soft labels (MRC-kl) of hidden regions."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from model.batch import Batch, DataFacts, Stream
from model.heads import wide
from model.objectives.base import Objective, ObjectiveSettings, Views
from schemas.errors import ConfigError


class MrmSettings(ObjectiveSettings):
    """Masked region modelling."""

    joint: bool = Field(False, description="mask tokens at the same time; false: leave the caption intact (conditional masking)")
    reduction: Literal["paper", "uniter"] = Field(
        "paper", description="paper: a region's loss is a sum over its features or classes; uniter: their mean, as in UNITER's code"
    )


class Mrm(Objective):
    """A loss over hidden regions, averaged over them."""

    streams: ClassVar[tuple[Stream, ...]] = ("pairs", "images")
    settings_type: ClassVar[type[ObjectiveSettings]] = MrmSettings

    def count(self, batch: Batch) -> Tensor:
        """The number of hidden regions."""
        return _hidden(batch).sum()

    def loss(self, views: Views) -> Tensor:
        """The sum over the hidden regions."""
        states = views.own(mask_images=True, mask_texts=self.settings.joint).regions
        assert states is not None
        return self.of(views, states[_hidden(views.batch)])

    def of(self, views: Views, states: Tensor) -> Tensor:
        """The loss of M hidden regions' states [M, H]."""
        raise NotImplementedError


class Mrfr(Mrm):
    """Squared L2 distance between the predicted and the true feature."""

    name: ClassVar[str] = "mrfr"

    def of(self, views: Views, states: Tensor) -> Tensor:
        """Sum of |h - r|^2, or its mean over the feature's width."""
        images, batch = views.batch.images, views.batch
        assert images is not None
        predicted = wide(views.network.region_features(states))
        distance = ((predicted - images.features[: len(batch)][_hidden(batch)].to(predicted.dtype)) ** 2).sum()
        return distance / predicted.shape[-1] if self.settings.reduction == "uniter" else distance


class _Labelled(Mrm):
    def check(self, facts: DataFacts) -> None:
        super().check(facts)
        if not facts.classes:
            raise ConfigError(f"objectives.{self.name}: requires soft labels of all regions, which the corpus does not have (classes: 0)")

    def _labels(self, views: Views) -> Tensor:
        """Soft labels of the hidden regions, float32 [M, C]."""
        images = views.batch.images
        assert images is not None and images.soft_labels is not None
        return images.soft_labels.float()

    def _scores(self, views: Views, states: Tensor) -> Tensor:
        assert views.network.classes is not None
        return wide(views.network.classes(states))


class Mrc(_Labelled):
    """Cross-entropy with the detector's top class, excluding the background."""

    name: ClassVar[str] = "mrc"

    def of(self, views: Views, states: Tensor) -> Tensor:
        """The sum of cross-entropies, the same for both reductions."""
        top = self._labels(views)[:, 1:].argmax(-1) + 1
        return F.cross_entropy(self._scores(views, states), top, reduction="sum")


class MrcKl(_Labelled):
    """KL divergence of the predicted classes from the detector's soft labels, including the background."""

    name: ClassVar[str] = "mrc_kl"

    def of(self, views: Views, states: Tensor) -> Tensor:
        """Sum of sum_c p_c (log p_c - log q_c), or of its mean over the classes."""
        scores, labels = self._scores(views, states), self._labels(views)
        total = F.kl_div(F.log_softmax(scores, -1), labels.to(scores.dtype), reduction="sum")
        return total / labels.shape[-1] if self.settings.reduction == "uniter" else total


def _hidden(batch: Batch) -> Tensor:
    """Hidden regions of the stream's own images, bool [P, R]."""
    assert batch.images is not None and batch.images.hidden is not None
    return batch.images.hidden[: len(batch)]
