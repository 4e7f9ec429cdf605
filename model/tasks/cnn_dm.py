"""CNN/DailyMail (Hermann et al. 2015, See et al. 2017): the highlights of an article. Metric: ROUGE; its L is that of sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from sentencex import segment

from model.tasks.base import Row
from model.tasks.summaries import Summaries
from model.tasks.text_metrics import rouge


class CnnDm(Summaries):
    """`SPLIT.source` and `SPLIT.target`, a line an article, as BART (Lewis et al. 2020) prepares them."""

    name: ClassVar[str] = "cnn_dm"
    files: ClassVar[dict[str, tuple[str, ...]]] = {split: (f"{split}.source", f"{split}.target") for split in ("train", "val", "test")}
    evaluated: ClassVar[tuple[str, ...]] = ("test",)
    kinds: ClassVar[tuple[str, ...]] = ("rouge1", "rouge2", "rougeLsum")

    def measure(self, found: np.ndarray, rows: Sequence[Row], labels: Sequence[str]) -> dict[str, float]:
        """F1 of ROUGE, a sentence a line."""
        texts, references = [_lines(text) for text in found.tolist()], [tuple(map(_lines, row.target)) for row in rows]
        return rouge(texts, references, self.kinds)


def _lines(text: str) -> str:
    return "\n".join(segment("en", text))
