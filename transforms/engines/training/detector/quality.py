"""Detection quality of a network on unseen scenes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.models.detection import FasterRCNN
from torchvision.ops import box_iou

from transforms.engines.detectors.base import Detector
from transforms.engines.training.detector.pictures import ATTRIBUTES, CLASSES, LABEL_OF, applies
from transforms.scenes.draw import render
from transforms.scenes.layout import sample_scene

_BATCH = 10
Boxes = Iterable[Sequence[float]]  # xyxy, px


def evaluate(network: FasterRCNN, seed: int, count: int, threshold: float = 0.5) -> dict[str, Any]:
    """Mean AP over the kinds that occur, and AP by kind, on scenes 0 to `count` of `seed`, without augmentation."""
    found, truth = [], []
    for start in range(0, count, _BATCH):
        scenes = [sample_scene(seed, index) for index in range(start, min(count, start + _BATCH))]
        pictures = [torch.from_numpy(np.asarray(render(scene)).transpose(2, 0, 1).copy()).float() / 255 for scene in scenes]
        with torch.inference_mode():
            results = network(pictures)
        for scene, result in zip(scenes, results, strict=True):
            truth.append(([item.box for item in scene.objects], [LABEL_OF[item.kind] for item in scene.objects]))
            found.append((result["boxes"].tolist(), result["labels"].tolist(), result["scores"].tolist()))
    by_label = average_precisions(found, truth, threshold)
    return {"map": float(np.mean(list(by_label.values()))), "ap": {CLASSES[label - 1]: value for label, value in by_label.items()}}


def attribute_shares(engine: Detector, seed: int, count: int) -> dict[str, float]:
    """By attribute, the share of objects with it that are found as what they are and whose region names one of their attributes.

    On scenes 0 to `count` of `seed`. An object is found if the most confident region of its kind that overlaps it by an IoU of at least
    0.5 has that attribute; objects that are not found count as wrong.
    """
    held: dict[str, list[bool]] = {}
    for start in range(0, count, _BATCH):
        scenes = [sample_scene(seed, index) for index in range(start, min(count, start + _BATCH))]
        for scene, regions in zip(scenes, engine.detect([engine.prepare(render(scene)) for scene in scenes]), strict=True):
            assert regions.classes is not None and regions.attributes is not None  # regions are by descending confidence
            truth = torch.tensor([item.box for item in scene.objects], dtype=torch.float32)
            overlaps = box_iou(truth, torch.from_numpy(regions.boxes)).numpy() >= 0.5
            for item, near in zip(scene.objects, overlaps, strict=True):
                own = np.flatnonzero(near & (regions.classes == LABEL_OF[item.kind]))
                right = len(own) > 0 and applies(item)[regions.attributes[own[0]]]
                for attribute in item.attributes & set(ATTRIBUTES):
                    held.setdefault(attribute, []).append(right)
    return {attribute: float(np.mean(held[attribute])) for attribute in ATTRIBUTES if attribute in held}


def average_precisions(
    found: Sequence[tuple[Boxes, Sequence[int], Sequence[float]]], truth: Sequence[tuple[Boxes, Sequence[int]]], threshold: float = 0.5
) -> dict[int, float]:
    """COCO's AP at one IoU threshold, in 0..1, of each label that occurs in `truth`.

    found: by picture, the detections' boxes, labels and scores. truth: by picture, the objects' boxes and labels.
    """
    labels = sorted({label for _, held in truth for label in held})
    objects = [
        {"image_id": picture, "category_id": label, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for picture, (boxes, held) in enumerate(truth)
        for box, label in zip(_sized(boxes), held, strict=True)
    ]
    detections = [
        {"image_id": picture, "category_id": label, "bbox": box, "score": score}
        for picture, (boxes, held, scores) in enumerate(found)
        for box, label, score in zip(_sized(boxes), held, scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports its progress there
        reference = COCO()
        reference.dataset = {
            "images": [{"id": picture} for picture in range(len(truth))],
            "categories": [{"id": label} for label in labels],
            "annotations": [{**entry, "id": number} for number, entry in enumerate(objects, 1)],
        }
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(detections) if detections else COCO(), "bbox")
        evaluation.params.iouThrs = np.array([threshold])
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]  # [threshold, recall, label, size of the objects (0: all), detections in a picture (-1: 100)]
    return {label: float(precision[0, :, number, 0, -1].mean()) for number, label in enumerate(labels)}


def _sized(boxes: Boxes) -> Iterator[list[float]]:
    """Boxes as x, y, width and height."""
    return ([x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in boxes)
