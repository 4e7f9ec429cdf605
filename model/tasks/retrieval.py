"""Fine-tuning for image-text retrieval, on batches of pairs: UNITER's triplet loss on the hardest negatives, or UNIMO's circle loss.

Every score is that of a joint sequence. Triplet: for an image among all other captions of the batch, for a caption among all other images,
the hardest are found without gradient; the loss is max(0, margin + s_neg - s_pos) with margin 0.2; UNITER takes 31 of 399. Circle (Sun et
al., arXiv 2002.10857, with s_pos = sigma(s), as in UNIMO): log(1 + sum exp(g a_n (s_n - m)) sum exp(-g a_p (s_p - 1 + m))) over a pair's
own score and those of random other images and captions, 10 each.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from model.batch import Batch, DataFacts, Stream
from model.heads import Network
from model.objectives.base import Objective, ObjectiveSettings, Views
from model.objectives.contrast import false_negatives
from schemas.errors import ConfigError

_AT_ONCE = 128  # sequences scored at a time without gradient


class RetrievalSettings(ObjectiveSettings):
    """Settings of fine-tuning for retrieval."""

    loss: Literal["triplet", "circle"] = Field("triplet", description="UNITER's triplet loss on hardest negatives, or UNIMO's circle loss")
    score: Literal["match", "contrast"] = Field("match", description="the head: UNITER's on [CLS], or UNIMO's on [CLS] and [IMG]")
    margin: float = Field(0.2, gt=0, description="margin of either loss")
    scale: float = Field(1.0, gt=0, description="circle: the factor g")
    pool: int = Field(399, ge=1, description="triplet: maximum number of other images or captions among which the hardest are chosen")
    hardest: int = Field(31, ge=1, description="triplet: number of hardest ones in the loss")
    anchors: int = Field(1, ge=1, description="triplet: number of pairs per batch that are anchors, as an image and as a caption")
    random: int = Field(10, ge=1, description="circle: maximum number of other images, and of other captions, per pair")


class Retrieval(Objective):
    """The loss, averaged over the anchors (triplet) or pairs (circle) of the batch."""

    name: ClassVar[str] = "retrieval"
    streams: ClassVar[tuple[Stream, ...]] = ("pairs",)
    settings_type: ClassVar[type[ObjectiveSettings]] = RetrievalSettings

    def check(self, facts: DataFacts) -> None:
        """Raises ConfigError when the corpus has fewer than two pairs."""
        super().check(facts)
        if facts.rows.get("pairs", 0) < 2:
            raise ConfigError("task: retrieval requires at least 2 pairs")

    def count(self, batch: Batch) -> Tensor:
        """The number of anchors (as images and as captions) or pairs that have negatives."""
        return self._others(batch)[2].any(1).sum()

    def loss(self, views: Views) -> Tensor:
        """The sum over the items that `count` counts."""
        network, batch = views.network, views.batch
        images, texts, wrong = self._others(batch)
        own = shuffled(batch)[: self._anchors(batch)].repeat(len(images) // self._anchors(batch))
        if self.settings.loss == "triplet":
            images, texts, wrong = self._hardest(network, batch, images, texts, wrong)
        rows = [torch.cat([own[:, None], part], 1).flatten() for part in (images, texts)]
        scores = torch.sigmoid(self._scores(network, batch, *rows)).view(len(own), -1)
        right, others, contrasted = scores[:, :1], scores[:, 1:], wrong.any(1)
        if self.settings.loss == "triplet":
            terms = torch.relu(self.settings.margin + others - right) * wrong
            return (terms.sum(1) / wrong.sum(1).clamp(min=1))[contrasted].sum()
        return circle_loss(right[contrasted, 0], others[contrasted], wrong[contrasted], self.settings.margin, self.settings.scale).sum()

    def _anchors(self, batch: Batch) -> int:
        return min(self.settings.anchors, len(batch)) if self.settings.loss == "triplet" else len(batch)

    def _others(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The candidates of each anchor, images and texts, int64 [A, K], and which of them are certain negatives, bool [A, K].

        Triplet: A = 2 anchors, first as images with other captions, then as captions with other images. Circle: A = P, K is both.
        """
        assert batch.texts is not None
        circle, count, anchors = self.settings.loss == "circle", len(batch), self._anchors(batch)
        rows = shuffled(batch)
        step = torch.arange(1, min(count, (self.settings.random if circle else self.settings.pool) + 1), device=rows.device)
        own, others = rows[:anchors, None], rows[(torch.arange(anchors, device=rows.device)[:, None] + step) % count]
        true = false_negatives(batch, everywhere=False)
        wrong = [~true[side][own, others] for side in (0, 1)]
        own = own.expand_as(others)
        axis = 1 if circle else 0
        return torch.cat([own, others], axis), torch.cat([others, own], axis), torch.cat(wrong, axis)

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
        """Scores of joint sequences, [n]; only their images and texts are embedded."""
        assert batch.images is not None and batch.texts is not None
        (image_rows, image_at), (text_rows, text_at) = (rows.unique(return_inverse=True) for rows in (images, texts))
        part = Batch("pairs", (), batch.images.take(image_rows), batch.texts.take(text_rows))
        states = network.body.encode(network.body.embed(part), image_at, text_at)
        assert states.img is not None and states.cls is not None
        if self.settings.score == "match":
            return network.match(states.cls)
        return network.contrast.pairs(network.contrast.of_images(states.img), network.contrast.of_texts(states.cls))


def shuffled(batch: Batch) -> Tensor:
    """The batch's pairs, which are sorted by length, in a random order that depends on nothing but which they are, int64 [P]."""
    assert batch.texts is not None
    keys = batch.texts.keys[: len(batch)].cpu().numpy()
    drawn = np.random.default_rng(np.sort(keys).view(np.uint64).tolist()).permutation(len(keys))
    return torch.from_numpy(np.argsort(keys, kind="stable")[drawn]).to(batch.texts.ids.device)


def circle_loss(right: Tensor, others: Tensor, wrong: Tensor, margin: float, scale: float) -> Tensor:
    """The loss of each anchor, [A]; right: [A], others: [A, K], similarities in [0, 1]; wrong: bool [A, K], which of the others are
    negatives, at least one per anchor.
    """
    pull, push = torch.relu(1 + margin - right.detach()), torch.relu(others.detach() + margin)
    positive = -scale * pull * (right - (1 - margin))
    negative = (scale * push * (others - margin)).masked_fill(~wrong, -torch.inf)
    return torch.nn.functional.softplus(positive + negative.logsumexp(1))
