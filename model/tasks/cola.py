"""CoLA: whether linguists find a sentence acceptable (Warstadt et al. 2019), in GLUE's layout. Metric: Matthews correlation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from sklearn.metrics import matthews_corrcoef

from model.tasks.base import Row
from model.tasks.glue import GlueClassification


class Cola(GlueClassification):
    """No header; source, label (0 unacceptable, 1 acceptable), the source's own mark, sentence."""

    name: ClassVar[str] = "cola"
    header: ClassVar[tuple[str, ...] | None] = ("source", "label", "mark", "sentence")
    texts: ClassVar[tuple[str, ...]] = ("sentence",)
    label: ClassVar[str] = "label"
    classes: ClassVar[tuple[str, ...]] = ("0", "1")

    def measure(self, found: np.ndarray, rows: Sequence[Row], labels: Sequence[str]) -> dict[str, float]:
        """Also Matthews correlation, which is 0 for answers that are all the same."""
        return {"matthews": float(matthews_corrcoef([row.target for row in rows], found)), **super().measure(found, rows, labels)}
