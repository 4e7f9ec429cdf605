"""What tasks share whose files are texts and their summaries, line by line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import ClassVar

import numpy as np

from model.batch import Stream
from model.tasks.base import Row
from model.tasks.generation import Generation
from model.tasks.published import lines_of
from model.tasks.text_metrics import require, rouge
from schemas.errors import SourceError


class Summaries(Generation):
    """A file of texts and one of summaries a split. kinds: of ROUGE."""

    streams: ClassVar[tuple[Stream, ...]] = ("texts",)
    kinds: ClassVar[tuple[str, ...]] = ("rouge1", "rouge2", "rougeL")

    def read(self, split: str) -> Iterator[Row | str]:
        """The texts of a split. Raises SourceError when the files do not have as many lines."""
        texts, summaries = self.urls(split)
        for number, (text, summary) in enumerate(zip_longest(lines_of(texts), lines_of(summaries)), 1):
            if text is None or summary is None:
                short, long = (texts, summaries) if text is None else (summaries, texts)
                raise SourceError(f"{short} has {number - 1} lines, fewer than {long}: they must belong together line by line")
            if text.strip() and summary.strip():
                yield Row(f"{split}:{number}", (text.strip(),), (summary.strip(),))
            else:
                yield "a text is empty"

    def prepare(self) -> None:
        """Requires rouge-score."""
        require("rouge_score")

    def measure(self, found: np.ndarray, rows: Sequence[Row], labels: Sequence[str]) -> dict[str, float]:
        """F1 of ROUGE."""
        return rouge(found.tolist(), [row.target for row in rows], self.kinds)
