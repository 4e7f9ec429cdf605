"""Selects a model's boxes as regions: class-wise suppression as in torchvision, then the rule of UNITER's files.

It keeps min(max_regions, max(min_regions, count(confidence > threshold))) regions, by descending confidence (UNITER: 100, 10, 0.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image, nms, remove_small_boxes

_FIRST = 512  # candidates examined first if none is above the threshold
_SMALLEST = 1e-2  # px; torchvision drops boxes with a shorter side


@dataclass(frozen=True)
class Selection:
    """The rule's parameters; see `DetectorSettings`."""

    threshold: float
    min_regions: int
    max_regions: int
    unique: bool


def select(boxes: Tensor, scores: Tensor, size: tuple[int, int], overlap: float, rule: Selection) -> tuple[Tensor, Tensor, Tensor]:
    """Selects regions from an image's proposals.

    Args:
        boxes: float32 [N, C, 4], each proposal's box refined for each class (xyxy, px of the resized image).
        scores: float32 [N, C], softmax; column 0 is the background, which never becomes a region.
        size: height and width of the resized image, to which boxes are clipped.
        overlap: IoU above which the less confident of two boxes of one class is removed.
        rule: what to keep.

    Returns (proposal int64 [n], class int64 [n] in 1..C-1, box float32 [n, 4]), by descending score; ties by ascending proposal,
    then class.

    Suppression proceeds by descending score, so the survivors of the k most confident candidates are the first survivors overall: only
    as many candidates are examined as the rule requires.
    """
    classes = scores.shape[1]
    flat = scores[:, 1:].reshape(-1)
    order = torch.sort(flat, descending=True, stable=True).indices
    above = int((flat > rule.threshold).sum())
    take = above or min(_FIRST, len(order))
    chosen = _survivors(boxes, flat, order[:take], size, overlap, rule)
    while len(chosen) < rule.min_regions and take < len(order):
        take = min(len(order), max(_FIRST, 4 * take))
        chosen = _survivors(boxes, flat, order[:take], size, overlap, rule)
    confident = int((flat[chosen] > rule.threshold).sum())
    chosen = chosen[: min(rule.max_regions, max(rule.min_regions, confident))]
    proposal, label = chosen // (classes - 1), chosen % (classes - 1) + 1
    return proposal, label, clip_boxes_to_image(boxes[proposal, label], size)


def _survivors(boxes: Tensor, flat: Tensor, candidates: Tensor, size: tuple[int, int], overlap: float, rule: Selection) -> Tensor:
    """The `candidates` (indices into `flat`, by descending score) that survive suppression, one per proposal if the rule says so."""
    classes = boxes.shape[1]
    proposal, label = candidates // (classes - 1), candidates % (classes - 1) + 1
    clipped = clip_boxes_to_image(boxes[proposal, label], size)
    large = remove_small_boxes(clipped, _SMALLEST)
    kept = large[torch.where(class_wise_nms(clipped[large], flat[candidates[large]], label[large], overlap))[0]]
    if rule.unique:
        owners, ranks = proposal[kept], torch.arange(len(kept), device=kept.device)
        first = ranks.new_full((len(boxes),), len(kept)).scatter_reduce(0, owners, ranks, "amin")
        kept = kept[first[owners] == ranks]
    return candidates[kept]


def class_wise_nms(boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float) -> Tensor:
    """Which boxes, float32 [n, 4], survive greedy suppression within each class, bool [n]; on ties the first one wins.

    Not torchvision's `batched_nms`, which separates the classes of few boxes, but not of many, by shifting them thousands of pixels;
    rounding then decides overlaps close to the limit, so the result would depend on the number of candidates examined.
    """
    kept = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    if boxes.device.type == "cpu":
        for label in labels.unique():
            rows = torch.where(labels == label)[0]
            kept[rows[nms(boxes[rows], scores[rows], overlap)]] = True
    elif len(boxes):  # in one call, as a loop would synchronise with the GPU for every class; double precision makes the shift exact enough
        wide = boxes.double()
        kept[nms(wide + (labels * (wide.max() + 1))[:, None], scores.double(), overlap)] = True
    return kept
