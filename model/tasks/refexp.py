"""RefCOCO, RefCOCO+, RefCOCOg: which object of a photo an expression refers to. Metric: share of chosen regions with an IoU of 0.5 or more.

The candidates are the regions of the corpus (detected proposals). As in UNITER, one layer scores the last state of each, and is trained by
cross-entropy; the target is the region that overlaps the object most. Rows in which none does by 0.5 are not trained on, and count as
missed in evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from model.batch import Batch, Stream
from model.heads import Network, wide
from model.objectives.base import ObjectiveSettings, Views
from model.tasks.base import Row, Task, TaskSettings
from model.tasks.published import read_json
from schemas import files

HIT = 0.5
_KEYS = ("id", "original_id", "caption", "width", "height")


class RefexpSettings(TaskSettings):
    """Referring expressions."""

    prefix: str = Field("finetune_refcoco", description="of the files' names: finetune_refcoco, finetune_refcoco+ or finetune_refcocog")


class Refexp(Task):
    """JSON in COCO's layout, one image entry an expression, as MDETR (Kamath et al. 2021) distributes the three sets.

    `images` have `id`, `original_id` (COCO's), `caption`, `width` and `height`; `annotations` have `image_id` and `bbox` (x, y, width,
    height, px).
    """

    name: ClassVar[str] = "refexp"
    streams: ClassVar[tuple[Stream, ...]] = ("pairs",)
    settings_type: ClassVar[type[ObjectiveSettings]] = RefexpSettings
    files: ClassVar[dict[str, tuple[str, ...]]] = {split: (f"_{split}.json",) for split in ("train", "val", "test", "testA", "testB")}
    evaluated: ClassVar[tuple[str, ...]] = ("val",)

    def urls(self, split: str) -> list[str]:
        """Where the file of a split is."""
        return [files.join(self.settings.folder, f"{self.settings.prefix}{name}") for name in self.files[split]]

    def read(self, split: str) -> Iterator[Row | str]:
        """The expressions of a split; a target is the object's box x1, y1, x2, y2 as shares of the photo's sides."""
        held = read_json(self.urls(split)[0], ["images", "annotations"])
        boxes = {one.get("image_id"): one.get("bbox") for one in held["annotations"] if isinstance(one, dict)}
        for one in held["images"]:
            if not isinstance(one, dict) or not all(key in one for key in _KEYS):
                yield f"it lacks {', '.join(_KEYS)}"
            elif (box := _shares(boxes.get(one["id"]), one["width"], one["height"])) is None:
                yield "its object has no box in px"
            elif not str(one["caption"]).strip():
                yield "a text is empty"
            else:
                yield Row(f"{split}:{one['id']}", (str(one["caption"]),), box, (str(one["original_id"]),))

    def head(self, network: Network, labels: Sequence[str]) -> nn.Module:
        """A linear layer."""
        return nn.Sequential(nn.Dropout(network.settings.dropout), nn.Linear(network.body.width, 1))

    def targets(self, rows: Sequence[Row], labels: Sequence[str]) -> Tensor:
        """Boxes, float32 [P, 4]."""
        return torch.tensor([row.target for row in rows], dtype=torch.float32)

    def count(self, batch: Batch) -> Tensor:
        """Rows in which a region overlaps the object enough."""
        return (_overlap(batch).amax(1) >= HIT).sum()

    def scores(self, views: Views) -> Tensor:
        """A score a region, [P, R]; -inf on padding."""
        regions, images = views.own(mask_images=True).regions, views.batch.images
        assert regions is not None and images is not None and views.network.task is not None
        real = torch.arange(regions.shape[1], device=regions.device) < images.counts[:, None]
        return wide(views.network.task(regions)[..., 0]).masked_fill(~real, -torch.inf)

    def loss(self, views: Views) -> Tensor:
        """Sum over the rows that count."""
        best = _overlap(views.batch).max(1)
        kept = best.values >= HIT
        return F.cross_entropy(self.scores(views)[kept], best.indices[kept], reduction="sum")

    def predict(self, views: Views) -> Tensor:
        """The box of the region with the highest score, [P, 4]."""
        assert views.batch.images is not None
        chosen = self.scores(views).argmax(1)
        return views.batch.images.boxes[torch.arange(len(chosen), device=chosen.device), chosen, :4]

    def measure(self, found: np.ndarray, rows: Sequence[Row], labels: Sequence[str]) -> dict[str, float]:
        """The share of hits."""
        overlaps = iou(torch.from_numpy(found).double(), torch.tensor([row.target for row in rows], dtype=torch.float64))
        return {"accuracy": float((overlaps >= HIT).double().mean())}


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes x1, y1, x2, y2, [..., 4] each, broadcast, to [...]; 0 where both are empty."""
    shared = (torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])).clamp(min=0).prod(-1)
    union = sum((boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1) for boxes in (first, second)) - shared
    return torch.where(union > 0, shared / union, 0.0)


def _overlap(batch: Batch) -> Tensor:
    """How much each region overlaps its row's object, [P, R]; padding, whose boxes are empty, not at all."""
    assert batch.images is not None and batch.targets is not None
    return iou(batch.images.boxes[..., :4], batch.targets[:, None])


def _shares(box: object, width: object, height: object) -> tuple[float, float, float, float] | None:
    sizes = [width, height, *(box if isinstance(box, list) and len(box) == 4 else ["none"])]
    if not all(isinstance(size, int | float) and not isinstance(size, bool) for size in sizes) or min(sizes[:2] + sizes[4:]) <= 0:
        return None
    across, down, x, y, w, h = sizes
    return x / across, y / down, (x + w) / across, (y + h) / down
