"""The regions of made scenes: their objects as a detector without pixels would give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from schemas import ids
from schemas.tables import regions_schema
from transforms.core.stage import Input, Stage
from transforms.core.task import Task
from transforms.scenes.layout import sample_scene
from transforms.scenes.world import KINDS

_NAMES = list(KINDS)


@dataclass(frozen=True)
class MadeRegions(Stage):
    """Writes `regions` of made scenes, one feature wide."""

    name: ClassVar[str] = "regions"

    scenes: int = 40
    seed: int = 5

    @property
    def inputs(self) -> Sequence[Input]:
        """Nothing but the corpus."""
        return [Input("pairs", "pairs")]

    @property
    def writes(self) -> Mapping[str, pa.Schema]:
        """Regions."""
        return {"regions": regions_schema(1, 1)}

    @property
    def settings(self) -> Mapping[str, Any]:
        """How many scenes."""
        return {"scenes": self.scenes, "seed": self.seed}

    def process(self, task: Task, payload: Any) -> None:
        """Writes one partition."""
        rows = []
        for at in range(self.scenes):
            image = ids.image_id("made", f"{at:05d}")
            if int(ids.partition_of(ids.placements([image]), task.corpus.partitions)[0]) != task.partition:
                continue
            items = sample_scene(self.seed, at).objects
            rows.append(
                {
                    "image_id": image,
                    "width": 288,
                    "height": 216,
                    "boxes": [[0.0, 0.0, 1.0, 1.0] for _ in items],
                    "confidence": [1.0] * len(items),
                    "features": [[0.0] for _ in items],
                    "soft_labels": None,
                    "class": [_NAMES.index(item.kind) for item in items],
                    "attributes": None,
                }
            )
        if rows:
            task.write("regions", pa.Table.from_pylist(rows, schema=regions_schema(1, 1)))
