"""RefCOCO, RefCOCO+, RefCOCOg: which object of a photo an expression refers to. Metric: share of chosen regions with an IoU of 0.5 or more.

The candidates are the regions of the corpus (detected proposals), or the boxes of all objects (ground truth). As in UNITER, one layer
scores the last state of each, and is trained by cross-entropy; the target is the region that overlaps the object most. Rows in which none
does by 0.5 are not trained on, and count as missed in evaluation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from model.batch import Batch, Stream
from model.heads import Network, wide
from model.objectives.base import ObjectiveSettings, Views
from model.tasks.base import Row, Task, TaskSettings
from model.tasks.boxes import Box, is_size, regions_at, shares
from model.tasks.published import by_id, found_by, lines_of, read_json, read_plain_pickle, text_of
from schemas import files
from schemas.errors import ConfigError, SourceError
from schemas.regions import Regions

HIT = 0.5
_KEYS = ("id", "original_id", "caption", "width", "height")


class RefexpSettings(TaskSettings):
    """Referring expressions."""

    refs: str | None = Field(
        None,
        description="file in RefCOCO's own layout, beside instances.json: refs(unc).p, refs(google).p, refs(umd).p, or the same as JSON",
    )
    boxes: Literal["detected", "truth"] = Field("detected", description="candidates: detected regions, or all boxes of instances.json")
    prefix: str = Field("finetune_refcoco", description="of the files' names: finetune_refcoco, finetune_refcoco+ or finetune_refcocog")


class Refexp(Task):
    """JSON in COCO's layout, one image entry an expression, as MDETR (Kamath et al. 2021) distributes the three sets.

    With `refs`, in the layout of Yu et al. (2016): a pickle (nothing in it is executed) or JSON file of expressions, each with `image_id`,
    `ann_id`, `split` and `sentences` (`sent`), and `instances.json` in COCO's layout.

    MDETR's `images` have `id`, `original_id` (COCO's), `caption`, `width` and `height`; its `annotations` have `image_id` and `bbox` (x, y,
    width, height, px).
    """

    name: ClassVar[str] = "refexp"
    streams: ClassVar[tuple[Stream, ...]] = ("pairs",)
    settings_type: ClassVar[type[ObjectiveSettings]] = RefexpSettings
    files: ClassVar[dict[str, tuple[str, ...]]] = {split: (f"_{split}.json",) for split in ("train", "val", "test", "testA", "testB")}
    evaluated: ClassVar[tuple[str, ...]] = ("val",)

    def __init__(self, settings: Any):
        super().__init__(settings)
        self._objects: dict[str, list[Box]] = {}  # the boxes of all objects by image, once they are read

    def urls(self, split: str) -> list[str]:
        """Where the files of a split are."""
        if self.settings.refs:
            return [files.join(self.settings.folder, name) for name in (self.settings.refs, "instances.json")]
        return [files.join(self.settings.folder, f"{self.settings.prefix}{name}") for name in self.files[split]]

    def read(self, split: str) -> Iterator[Row | str]:
        """The expressions of a split; a target is the object's box x1, y1, x2, y2 as shares of the photo's sides."""
        if self.settings.refs:
            yield from self._refs(split)
            return
        if self.settings.boxes == "truth":
            raise ConfigError("refexp.boxes: truth requires refexp.refs, whose instances.json has the boxes of all objects")
        held = read_json(url := self.urls(split)[0], ["images", "annotations"])
        objects = by_id(url, held["annotations"], "image_id")
        for one in held["images"]:
            if not isinstance(one, dict) or not all(key in one for key in _KEYS):
                yield f"it lacks {', '.join(_KEYS)}"
            elif (box := _shares(found_by(objects, one["id"]), one)) is None:
                yield "its object has no box in px"
            elif not (text := text_of(one, "caption")):
                yield "a text is empty"
            else:
                yield Row(f"{split}:{one['id']}", (text,), box, (str(one["original_id"]),))

    def _refs(self, split: str) -> Iterator[Row | str]:
        refs, instances = self.urls(split)
        held = read_json(instances, ["images", "annotations"])
        photos, objects = (by_id(instances, held[part], "id") for part in ("images", "annotations"))
        boxes: dict[int | str, tuple[Any, Box]] = {}
        self._objects = {}
        for number, one in objects.items():
            if box := _shares(one, found_by(photos, one.get("image_id"))):
                boxes[number] = one["image_id"], box
                if not one.get("iscrowd"):
                    self._objects.setdefault(str(one["image_id"]), []).append(box)
        for one in _list_of_refs(refs):
            if not isinstance(one, dict) or not isinstance(one.get("sentences"), list) or not text_of(one, "split"):
                yield "it lacks image_id, ann_id, split or sentences"
            elif one.get("split") == split:
                for said in one["sentences"] or [None]:
                    image, target = found_by(boxes, one.get("ann_id")) or (None, None)
                    if target is None:
                        yield "its object has no box in px"
                    elif image != one.get("image_id"):
                        yield "its object is another photo's"
                    elif str(image) not in self._objects:
                        yield "its photo has no object to choose"
                    elif not (text := text_of(said, "sent")):
                        yield "a text is empty"
                    else:
                        yield Row(f"{split}:{said.get('sent_id')}", (text,), target, (str(image),))

    def regions(self, row: Row, held: Regions) -> Regions:
        """With `boxes: truth`, every object's box, with the features of the region that overlaps it most."""
        if self.settings.boxes == "detected":
            return held
        return regions_at(held, self._objects[row.images[0]])

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


def _shares(annotation: Any, photo: Any) -> Box | None:
    """Of an annotation's box x, y, width, height."""
    box = annotation.get("bbox") if annotation and photo else None
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_size, box)):
        return None
    x, y, w, h = box
    return shares(x, y, x + w, y + h, photo.get("width"), photo.get("height"))


def _list_of_refs(url: str) -> list[Any]:
    try:
        held = json.loads("\n".join(lines_of(url))) if url.endswith(".json") else read_plain_pickle(url)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{url} is not JSON: {error}") from None
    if not isinstance(held, list):
        raise SourceError(f"{url} must hold a list of expressions with image_id, ann_id, split and sentences")
    return held
