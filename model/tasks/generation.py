"""What tasks that write a text share: sequence to sequence with label smoothing, and beam search over cached states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from model.batch import IGNORED, Batch, Fragments
from model.generation import Search, Writer, beam_search
from model.heads import Network
from model.objectives.base import ObjectiveSettings, Views
from model.tasks.base import Row, Task, TaskSettings
from schemas.tokenizer import Tokenizer


class GenerationSettings(TaskSettings):
    """What every task that writes a text is set by."""

    target_tokens: int = Field(32, ge=1, description="maximum tokens of a target; longer ones are cut, and none is written longer")
    least_tokens: int = Field(0, ge=0, description="minimum tokens of a written text")
    beams: int = Field(4, ge=1, description="hypotheses of beam search; 1: greedy")
    length_penalty: float = Field(0.6, description="exponent of ((5 + length) / 6), by which log-probabilities are divided")
    block_trigrams: bool = Field(False, description="write no three tokens in a row twice")
    smoothing: float = Field(0.1, ge=0, lt=1, description="label smoothing")


class Generation(Task):
    """Writes a text given others, and an image if there is one. A row's target is a tuple of references; each is trained on.

    mark: what is said of the tokens of a target, if a row's `marks` say something of those of its source.
    """

    settings_type: ClassVar[type[ObjectiveSettings]] = GenerationSettings
    mark: ClassVar[tuple[int, ...]] = ()

    @property
    def room(self) -> int:
        """The most tokens of a target."""
        tokens: int = self.settings.target_tokens
        return tokens

    def examples(self, row: Row) -> Iterator[Row]:
        """A row for each reference."""
        return (Row(row.name, row.texts, (one,), row.images, row.marks) for one in row.target)

    def written(self, row: Row) -> str:
        """What is to be written, in training."""
        text: str = row.target[0]
        return text

    def head(self, network: Network, labels: Sequence[str]) -> nn.Module:
        """None: words are scored by the network's own head."""
        return nn.Identity()

    def added(self, network: Network, marks: Tensor | None) -> Tensor | float:
        """What a task adds to the embeddings of words, given their marks."""
        return 0.0

    def targets(self, rows: Sequence[Row], labels: Sequence[str]) -> Tensor:
        """None: the targets are the batch's fragments."""
        return torch.zeros(len(rows))

    def count(self, batch: Batch) -> Tensor:
        """Tokens to write, each text's `[SEP]` included."""
        return (_fragments(batch).labels != IGNORED).sum()

    def loss(self, views: Views) -> Tensor:
        """Sum over the tokens."""
        network, fragments = views.network, _fragments(views.batch)
        chosen = fragments.labels != IGNORED
        states = network.body.generate(fragments, views.batch.images, self.added(network, fragments.marks))[chosen]
        scores = network.token_scores(states)
        return F.cross_entropy(scores, fragments.labels[chosen], label_smoothing=self.settings.smoothing, reduction="sum")

    def predict(self, views: Views) -> Tensor:
        """Tokens, int64 [P, target_tokens], -1 after the end."""
        fragments = _fragments(views.batch)
        settings, end = self.settings, int(fragments.ids[0, fragments.sources[0] - 1])
        how = Search(end, settings.beams, settings.least_tokens, self.room, settings.length_penalty, settings.block_trigrams)
        writer = Writer(views.network, fragments, views.batch.images, partial(self.added, views.network), self.mark)
        found = beam_search(writer.first, writer.advance, how)
        made = torch.full((len(found), self.room), -1)
        for row, tokens in enumerate(found):
            made[row, : len(tokens)] = torch.tensor(tokens, dtype=made.dtype)
        return made

    def answers(self, found: Tensor, tokenizer: Tokenizer) -> np.ndarray:
        """The texts, [rows]."""
        return np.array([tokenizer.decode([token for token in row if token >= 0]).strip() for row in found.tolist()], object)


def _fragments(batch: Batch) -> Fragments:
    assert batch.fragments is not None
    return batch.fragments
