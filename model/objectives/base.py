"""What an objective is, and the forward passes that the objectives of a batch share."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from model.batch import Batch, DataFacts, Stream
from model.heads import Network
from model.transformer import Embedded, States
from schemas.errors import ConfigError


class ObjectiveSettings(BaseModel):
    """What every objective is set by."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: float = Field(1.0, gt=0, description="of the loss in a weighted sum; with one task a batch, how often it is drawn")


class Views:
    """The forward passes of one batch, each made once, however many objectives look at it."""

    def __init__(self, network: Network, batch: Batch):
        self.network, self.batch = network, batch
        self._made: dict[Any, Any] = {}

    def own(self, mask_images: bool = False, mask_texts: bool = False) -> States:
        """What the stream brought: its P pairs jointly, or its images or texts alone; `mask_...`: as masking leaves them."""
        key = (mask_images, mask_texts)
        if key not in self._made:
            batch, rows = self.batch, torch.arange(len(self.batch), device=self.network.contrast.bias.device)
            body, images, texts = self.network.body, batch.images, batch.texts
            own = Batch(batch.stream, batch.names, images and images.take(rows), texts and texts.take(rows))
            self._made[key] = body.encode(body.embed(own, *key), rows if images else None, rows if texts else None)
        return self._made[key]

    def mismatched(self) -> States:
        """The sequences of image-text matching, nothing masked."""
        if "mismatched" not in self._made:
            draw = self.batch.mismatch
            assert draw is not None
            embedded: Embedded = self.network.body.embed(self.batch)
            self._made["mismatched"] = self.network.body.encode(embedded, draw.images, draw.texts)
        return self._made["mismatched"]


class Objective:
    """A loss: a sum over `count` things of a batch. Losses are averaged over all processes and accumulated batches at once, so the sum and
    the count are kept apart. A batch whose count is 0 is passed over.
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
        """What the batch has for this objective, a number."""
        raise NotImplementedError

    def loss(self, views: Views) -> Tensor:
        """The sum over what `count` counts, a scalar."""
        raise NotImplementedError

    def backward(self, views: Views, scale: Tensor) -> Tensor | None:
        """Adds the gradient of `scale * loss` in pieces, if the settings ask for that, and returns the loss; None: use `loss`."""
        return None
