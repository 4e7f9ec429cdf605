"""Cross-modal contrastive learning (UNIMO, arXiv 2012.15409) over a pair's positives X+, negatives X-, matched images X^I and texts X^T.

A pair itself is always one of its positives. Joint: X+ and X- are encoded as image-text sequences, matches alone, and scored with the
pair's joint h[CLS] or h[IMG]. Separate: every image and every text is encoded alone, and the other pairs of the batch, over all
processes, can be negatives too: in one denominator, its image with their captions and its caption with their images.

With `chunk`, only the activations of one chunk are in memory: joint scores of a pair depend on that pair alone, so its loss is
backpropagated at once; separate encodings use a gradient cache (Gao et al., arXiv 2101.06983): encode without gradient, differentiate the
loss with respect to the encodings, encode again with the same random state, and backpropagate these gradients.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from model.batch import Batch, DataFacts, Group, Known, Stream
from model.heads import ContrastHead, Network
from model.objectives.base import Objective, ObjectiveSettings, Views
from model.objectives.contrast import Scores, contrastive_loss, false_negatives, holds
from model.parallel import gather
from model.random_state import random_state, restore
from schemas.errors import ConfigError


class CmclSettings(ObjectiveSettings):
    """Cross-modal contrastive learning."""

    encoding: Literal["joint", "separate"] = Field("joint", description="how rewrites are encoded: with the image (UNIMO), or alone")
    in_batch: bool | Literal["companions"] = Field(
        False,
        description="other pairs of the batch are negatives too; companions: with their rewrites and matches (separate encoding only)",
    )
    temperature: float | Literal["learned"] = Field("learned", description="fixed in (0, inf), or learned from 0.07 within [0.001, 0.5]")
    loss: Literal["softmax", "sigmoid"] = Field("softmax", description="softmax over all scores of a pair, or sigmoid of each (SigLIP)")
    positives: Literal["inside", "outside"] = Field(
        "inside", description="softmax: sum over positives inside the logarithm (UNIMO's equation), or outside"
    )
    masked: bool = Field(False, description="encode masked images and texts")
    chunk: int | None = Field(
        None, ge=1, description="pairs (joint) or images and texts (separate) that are encoded at a time; null: all at once"
    )

    @model_validator(mode="after")
    def _fits(self) -> CmclSettings:
        if self.in_batch and self.encoding == "joint":
            own = "true" if self.in_batch is True else self.in_batch
            raise ValueError(f"in_batch: {own} requires encoding: separate; joint encoding would pair every image with every text")
        if self.temperature != "learned" and not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be positive or 'learned', not {self.temperature}")
        if self.loss == "sigmoid" and "positives" in self.model_fields_set:
            raise ValueError(f"positives: {self.positives} applies only to loss: softmax")
        return self


class Cmcl(Objective):
    """The loss, averaged over the pairs that have negatives."""

    name: ClassVar[str] = "cmcl"
    streams: ClassVar[tuple[Stream, ...]] = ("pairs",)
    settings_type: ClassVar[type[ObjectiveSettings]] = CmclSettings

    def check(self, facts: DataFacts) -> None:
        """Raises ConfigError when there are no negatives."""
        super().check(facts)
        if not self.settings.in_batch and not facts.drawn.get("negatives"):
            raise ConfigError("objectives.cmcl: requires hard negatives, of which none are drawn, or in_batch: true")

    def count(self, batch: Batch) -> Tensor:
        """Pairs with a negative, their own or, with `in_batch`, another pair."""
        owners = _groups(batch)[1].owners
        contrasted = torch.zeros(len(batch), dtype=torch.bool, device=owners.device).index_fill(0, owners, True)
        if self.settings.in_batch:
            contrasted |= (~false_negatives(batch)).any(2).any(0)
        return contrasted.sum()

    def loss(self, views: Views) -> Tensor:
        """The sum over the pairs."""
        network, batch = views.network, views.batch
        if self.settings.encoding == "joint":
            return self._total(network, joint_scores(network, batch, self.settings.masked), len(batch))
        assert batch.images is not None and batch.texts is not None
        images, texts = (
            _project(network, batch, self.settings.masked, kind, torch.arange(size, device=batch.texts.ids.device))
            for kind, size in (("images", len(batch.images)), ("texts", len(batch.texts)))
        )
        return self._separate_total(network, batch, images, texts)

    def backward(self, views: Views, scale: Tensor) -> Tensor | None:
        """Backpropagates chunk by chunk if `chunk` is set."""
        if self.settings.chunk is None:
            return None
        return (self._backward_joint if self.settings.encoding == "joint" else self._backward_separate)(views.network, views.batch, scale)

    def _backward_joint(self, network: Network, batch: Batch, scale: Tensor) -> Tensor:
        total = scale.new_zeros(())
        for start in range(0, len(batch), self.settings.chunk):
            part = pairs_of(batch, start, min(start + self.settings.chunk, len(batch)))
            loss = self._total(network, joint_scores(network, part, self.settings.masked), len(part))
            (loss * scale).backward()
            total = total + loss.detach()
        return total

    def _backward_separate(self, network: Network, batch: Batch, scale: Tensor) -> Tensor:
        assert batch.images is not None and batch.texts is not None
        device = batch.texts.ids.device
        pieces = [
            (kind, rows)
            for kind, size in (("images", len(batch.images)), ("texts", len(batch.texts)))
            for rows in torch.arange(size, device=device).split(self.settings.chunk)
        ]
        states, leaves = [], []
        for kind, rows in pieces:
            states.append(random_state(device))
            with torch.no_grad():
                leaves.append(_project(network, batch, self.settings.masked, kind, rows))
            leaves[-1].requires_grad_()
        images, texts = (
            torch.cat([leaf for leaf, (kind, _) in zip(leaves, pieces, strict=True) if kind == wanted]) for wanted in ("images", "texts")
        )
        loss = self._separate_total(network, batch, images, texts)
        (loss * scale).backward()
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            for (kind, rows), state, leaf in zip(pieces, states, leaves, strict=True):
                restore(state, device)
                if leaf.grad is not None:
                    _project(network, batch, self.settings.masked, kind, rows).backward(leaf.grad)
        return loss.detach()

    def _separate_total(self, network: Network, batch: Batch, images: Tensor, texts: Tensor) -> Tensor:
        scores = [separate_scores(network.contrast, batch, images, texts)]
        if self.settings.in_batch:
            scores.append(in_batch_scores(network.contrast, batch, images, texts, self.settings.in_batch == "companions"))
        return self._total(network, Scores.joined(scores), len(batch))

    def _total(self, network: Network, scores: Scores, pairs: int) -> Tensor:
        head, fixed = network.contrast, self.settings.temperature
        temperature = head.temperature if fixed == "learned" else torch.tensor(fixed, device=head.bias.device)
        return contrastive_loss(scores, pairs, temperature, head.bias, self.settings.loss, self.settings.positives).sum()


def joint_scores(network: Network, batch: Batch, masked: bool = False) -> Scores:
    """Scores of P pairs and all their companions, rewrites encoded with the image."""
    body, head = network.body, network.contrast
    assert batch.texts is not None
    embedded, pairs = body.embed(batch, masked, masked), torch.arange(len(batch), device=batch.texts.ids.device)
    groups = _groups(batch)
    owners = torch.cat([pairs, *(group.owners for group in groups[:2])])
    joint = body.encode(embedded, owners, torch.cat([pairs, *(group.rows for group in groups[:2])]))
    assert joint.img is not None and joint.cls is not None
    images, texts = head.of_images(joint.img), head.of_texts(joint.cls)
    parts = _labelled(head.pairs(images, texts), len(batch), groups[0], groups[1])
    for group, is_image in ((groups[2], True), (groups[3], False)):
        if len(group):
            alone = body.encode(embedded, group.rows if is_image else None, None if is_image else group.rows)
            values = (
                head.pairs(head.of_images(alone.img), texts[group.owners])
                if alone.img is not None
                else head.pairs(images[group.owners], head.of_texts(alone.cls))
            )
            parts.append(Scores(values, group.owners, torch.ones_like(group.owners, dtype=torch.bool), group.weights))
    return Scores.joined(parts)


def separate_scores(head: ContrastHead, batch: Batch, images: Tensor, texts: Tensor) -> Scores:
    """The same scores from the projections of every image [I, H] and every text [T, H] of the batch, each encoded alone."""
    positives, negatives, matched_images, matched_texts = _groups(batch)
    pairs = torch.arange(len(batch), device=images.device)
    owners = torch.cat([pairs, positives.owners, negatives.owners])
    rows = torch.cat([pairs, positives.rows, negatives.rows])
    parts = _labelled(head.pairs(images[owners], texts[rows]), len(batch), positives, negatives)
    for group, values in (
        (matched_images, head.pairs(images[matched_images.rows], texts[matched_images.owners])),
        (matched_texts, head.pairs(images[matched_texts.owners], texts[matched_texts.rows])),
    ):
        parts.append(Scores(values, group.owners, torch.ones_like(group.owners, dtype=torch.bool), group.weights))
    return Scores.joined(parts)


def in_batch_scores(head: ContrastHead, batch: Batch, images: Tensor, texts: Tensor, companions: bool = False) -> Scores:
    """Scores of own images with other pairs' texts and of own captions with other pairs' images, over all processes, as negatives.

    companions: not only with their captions and images, but also with their rewrites and matches. False negatives are left out.
    """
    assert batch.images is not None and batch.texts is not None
    pairs, apart = torch.arange(len(batch), device=images.device), list(~false_negatives(batch))
    rows = [pairs, pairs]
    if companions:
        positives, negatives, matched_images, matched_texts = _groups(batch)
        start = gather(pairs)[1]
        for side, keys, known, groups in (
            (0, batch.texts.keys, batch.known_texts, (positives, negatives, matched_texts)),
            (1, batch.images.keys, batch.known_images, (matched_images,)),
        ):
            rows[side] = torch.cat([pairs, *(group.rows for group in groups)])
            owners = gather(torch.cat([pairs, *(group.owners for group in groups)]) + start)[0]
            every, (true, other) = gather(keys[rows[side]])[0], (~apart[side]).nonzero().unbind(1)
            copies = Known(gather(keys[: len(batch)])[0][other], true)  # of what may be true of a pair, its own image or caption included
            apart[side] = apart[side][:, owners]
            for held in (copies, known):
                if held is not None:
                    apart[side] = apart[side] & ~holds(held, every, len(batch))
    values = [
        head.matrix(images[: len(batch)], gather(texts[rows[0]])[0]),
        head.matrix(gather(images[rows[1]])[0], texts[: len(batch)]).T,
    ]
    owners = torch.cat([pairs[:, None].expand_as(held)[held] for held in apart])
    scores = torch.cat([one[held] for one, held in zip(values, apart, strict=True)])
    return Scores(scores, owners, torch.zeros_like(owners, dtype=torch.bool), scores.new_ones(len(owners)))


def pairs_of(batch: Batch, start: int, end: int) -> Batch:
    """Pairs `start` to `end` with all their companions, as a separate batch."""
    assert batch.images is not None and batch.texts is not None
    own = torch.arange(start, end, device=batch.texts.ids.device)
    kept = [_within(group, start, end) for group in _groups(batch)]

    def laid(rows: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """All rows concatenated, and the new positions of each list's rows."""
        flat = torch.cat(rows)
        return flat, list(torch.arange(len(flat), device=flat.device).split([len(part) for part in rows]))

    image_rows, images = laid([own, kept[2].rows])
    text_rows, texts = laid([own, kept[0].rows, kept[1].rows, kept[3].rows])
    positives, negatives, matched_texts = (
        replace(group, rows=rows) for group, rows in zip([kept[0], kept[1], kept[3]], texts[1:], strict=True)
    )
    return Batch(
        "pairs",
        batch.names[start:end],
        batch.images.take(image_rows),
        batch.texts.take(text_rows),
        positives,
        negatives,
        replace(kept[2], rows=images[1]),
        matched_texts,
        _known_within(batch.known_texts, start, end),
        _known_within(batch.known_images, start, end),
        seed=batch.seed,
    )


def _known_within(known: Known | None, start: int, end: int) -> Known | None:
    """The known keys of pairs `start` to `end`, renumbered from 0."""
    if known is None:
        return None
    inside = (known.owners >= start) & (known.owners < end)
    return Known(known.keys[inside], known.owners[inside] - start)


def _within(group: Group, start: int, end: int) -> Group:
    """The companions of pairs `start` to `end`, renumbered from 0."""
    inside = (group.owners >= start) & (group.owners < end)
    return Group(group.rows[inside], group.owners[inside] - start, group.weights[inside], group.kinds[inside])


def _groups(batch: Batch) -> list[Group]:
    """Positives, negatives, matched images, matched texts; empty where the batch has none. Negatives known to be true are left out."""
    assert batch.texts is not None
    none = batch.texts.lengths[:0]
    empty = Group(none, none, none.float(), none)
    groups = [empty if group is None else group for group in (batch.positives, batch.negatives, batch.matched_images, batch.matched_texts)]
    negatives, keys = groups[1], batch.texts.keys
    if len(negatives):
        true = keys[negatives.rows] == keys[negatives.owners]
        if batch.known_texts is not None:
            columns = torch.arange(len(negatives), device=keys.device)
            true |= holds(batch.known_texts, keys[negatives.rows], len(batch))[negatives.owners, columns]
        groups[1] = Group(negatives.rows[~true], negatives.owners[~true], negatives.weights[~true], negatives.kinds[~true])
    return groups


def _project(network: Network, batch: Batch, masked: bool, kind: str, rows: Tensor) -> Tensor:
    """Projections of some images or texts of the batch, each encoded alone, [n, H]."""
    assert batch.images is not None and batch.texts is not None
    all_of_them = torch.arange(len(rows), device=rows.device)
    if kind == "images":
        part = Batch("images", (), images=batch.images.take(rows))
        img = network.body.encode(network.body.embed(part, masked, masked), all_of_them, None).img
        assert img is not None
        return network.contrast.of_images(img)
    part = Batch("texts", (), texts=batch.texts.take(rows))
    cls = network.body.encode(network.body.embed(part, masked, masked), None, all_of_them).cls
    assert cls is not None
    return network.contrast.of_texts(cls)


def _labelled(values: Tensor, pairs: int, positives: Group, negatives: Group) -> list[Scores]:
    """Splits `values`, which are concatenated, into scores of the pairs, of their positives and of their negatives."""
    device, sizes = values.device, [pairs, len(positives), len(negatives)]
    owners = [torch.arange(pairs, device=device), positives.owners, negatives.owners]
    weights = [values.new_ones(pairs), positives.weights, negatives.weights]
    return [
        Scores(value, owner, torch.full_like(owner, number < 2, dtype=torch.bool), weight.to(values.dtype))
        for number, (value, owner, weight) in enumerate(zip(values.split(sizes), owners, weights, strict=True))
    ]
