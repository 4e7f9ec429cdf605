"""The embedded detector's network: a torchvision `FasterRCNN` on a small residual backbone with a feature pyramid.

Residual blocks: He et al., arXiv 1512.03385. Feature pyramid: Lin et al., arXiv 1612.03144. Faster R-CNN: Ren et al., arXiv
1506.01497, as torchvision implements it. Sizes are chosen for objects of 10 to 170 pixels.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign


@dataclass(frozen=True)
class CompactSize:
    """The network's dimensions. Lengths are pixels of the resized image.

    classes: kinds of objects, without the background. attributes: outputs of the attribute head, 0 for none. widths: channels at strides
    4, 8, 16, 32. blocks: residual blocks at each. pyramid: channels of the feature pyramid, whose levels have strides 8, 16, 32.
    features: width of the pooled box-head feature. anchors: sides of the square anchors of each level.
    """

    classes: int
    attributes: int = 0
    widths: tuple[int, ...] = (32, 64, 128, 192)
    blocks: tuple[int, ...] = (1, 2, 2, 2)
    pyramid: int = 64
    features: int = 256
    anchors: tuple[tuple[int, ...], ...] = ((16, 26), (42, 64), (96, 144))
    min_size: int = 216
    max_size: int = 384

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> CompactSize:
        """The inverse of `to_json`. Raises TypeError for unknown or missing fields."""
        known = dict(value)
        for name in ("widths", "blocks", "anchors"):
            known[name] = tuple(tuple(part) if isinstance(part, list) else part for part in known[name])
        return cls(**known)


def _conv(inputs: int, outputs: int, stride: int, size: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs))


class _Block(nn.Module):
    """Two 3 x 3 convolutions with an identity shortcut (or a projection if the shape changes)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.first = _conv(inputs, outputs, stride)
        self.second = _conv(outputs, outputs, 1)
        self.skip = _conv(inputs, outputs, stride, 1) if stride != 1 or inputs != outputs else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))) + self.skip(x))


class CompactBackbone(nn.Module):
    """Image float [B, 3, H, W] -> pyramid of float [B, `pyramid`, H/s, W/s], s = 8, 16, 32."""

    def __init__(self, size: CompactSize):
        super().__init__()
        narrow = size.widths[0]
        self.stem = nn.Sequential(_conv(3, narrow // 2, 2), nn.ReLU(), _conv(narrow // 2, narrow, 2), nn.ReLU())
        stages = []
        for position, (width, blocks) in enumerate(zip(size.widths, size.blocks, strict=True)):
            inputs = size.widths[max(0, position - 1)]
            stages.append(
                nn.Sequential(
                    *(_Block(inputs if number == 0 else width, width, 2 if number == 0 and position else 1) for number in range(blocks))
                )
            )
        self.stages = nn.ModuleList(stages)
        self.fpn = FeaturePyramidNetwork(list(size.widths[1:]), size.pyramid)
        self.out_channels = size.pyramid

    def forward(self, x: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
        """The pyramid's levels, from fine to coarse."""
        x = self.stem(x)
        levels: OrderedDict[str, torch.Tensor] = OrderedDict()
        for position, stage in enumerate(self.stages):
            x = stage(x)
            if position:
                levels[str(position - 1)] = x
        return self.fpn(levels)


def compact_detector(size: CompactSize, **settings: Any) -> FasterRCNN:
    """A `FasterRCNN` of this size with new weights; `settings` are passed to torchvision's constructor.

    Classes are numbered from 1, as in torchvision; 0 is the background. The attribute head, as in bottom-up attention (Anderson et al.,
    arXiv 1707.07998), is a linear layer on the box head's features, without the class: so these must hold what an object looks like.
    """
    backbone = CompactBackbone(size)
    levels = [str(number) for number in range(len(size.anchors))]
    model = FasterRCNN(
        backbone,
        num_classes=None,
        min_size=size.min_size,
        max_size=size.max_size,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.25, 0.25, 0.25],
        rpn_anchor_generator=AnchorGenerator(size.anchors, ((0.5, 1.0, 2.0),) * len(size.anchors)),
        # An object of 64 pixels is pooled from stride 16, smaller ones from stride 8.
        box_roi_pool=MultiScaleRoIAlign(levels, 7, 2, canonical_scale=64, canonical_level=4),
        box_head=TwoMLPHead(size.pyramid * 49, size.features),
        box_predictor=FastRCNNPredictor(size.features, size.classes + 1),
        **settings,
    )
    if size.attributes:
        model.roi_heads.attribute_predictor = nn.Linear(size.features, size.attributes)
    return model


def folded(model: FasterRCNN) -> FasterRCNN:
    """The model in evaluation mode with each batch normalisation folded into the convolution before it."""
    model.eval()
    for module in list(model.backbone.modules()):
        if isinstance(module, nn.Sequential):
            for at in range(len(module) - 1):
                conv, norm = module[at], module[at + 1]
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    module[at], module[at + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return model
