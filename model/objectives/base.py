"""The base class of objectives, and the forward passes that the objectives of a batch share."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from model.batch import Batch, DataFacts, Stream
from model.heads import Network
from model.transformer import Embedded, States
from schemas.errors import ConfigError
from schemas.settings import Settings


class ObjectiveSettings(Settings):
    """Settings common to all objectives."""

    weight: float = Field(1.0, gt=0, description="weight of the loss in the sum; with `mixing: one`, its weight in the draw")


class Views:
    """The forward passes of one batch, each computed once, however many objectives use it."""

    def __init__(self, network: Network, batch: Batch):
        self.network, self.batch = network, batch
        self._made: dict[Any, Any] = {}

    def own(self, mask_images: bool = False, mask_texts: bool = False) -> States:
        """States of the stream's own rows: P pairs encoded jointly, or images or texts alone; `mask_...`: masked."""
        key = (mask_images, mask_texts)
        if key not in self._made:
            batch, rows = self.batch, torch.arange(len(self.batch), device=self.network.contrast.bias.device)
            body, images, texts = self.network.body, batch.images, batch.texts
            own = Batch(batch.stream, batch.names, images and images.take(rows), texts and texts.take(rows, *batch.own))
            self._made[key] = body.encode(body.embed(own, *key), rows if images else None, rows if texts else None)
        return self._made[key]

    def mismatched(self) -> States:
        """States of the sequences of image-text matching, unmasked."""
        if "mismatched" not in self._made:
            draw = self.batch.mismatch
            assert draw is not None
            embedded: Embedded = self.network.body.embed(self.batch)
            self._made["mismatched"] = self.network.body.encode(embedded, draw.images, draw.texts)
        return self._made["mismatched"]


class Objective:
    """A loss: a sum over `count` items of a batch. Losses are averaged over all processes and accumulated batches together, so the sum and
    the count are kept apart. A batch whose count is 0 is skipped.
    """

    name: ClassVar[str]
    streams: ClassVar[tuple[Stream, ...]]
    settings_type: ClassVar[type[ObjectiveSettings]] = ObjectiveSettings

    def __init__(self, settings: Any):
        self.settings = settings

    def check(self, facts: DataFacts) -> None:
        """Raises ConfigError when the data lacks what the objective needs."""
        if not any(facts.rows.get(stream) for stream in self.streams):
            raise ConfigError(f"objectives.{self.name}: requires {' or '.join(self.streams)}, but the corpus has none")

    def count(self, batch: Batch) -> Tensor:
        """The number of items of the batch that the loss is summed over, a scalar."""
        raise NotImplementedError

    def loss(self, views: Views) -> Tensor:
        """The sum over the items that `count` counts, a scalar."""
        raise NotImplementedError

    def backward(self, views: Views, scale: Tensor) -> Tensor | None:
        """Computes the gradient of `scale * loss` in chunks, if the settings say so, and returns the loss; None: use `loss`."""
        return None
