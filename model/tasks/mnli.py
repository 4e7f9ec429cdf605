"""MNLI: whether a premise entails a hypothesis, contradicts it, or neither (Williams et al. 2018), in GLUE's layout.

Metric: accuracy, on matched (the training set's genres) and mismatched (other genres) pairs.
"""

from __future__ import annotations

from typing import ClassVar

from model.tasks.glue import GlueClassification


class Mnli(GlueClassification):
    """Columns `sentence1`, `sentence2` and `gold_label`; rows without a label by majority have `-` there."""

    name: ClassVar[str] = "mnli"
    files: ClassVar[dict[str, tuple[str, ...]]] = {
        "train": ("train.tsv",),
        "dev_matched": ("dev_matched.tsv",),
        "dev_mismatched": ("dev_mismatched.tsv",),
    }
    evaluated: ClassVar[tuple[str, ...]] = ("dev_matched", "dev_mismatched")
    texts: ClassVar[tuple[str, ...]] = ("sentence1", "sentence2")
    label: ClassVar[str] = "gold_label"
    classes: ClassVar[tuple[str, ...]] = ("contradiction", "entailment", "neutral")
