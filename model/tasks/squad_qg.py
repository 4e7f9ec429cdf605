"""Question generation on SQuAD 1.1 (Rajpurkar et al. 2016; Du et al. 2017): a question whose answer is a given span of a passage.

Metrics: BLEU-4, ROUGE-L, METEOR where Java is there. The papers' splits divide SQuAD's public part by article and differ; here they are
SQuAD's own files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from model.batch import Stream
from model.tasks.base import Row
from model.tasks.generation import Generation
from model.tasks.published import read_json, text_of
from model.tasks.text_metrics import caption_scores, require


class SquadQg(Generation):
    """`train-v1.1.json` and `dev-v1.1.json`; texts are the passage and the answer."""

    name: ClassVar[str] = "squad_qg"
    streams: ClassVar[tuple[Stream, ...]] = ("texts",)
    files: ClassVar[dict[str, tuple[str, ...]]] = {split: (f"{split}-v1.1.json",) for split in ("train", "dev")}

    def read(self, split: str) -> Iterator[Row | str]:
        """The questions of a split, each with its first answer."""
        for article in read_json(self.urls(split)[0], ["data"])["data"]:
            for passage in _list(article, "paragraphs") or [None]:
                for asked in _list(passage, "qas") or [None]:  # what has none counts as one row
                    texts = (text_of(passage, "context"), text_of(next(iter(_list(asked, "answers")), None), "text"))
                    question = text_of(asked, "question")
                    if all((*texts, question)):
                        yield Row(f"{split}:{asked.get('id')}", texts, (question,))
                    else:
                        yield "it lacks context, question or answers"

    def prepare(self) -> None:
        """Requires pycocoevalcap."""
        require("pycocoevalcap")

    def measure(self, found: np.ndarray, rows: Sequence[Row], labels: Sequence[str]) -> dict[str, float]:
        """BLEU-4, ROUGE-L, METEOR."""
        return caption_scores(found.tolist(), [row.target for row in rows], ("bleu4", "rouge_l", "meteor"))


def _list(held: Any, key: str) -> list[Any]:
    found = held.get(key) if isinstance(held, dict) else None
    return found if isinstance(found, list) else []
