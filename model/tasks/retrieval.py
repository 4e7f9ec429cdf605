"""Fine-tuning for image-text retrieval, on batches of pairs: UNITER's triplet loss on the hardest negatives, or UNIMO's circle loss.

Each anchor is used twice, as an image among captions and as a caption among images; both losses are means over the two (UNITER's code adds
them up). Scores s in [0, 1] are those of joint sequences: sigma of the head's logit, or the cosine if `model.contrast` is dot. Triplet: the
hardest of the other pairs of the batch, found without gradient; max(0, m + s_n - s_p) with m 0.2; UNITER takes 31 of 399. Circle (Sun et
al., arXiv 2002.10857): log(1 + sum exp(g a_n (s_n - m)) exp(-g a_p (s_p - 1 + m))) over the own score and those of 10 random others.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from model.batch import Batch, DataFacts, Stream
from model.heads import Network
from model.objectives.base import Objective, ObjectiveSettings, Views
from model.objectives.contrast import false_negatives
from schemas.errors import ConfigError

_ONLY = {"triplet": ("pool", "hardest", "anchors"), "circle": ("random", "scale")}  # settings of one loss
_AT_ONCE = 128  # sequences scored at a time without gradient


class RetrievalSettings(ObjectiveSettings):
    """Settings of fine-tuning for retrieval."""

    loss: Literal["triplet", "circle"] = Field("triplet", description="UNITER's triplet loss on hardest negatives, or UNIMO's circle loss")
    score: Literal["match", "contrast"] = Field("match", description="the head: UNITER's on [CLS], or UNIMO's on [CLS] and [IMG]")
    margin: float = Field(0.2, gt=0, description="margin of either loss")
    scale: float = Field(1.0, gt=0, description="circle: the factor g")
    pool: int = Field(399, ge=1, description="triplet: number of other pairs among which the hardest are chosen; at most all of the batch")
    hardest: int = Field(31, ge=1, description="triplet: number of hardest ones in the loss")
    anchors: int = Field(1, ge=1, description="triplet: number of pairs per batch that are anchors, as an image and as a caption")
    random: int = Field(10, ge=1, description="circle: number of other images, and of other captions, per pair; at most all of the batch")

    @model_validator(mode="after")
    def _fits(self) -> RetrievalSettings:
        for key in _ONLY["circle" if self.loss == "triplet" else "triplet"]:
            if key in self.model_fields_set:
                raise ValueError(f"{key}: does not apply to loss: {self.loss}")
        if self.hardest > self.pool:
            raise ValueError(f"hardest: {self.hardest} cannot be chosen from pool: {self.pool}")
        return self


class Retrieval(Objective):
    """The loss, averaged over the anchors of the batch (circle: all pairs), as images and as captions."""

    name: ClassVar[str] = "retrieval"
    streams: ClassVar[tuple[Stream, ...]] = ("pairs",)
    settings_type: ClassVar[type[ObjectiveSettings]] = RetrievalSettings

    def check(self, facts: DataFacts) -> None:
        """Raises ConfigError when there are fewer than two pairs, or fewer others in a batch than `pool` or `random`, if set."""
        super().check(facts)
        if facts.rows.get("pairs", 0) < 2:
            raise ConfigError("task: retrieval requires at least 2 pairs")
        others = facts.batch - 1
        for key in ("pool", "random"):
            if key in self.settings.model_fields_set and (asked := getattr(self.settings, key)) > others:
                raise ConfigError(
                    f"retrieval.{key}: {asked}, but a batch has {others} other pairs per process: raise data.batch.pairs, or lower {key}"
                )

    def count(self, batch: Batch) -> Tensor:
        """The number of anchors, as images and as captions, that have negatives."""
        return self._others(batch)[2].any(1).sum()

    def loss(self, views: Views) -> Tensor:
        """The sum over the items that `count` counts."""
        network, batch = views.network, views.batch
        images, texts, wrong = self._others(batch)
        own, triplet = self._order(batch)[: self._anchors(batch)].repeat(2), self.settings.loss == "triplet"
        if triplet:
            images, texts, wrong = self._hardest(network, batch, images, texts, wrong)
        rows = [torch.cat([own[:, None], part], 1).flatten() for part in (images, texts)]
        scores = self._scores(network, batch, *rows).view(len(own), -1)
        right, others, contrasted = scores[:, :1], scores[:, 1:], wrong.any(1)
        if triplet:
            terms = torch.relu(self.settings.margin + others - right) * wrong
            return (terms.sum(1) / wrong.sum(1).clamp(min=1))[contrasted].sum()
        return circle_loss(right[contrasted, 0], others[contrasted], wrong[contrasted], self.settings.margin, self.settings.scale).sum()

    def _anchors(self, batch: Batch) -> int:
        return min(self.settings.anchors, len(batch)) if self.settings.loss == "triplet" else len(batch)

    def _order(self, batch: Batch) -> Tensor:
        """The batch's pairs, which are sorted by length, in a random order, int64 [P]."""
        return torch.from_numpy(np.random.default_rng(batch.seed).permutation(len(batch))).to(batch.device)

    def _others(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The candidates of each of A anchors, first as images, then as captions: images and texts, int64 [2 A, K], and which of them are
        certain negatives, bool [2 A, K].
        """
        rows, anchors = self._order(batch), self._anchors(batch)
        most = self.settings.pool if self.settings.loss == "triplet" else self.settings.random
        step = torch.arange(1, min(len(batch), most + 1), device=rows.device)
        own, others = rows[:anchors, None], rows[(torch.arange(anchors, device=rows.device)[:, None] + step) % len(batch)]
        true = false_negatives(batch, everywhere=False)
        wrong = [~true[side][own, others] for side in (0, 1)]
        own = own.expand_as(others)
        return torch.cat([own, others]), torch.cat([others, own]), torch.cat(wrong)

    @torch.no_grad()
    def _hardest(self, network: Network, batch: Batch, images: Tensor, texts: Tensor, wrong: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each anchor's candidates with the highest scores, computed without dropout."""
        training = network.training
        network.eval()
        pieces = zip(images.flatten().split(_AT_ONCE), texts.flatten().split(_AT_ONCE), strict=True)
        scores = torch.cat([self._scores(network, batch, image, text) for image, text in pieces])
        network.train(training)
        best = scores.view_as(images).masked_fill(~wrong, -torch.inf).topk(min(self.settings.hardest, images.shape[1]), 1).indices
        return images.gather(1, best), texts.gather(1, best), wrong.gather(1, best)

    def _scores(self, network: Network, batch: Batch, images: Tensor, texts: Tensor) -> Tensor:
        """Scores of joint sequences, [n] in [0, 1]; only their images and texts are embedded."""
        assert batch.images is not None and batch.texts is not None
        (image_rows, image_at), (text_rows, text_at) = (rows.unique(return_inverse=True) for rows in (images, texts))
        part = Batch("pairs", (), batch.images.take(image_rows), batch.texts.take(text_rows))
        states = network.body.encode(network.body.embed(part), image_at, text_at)
        scores = network.score(states, self.settings.score)
        return scores if self.settings.score == "contrast" and network.settings.contrast == "dot" else torch.sigmoid(scores)


def circle_loss(right: Tensor, others: Tensor, wrong: Tensor, margin: float, scale: float) -> Tensor:
    """The loss of each anchor, [A]; right: [A], others: [A, K], similarities in [0, 1]; wrong: bool [A, K], which of the others are
    negatives, at least one per anchor.
    """
    pull, push = torch.relu(1 + margin - right.detach()), torch.relu(others.detach() + margin)
    positive = -scale * pull * (right - (1 - margin))
    negative = (scale * push * (others - margin)).masked_fill(~wrong, -torch.inf)
    return torch.nn.functional.softplus(positive + negative.logsumexp(1))
