"""Gigaword (Rush et al. 2015): the headline of a first sentence. Metric: ROUGE."""

from __future__ import annotations

from typing import ClassVar

from model.tasks.summaries import Summaries


class Gigaword(Summaries):
    """Two files a split, a line a sentence, as the authors distribute them (`train` and `Giga` in one folder)."""

    name: ClassVar[str] = "gigaword"
    files: ClassVar[dict[str, tuple[str, ...]]] = {
        "train": ("train.article.txt", "train.title.txt"),
        "dev": ("valid.article.filter.txt", "valid.title.filter.txt"),
        "test": ("input.txt", "task1_ref0.txt"),
    }
    evaluated: ClassVar[tuple[str, ...]] = ("test",)
