"""NLVR2 (Suhr et al. 2019): whether a statement is true of two photos. Metric: accuracy.

UNITER's three forms. triplet: one sequence of both images and the statement; an embedding, added to the images' own, tells them apart.
pair: the statement with each image, both [CLS] to the classifier. pair_biattn: the two sequences then attend to each other, and each is
pooled by attention.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from model.batch import Stream
from model.heads import Network, wide
from model.objectives.base import ObjectiveSettings, Views
from model.tasks.base import Classification, Row, TaskSettings, class_rows, pooled
from model.tasks.published import read_json, read_json_lines, text_of
from model.transformer import SIZES, Embedded, States
from schemas import files

Form = Literal["triplet", "pair", "pair_biattn"]
_KEYS = ("identifier", "sentence", "label")


class Nlvr2Settings(TaskSettings):
    """NLVR2."""

    images: str | None = Field(None, description="JSON file in the folder: by the set's name of an image, the corpus's, where they differ")
    form: Form = Field("pair_biattn", description="how the two images meet: triplet, pair or pair_biattn (UNITER's best)")


class Nlvr2(Classification):
    """JSON lines with `identifier`, `sentence`, `label`; the images are the identifier with `img0` and `img1` instead of its last part."""

    name: ClassVar[str] = "nlvr2"
    streams: ClassVar[tuple[Stream, ...]] = ("pairs",)
    settings_type: ClassVar[type[ObjectiveSettings]] = Nlvr2Settings
    files: ClassVar[dict[str, tuple[str, ...]]] = {split: (f"{split}.json",) for split in ("train", "dev", "test1")}
    evaluated: ClassVar[tuple[str, ...]] = ("dev", "test1")
    classes: ClassVar[tuple[str, ...]] = ("False", "True")

    def read(self, split: str) -> Iterator[Row | str]:
        """The rows of a split."""
        shown = read_json(files.join(self.settings.folder, self.settings.images), ()) if self.settings.images else {}
        return class_rows(
            (one if isinstance(one, str) else self._row(*one, shown) for one in read_json_lines(self.urls(split)[0], _KEYS)), self.classes
        )

    def _row(self, number: int, held: dict[str, object], names: dict[str, str]) -> tuple[str, tuple[str, ...], str, tuple[str, ...]]:
        identifier, label = str(held["identifier"]), str(held["label"])
        shown = identifier.rpartition("-")[0]
        return (
            identifier,
            (text_of(held, "sentence"),),
            label,
            tuple(str(names.get(name, name)) for name in (f"{shown}-img0", f"{shown}-img1")),
        )

    def head(self, network: Network, labels: Sequence[str]) -> nn.Module:
        """The form's layers."""
        return _Head(network, self.settings.form, len(labels))

    def scores(self, views: Views) -> Tensor:
        """Scores of both classes, [P, 2]."""
        network, batch, count = views.network, views.batch, len(views.batch)
        head, rows = network.task, torch.arange(2 * len(batch), device=network.contrast.bias.device)
        assert isinstance(head, _Head)
        embedded = network.body.embed(batch, mask_images=True)
        if head.form == "triplet":
            cls = network.body.encode(_joined(embedded, head.sides, count), rows[:count], rows[:count]).cls
            assert cls is not None
            return wide(head.out(pooled(network, cls)))
        states = network.body.encode(embedded, rows, rows % count)
        if head.form == "pair":
            assert states.cls is not None
            both = pooled(network, states.cls)
        else:
            both = head.met(*_sequence(states))
        return wide(head.out(torch.cat([both[:count], both[count:]], 1)))


class _Head(nn.Module):
    """sides: of triplet; attention, merge, weigh: of pair_biattn."""

    def __init__(self, network: Network, form: Form, classes: int):
        super().__init__()
        width, dropout = network.body.width, network.settings.dropout
        self.form = form
        self.sides = nn.Embedding(2, width) if form == "triplet" else None
        self.out = nn.Linear(width if form == "triplet" else 2 * width, classes)
        if form == "pair_biattn":
            heads = SIZES[network.settings.size][2]
            self.attention = nn.ModuleList(nn.MultiheadAttention(width, heads, dropout, batch_first=True) for _ in range(2))
            self.merge = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Dropout(dropout))
            self.weigh = nn.Sequential(nn.Linear(width, 1), nn.ReLU())

    def met(self, states: Tensor, padding: Tensor) -> Tensor:
        """Sequences [2P, N, H], those with the first images first, and bool [2P, N], True on padding, to [2P, H]."""
        sides, hidden = states.chunk(2), padding.chunk(2)
        seen = [
            attention(sides[own], sides[1 - own], sides[1 - own], key_padding_mask=hidden[1 - own], need_weights=False)[0]
            for own, attention in enumerate(self.attention)
        ]
        merged = self.merge(torch.cat([torch.cat(seen), states], -1))
        weights = self.weigh(merged)[..., 0].masked_fill(padding, -torch.inf).softmax(-1)
        return (weights[:, None] @ merged)[:, 0]


def _joined(embedded: Embedded, sides: nn.Embedding | None, count: int) -> Embedded:
    """Both images of each row as one."""
    images, valid = embedded.images, embedded.images_valid
    assert images is not None and sides is not None
    told = images + sides.weight.repeat_interleave(count, 0)[:, None]
    whole = None if valid is None else torch.cat([valid[:count], valid[count:]], 1)
    return Embedded(torch.cat([told[:count], told[count:]], 1), whole, embedded.texts, embedded.texts_valid)


def _sequence(states: States) -> tuple[Tensor, Tensor]:
    """All states of sequences, [S, N, H], and where they are padding, bool [S, N]."""
    img, regions, tokens = states.img, states.regions, states.tokens
    assert img is not None and regions is not None and tokens is not None
    whole = torch.cat([img[:, None], regions, tokens], 1)
    if states.regions_valid is None or states.tokens_valid is None:
        return whole, whole.new_zeros(whole.shape[:2], dtype=torch.bool)
    first = states.regions_valid.new_ones(len(whole), 1)
    return whole, ~torch.cat([first, states.regions_valid, states.tokens_valid], 1)
