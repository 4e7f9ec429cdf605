"""STS-B: how similar two sentences are in meaning, from 0 to 5 (Cer et al. 2017), in GLUE's layout. Metrics: Pearson, Spearman."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional as F

from model.heads import Network
from model.objectives.base import Views
from model.tasks.base import Row
from model.tasks.glue import Glue

MOST = 5.0


class Stsb(Glue):
    """Columns `sentence1`, `sentence2` and `score`, by regression: squared error of the score over 5."""

    name: ClassVar[str] = "stsb"
    texts: ClassVar[tuple[str, ...]] = ("sentence1", "sentence2")
    label: ClassVar[str] = "score"

    def read(self, split: str) -> Iterator[Row | str]:
        """The rows of a split."""
        for one in self.table(split):
            if isinstance(one, str):
                yield one
                continue
            name, texts, score, _ = one
            value = _number(score)
            if not 0 <= value <= MOST:
                yield "its score is no number from 0 to 5"
            elif not all(text.strip() for text in texts):
                yield "a text is empty"
            else:
                yield Row(name, texts, value)

    def head(self, network: Network, labels: Sequence[str]) -> nn.Module:
        """A linear layer."""
        return nn.Sequential(nn.Dropout(network.settings.dropout), nn.Linear(network.body.width, 1))

    def targets(self, rows: Sequence[Row], labels: Sequence[str]) -> Tensor:
        """Scores over 5, float32 [P]."""
        return torch.tensor([row.target / MOST for row in rows], dtype=torch.float32)

    def loss(self, views: Views) -> Tensor:
        """Sum over the rows."""
        assert views.batch.targets is not None
        return F.mse_loss(self.predict(views), views.batch.targets, reduction="sum")

    def predict(self, views: Views) -> Tensor:
        """Scores over 5, [P]."""
        return self.scores(views)[:, 0]

    def measure(self, found: np.ndarray, rows: Sequence[Row], labels: Sequence[str]) -> dict[str, float]:
        """Pearson and Spearman correlation; 0 where answers or scores are all the same, for which they are not defined."""
        true = np.array([row.target for row in rows])
        if len(set(found.tolist())) < 2 or len(set(true.tolist())) < 2:
            return {"pearson": 0.0, "spearman": 0.0}
        return {"pearson": float(stats.pearsonr(true, found).statistic), "spearman": float(stats.spearmanr(true, found).statistic)}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
