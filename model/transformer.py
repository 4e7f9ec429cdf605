"""The Transformer: embeddings of images and texts, and one stack of layers over `[IMG] regions [CLS] tokens [SEP]`.

Layers are BERT's (normalised after each residual), so that RoBERTa, BERT and UNITER checkpoints fit (`model/pretrained.py`). Segment
embeddings do not exist: a checkpoint's rows are folded into the tables that they are always added to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from model.attention import HALF, Layout, attend, dense_layout, packed_layout, prefix_layout
from model.batch import Batch, Fragments, Images
from schemas.settings import Settings

SIZES = {"tiny": (4, 192, 3), "small": (6, 384, 6), "base": (12, 768, 12), "large": (24, 1024, 16)}  # layers, width, heads


class ModelSettings(Settings):
    """Settings of the network; widths that depend on the data are in `Shape`."""

    size: Literal["tiny", "small", "base", "large"] = Field("base", description="layers x width: 4 x 192, 6 x 384, 12 x 768, 24 x 1024")
    embedding: Literal["unimo", "uniter"] = Field(
        "unimo", description="regions: LN(FC(feature) + FC(location)), or UNITER's LN(LN(FC(feature)) + LN(FC(location)))"
    )
    region_mask: Literal["zero", "learned"] = Field("zero", description="the value that replaces the feature of a hidden region")
    positions: int = Field(512, ge=2, description="maximum number of tokens per text, with [CLS] and [SEP]")
    max_regions: int = Field(100, ge=1, description="maximum number of regions per image")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout of embeddings and of each sublayer's output")
    epsilon: float = Field(1e-5, gt=0, description="epsilon of layer normalisation: 1e-5 for RoBERTa, 1e-12 for BERT and UNITER")
    contrast: Literal["dot", "head"] = Field(
        "dot", description="score of an image and a text: normalised dot product (UNIMO-2) or UNIMO's matching head"
    )
    attention: Literal["auto", "dense", "packed"] = Field(
        "auto", description="auto: packed on CUDA in half precision if anything is padded, else dense"
    )


class Shape(Settings):
    """Widths that come from the data: vocabulary, region features, box geometry (5 or 7 numbers), soft-label classes (0: none)."""

    vocabulary: int = Field(ge=1)
    features: int = Field(ge=1)
    geometry: Literal[5, 7] = 5
    classes: int = Field(0, ge=0)


@dataclass(frozen=True)
class Embedded:
    """Embeddings of a batch's images, [I, 1 + R, H] with `[IMG]` first, and texts, [T, L, H]; None if it has none.

    valid: bool, False on padding, None where nothing is padded.
    """

    images: Tensor | None
    images_valid: Tensor | None
    texts: Tensor | None
    texts_valid: Tensor | None


@dataclass(frozen=True)
class States:
    """Last hidden states of S sequences; None if they have no image, or no text.

    img, cls: [S, H]; regions: [S, R, H]; tokens: [S, L, H], `[CLS]` first. valid: bool, False on padding, None where nothing is padded.
    """

    img: Tensor | None
    regions: Tensor | None
    regions_valid: Tensor | None
    cls: Tensor | None
    tokens: Tensor | None
    tokens_valid: Tensor | None


class ImageEmbedding(nn.Module):
    """Embeds regions with their boxes, and before them `[IMG]`, the mean of the regions that are not hidden."""

    def __init__(self, settings: ModelSettings, shape: Shape, width: int):
        super().__init__()
        self.feature, self.location = nn.Linear(shape.features, width), nn.Linear(shape.geometry, width)
        apart = settings.embedding == "uniter"
        self.feature_norm = nn.LayerNorm(width, settings.epsilon) if apart else nn.Identity()
        self.location_norm = nn.LayerNorm(width, settings.epsilon) if apart else nn.Identity()
        self.norm, self.dropout = nn.LayerNorm(width, settings.epsilon), nn.Dropout(settings.dropout)
        self.mask = nn.Parameter(torch.zeros(shape.features)) if settings.region_mask == "learned" else None

    def forward(self, images: Images, masked: bool) -> Tensor:
        """The embeddings, [I, 1 + R, H]; `masked`: replace the features of hidden regions."""
        features = images.features.to(self.feature.weight.dtype)
        shown = torch.arange(features.shape[1], device=features.device) < images.counts[:, None]
        if masked and images.hidden is not None:
            hidden = images.hidden[..., None]
            replacement = features.new_zeros(()) if self.mask is None else self.mask
            shown = shown & ~images.hidden
            mean = _mean(features, shown)
            features = torch.where(hidden, replacement, features)
        else:
            mean = _mean(features, shown)
        whole = torch.ones(images.boxes.shape[-1], device=features.device, dtype=features.dtype)
        whole[:2] = 0  # the location of [IMG]: 0, 0, 1, 1, then width, height and area of 1
        boxes = torch.cat([whole.expand(len(images), 1, -1), images.boxes.to(features.dtype)], 1)
        features = torch.cat([mean[:, None], features], 1)
        return self.dropout(self.norm(self.feature_norm(self.feature(features)) + self.location_norm(self.location(boxes))))


def _mean(features: Tensor, shown: Tensor) -> Tensor:
    """Mean feature of the shown regions, [I, D]; zeros where none is shown."""
    kept = shown[..., None].to(features.dtype)
    return (features * kept).sum(1) / kept.sum(1).clamp(min=1)


class TextEmbedding(nn.Module):
    """Embeds words and their positions, counted from 0."""

    def __init__(self, settings: ModelSettings, shape: Shape, width: int):
        super().__init__()
        self.word, self.position = nn.Embedding(shape.vocabulary, width), nn.Embedding(settings.positions, width)
        self.norm, self.dropout = nn.LayerNorm(width, settings.epsilon), nn.Dropout(settings.dropout)

    def forward(self, ids: Tensor, positions: Tensor | None = None, more: Tensor | float = 0.0) -> Tensor:
        """Maps int64 [T, L] to [T, L, H]; positions: int64 [T, L], if not 0 to L - 1; more: added before normalisation, [T, L, H]."""
        placed = self.position.weight[: ids.shape[1]] if positions is None else self.position(positions)
        return self.dropout(self.norm(self.word(ids) + placed + more))


Cache = list[Tensor]  # empty, or the keys and the values of a layer, [S, N, heads, d] each


class Layer(nn.Module):
    """Attention, then a feed-forward network four times as wide, each with a residual connection and normalisation."""

    def __init__(self, width: int, heads: int, dropout: float, epsilon: float):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.attention_norm, self.norm = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, layout: Layout, cache: Cache | None = None) -> Tensor:
        """Maps [..., H] to the same shape; cache: keys and values of what precedes, which are seen too, and to which these are added."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        if cache is not None:
            cache[:] = [torch.cat([*old, new], 1) for old, new in zip([cache[:1], cache[1:]], (key, value), strict=True)]
            key, value = cache
        x = self.attention_norm(x + self.dropout(self.out(attend(query, key, value, layout).flatten(-2))))
        return self.norm(x + self.dropout(self.down(F.gelu(self.up(x)))))


class Transformer(nn.Module):
    """Embeds a batch once, then encodes any combinations of its images and texts."""

    def __init__(self, settings: ModelSettings, shape: Shape):
        super().__init__()
        layers, self.width, heads = SIZES[settings.size]
        self.settings, self.shape = settings, shape
        self.image, self.text = ImageEmbedding(settings, shape, self.width), TextEmbedding(settings, shape, self.width)
        self.layers = nn.ModuleList(Layer(self.width, heads, settings.dropout, settings.epsilon) for _ in range(layers))

    def embed(self, batch: Batch, mask_images: bool = False, mask_texts: bool = False) -> Embedded:
        """Embeds every image and text of a batch; `mask_...`: masked."""
        images, texts = batch.images, batch.texts
        ids = None if texts is None else texts.masked if mask_texts and texts.masked is not None else texts.ids
        return Embedded(
            None if images is None else self.image(images, mask_images),
            None if images is None or images.full else _within(images.counts + 1, images.boxes.shape[1] + 1),
            None if ids is None else self.text(ids),
            None if texts is None or texts.full else _within(texts.lengths, texts.ids.shape[1]),
        )

    def encode(self, embedded: Embedded, images: Tensor | None, texts: Tensor | None) -> States:
        """Encodes S sequences: image row with text row, or either alone (the other None); rows are int64 [S]."""
        parts = [
            (whole[rows], None if valid is None else valid[rows])
            for whole, valid, rows in ((embedded.images, embedded.images_valid, images), (embedded.texts, embedded.texts_valid, texts))
            if rows is not None and whole is not None
        ]
        x, valid = torch.cat([part for part, _ in parts], 1), None
        if any(known is not None for _, known in parts):
            valid = torch.cat([part.new_ones(part.shape[:2], dtype=torch.bool) if known is None else known for part, known in parts], 1)
        x = self._run(x, valid)
        start = parts[0][0].shape[1] if images is not None else 0
        seen = valid[:, 1:start] if valid is not None else None
        image = (x[:, 0], x[:, 1:start], seen) if images is not None else (None, None, None)
        said = valid[:, start:] if valid is not None else None
        return States(*image, *((x[:, start], x[:, start:], said) if texts is not None else (None, None, None)))

    def generate(
        self, fragments: Fragments, images: Images | None = None, more: Tensor | float = 0.0, caches: list[Cache] | None = None
    ) -> Tensor:
        """Hidden states of sequence to sequence, [N, S, H]: full attention within the source, causal in the target.

        images: of the texts, part of their sources; hidden regions are masked. more: added to the words' embeddings. caches: one a layer.
        """
        size, x, before = fragments.ids.shape[1], self.text(fragments.ids, more=more), None
        if images is not None:
            x, before = torch.cat([self.image(images, True), x], 1), _within(images.counts + 1, images.boxes.shape[1] + 1)
        return self._layers(x, prefix_layout(fragments.sources, fragments.lengths, size, before), caches)[:, -size:]

    def advance(self, ids: Tensor, positions: Tensor, valid: Tensor, caches: list[Cache], more: Tensor | float = 0.0) -> Tensor:
        """Hidden states of one more token a text, [N, H]; ids, positions: int64 [N]; valid: bool, cells of the caches and the token's."""
        return self._layers(self.text(ids[:, None], positions[:, None], more), dense_layout(valid), caches)[:, 0]

    def _run(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """The layers' output for padded [S, N, H]; values at padding are meaningless."""
        half = x.is_cuda and (torch.is_autocast_enabled("cuda") or x.dtype in HALF)
        if valid is None or self.settings.attention == "dense" or (self.settings.attention == "auto" and not half):
            return self._layers(x, dense_layout(valid))
        layout, kept = packed_layout(valid)
        packed = self._layers(x.flatten(0, 1)[kept], layout)
        return packed.new_zeros(x.shape[0] * x.shape[1], x.shape[2]).index_copy(0, kept, packed).view(x.shape)

    def _layers(self, x: Tensor, layout: Layout, caches: list[Cache] | None = None) -> Tensor:
        for number, layer in enumerate(self.layers):
            x = layer(x, layout, caches[number] if caches else None)
        return x


def _within(lengths: Tensor, size: int) -> Tensor:
    """bool [n, size], True below each length."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]
