"""RTE: whether a sentence follows from another (Wang et al. 2019, of four years' challenges), in GLUE's layout. Metric: accuracy."""

from __future__ import annotations

from typing import ClassVar

from model.tasks.glue import GlueClassification


class Rte(GlueClassification):
    """Columns `sentence1`, `sentence2` and `label`."""

    name: ClassVar[str] = "rte"
    texts: ClassVar[tuple[str, ...]] = ("sentence1", "sentence2")
    label: ClassVar[str] = "label"
    classes: ClassVar[tuple[str, ...]] = ("entailment", "not_entailment")
