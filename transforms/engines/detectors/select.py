"""Which of a model's boxes become regions: class-wise suppression as torchvision does it, then the rule of UNITER's files.

Kept are min(max_regions, max(min_regions, count(confidence > threshold))) regions, by falling confidence (UNITER: 100, 10, 0.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image, nms, remove_small_boxes

_FIRST = 512  # candidates looked at first when the threshold leaves too few
_SMALLEST = 1e-2  # px; torchvision drops boxes with a shorter side


@dataclass(frozen=True)
class Selection:
    """The rule's numbers; see `DetectorSettings`."""

    threshold: float
    min_regions: int
    max_regions: int
    unique: bool


def select(boxes: Tensor, scores: Tensor, size: tuple[int, int], overlap: float, rule: Selection) -> tuple[Tensor, Tensor, Tensor]:
    """Chooses regions among an image's proposals.

    Args:
        boxes: float32 [N, C, 4], each proposal's box refined for each class (xyxy, px of the resized image).
        scores: float32 [N, C], softmax; column 0 is the background, which never becomes a region.
        size: height and width of the resized image, to which boxes are clipped.
        overlap: IoU above which the less confident of two boxes of one class goes.
        rule: what to keep.

    Returns (proposal int64 [n], class int64 [n] in 1..C-1, box float32 [n, 4]), by falling score; of equal scores the lower
    proposal goes first, then the lower class.

    Suppression goes by falling score, so the survivors among the k most confident candidates are the first survivors of all: only as
    many candidates are looked at as the rule needs.
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
    chosen = chosen[:min(rule.max_regions, max(rule.min_regions, confident))]
    proposal, label = chosen // (classes - 1), chosen % (classes - 1) + 1
    return proposal, label, clip_boxes_to_image(boxes[proposal, label], size)


def _survivors(boxes: Tensor, flat: Tensor, candidates: Tensor, size: tuple[int, int], overlap: float, rule: Selection) -> Tensor:
    """Those of `candidates` (positions in `flat`, by falling score) that suppression leaves, one a proposal where the rule says so."""
    classes = boxes.shape[1]
    proposal, label = candidates // (classes - 1), candidates % (classes - 1) + 1
    clipped = clip_boxes_to_image(boxes[proposal, label], size)
    sound = remove_small_boxes(clipped, _SMALLEST)
    kept = sound[torch.where(class_wise_nms(clipped[sound], flat[candidates[sound]], label[sound], overlap))[0]]
    if rule.unique:
        owners, places = proposal[kept], torch.arange(len(kept), device=kept.device)
        first = places.new_full((len(boxes),), len(kept)).scatter_reduce(0, owners, places, "amin")
        kept = kept[first[owners] == places]
    return candidates[kept]


def class_wise_nms(boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float) -> Tensor:
    """Which boxes float32 [n, 4] greedy suppression leaves, bool [n], each class for itself; of equal scores the first one wins.

    Not torchvision's `batched_nms`: that one tells classes apart by shifting few boxes, but not many, by thousands of pixels, whose
    rounding decides overlaps close to the limit. What is left would depend on how many candidates were looked at.
    """
    kept = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    if boxes.device.type == "cpu":
        for label in labels.unique():
            rows = torch.where(labels == label)[0]
            kept[rows[nms(boxes[rows], scores[rows], overlap)]] = True
    elif len(boxes):  # in one call, as a loop would wait for the GPU at every class; double precision has room for the shift
        wide = boxes.double()
        kept[nms(wide + (labels * (wide.max() + 1))[:, None], scores.double(), overlap)] = True
    return kept
