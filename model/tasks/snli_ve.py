"""SNLI-VE (Xie et al. 2019): whether a Flickr30k photo entails a hypothesis, contradicts it, or neither. Metric: accuracy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from model.batch import Stream
from model.tasks.base import Classification, Row, class_rows
from model.tasks.published import read_json_lines, text_of

_KEYS = ("Flickr30K_ID", "sentence2", "gold_label")


class SnliVe(Classification):
    """JSON lines with `Flickr30K_ID`, `sentence2` (the hypothesis) and `gold_label`."""

    name: ClassVar[str] = "snli_ve"
    streams: ClassVar[tuple[Stream, ...]] = ("pairs",)
    files: ClassVar[dict[str, tuple[str, ...]]] = {split: (f"snli_ve_{split}.jsonl",) for split in ("train", "dev", "test")}
    evaluated: ClassVar[tuple[str, ...]] = ("dev", "test")
    classes: ClassVar[tuple[str, ...]] = ("contradiction", "entailment", "neutral")

    def read(self, split: str) -> Iterator[Row | str]:
        """The rows of a split."""
        return class_rows(
            (
                one
                if isinstance(one, str)
                else (f"{split}:{one[0]}", (text_of(one[1], "sentence2"),), str(one[1][_KEYS[2]]), (str(one[1][_KEYS[0]]),))
                for one in read_json_lines(self.urls(split)[0], _KEYS)
            ),
            self.classes,
        )
