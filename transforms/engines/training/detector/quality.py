"""Detection quality of a network on unseen scenes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torchvision.models.detection import FasterRCNN

from transforms.engines.training.detector.average_precision import Found, Truth, average_precisions
from transforms.engines.training.detector.pictures import CLASSES, LABEL_OF
from transforms.scenes.draw import render
from transforms.scenes.layout import sample_scene

_BATCH = 10


def evaluate(network: FasterRCNN, seed: int, count: int, threshold: float = 0.5) -> dict[str, Any]:
    """Mean AP over the kinds that occur, and AP by kind, on scenes 0 to `count` of `seed`, without augmentation."""
    found, truth = [], []
    for start in range(0, count, _BATCH):
        scenes = [sample_scene(seed, index) for index in range(start, min(count, start + _BATCH))]
        pictures = [torch.from_numpy(np.asarray(render(scene)).transpose(2, 0, 1).copy()).float() / 255 for scene in scenes]
        with torch.inference_mode():
            results = network(pictures)
        for scene, result in zip(scenes, results, strict=True):
            truth.append(
                Truth(np.array([item.box for item in scene.objects], np.float64), np.array([LABEL_OF[item.kind] for item in scene.objects]))
            )
            found.append(Found(result["boxes"].double().numpy(), result["labels"].numpy(), result["scores"].double().numpy()))
    by_label = average_precisions(found, truth, threshold)
    return {"map": float(np.mean(list(by_label.values()))), "ap": {CLASSES[label - 1]: value for label, value in by_label.items()}}
