"""SST-2: whether a phrase of a film review is negative (0) or positive (1) (Socher et al. 2013), in GLUE's layout. Metric: accuracy."""

from __future__ import annotations

from typing import ClassVar

from model.tasks.glue import GlueClassification


class Sst2(GlueClassification):
    """Columns `sentence` and `label`."""

    name: ClassVar[str] = "sst2"
    texts: ClassVar[tuple[str, ...]] = ("sentence",)
    label: ClassVar[str] = "label"
    classes: ClassVar[tuple[str, ...]] = ("0", "1")
