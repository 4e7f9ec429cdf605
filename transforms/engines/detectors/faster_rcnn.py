"""Regions from any torchvision `FasterRCNN`: runs the model's steps one by one to keep the pooled features."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import resize_boxes

from schemas.regions import Regions
from transforms.engines.detectors.base import DetectorInfo, Prepared
from transforms.engines.detectors.engine import Engine, as_array, check_widths
from transforms.engines.detectors.select import select
from transforms.engines.detectors.settings import DetectorSettings
from transforms.engines.torch_threads import kernel_threads

_WHOLE = 4 << 20  # pixels; 50 MB of floats


class FasterRcnnDetector(Engine):
    """A loaded model in evaluation mode.

    Boxes are refined by the model's second stage; the feature and the soft labels are those of the proposal before refinement, which is
    the classifier's input. Raises DetectorError if the model's widths differ from those in `info`.
    """

    def __init__(self, model: FasterRCNN, info: DetectorInfo, settings: DetectorSettings):
        super().__init__(settings, info)
        check_widths(info, *classifier_shape(model), settings.detector)
        self.model = model.eval().requires_grad_(False).to(self.device)
        # On CPUs the default layout, so the kernels are the same as in a plain call of the model.
        self._layout = torch.channels_last if self.device.type == "cuda" else torch.contiguous_format
        self.model = self.model.to(memory_format=self._layout)
        if self.device.type == "cuda":
            torch.backends.cudnn.deterministic = True

    def shape(self, width: int, height: int) -> tuple[int, int]:
        """The padded size (height, width) of an image of this size, computed like torchvision's resize.

        Raises ImageError if the image is so narrow that nothing of it would be left.
        """
        transform = self.model.transform
        scale = min(transform.min_size[-1] / min(width, height), transform.max_size / max(width, height))
        tall, wide = math.floor(height * scale), math.floor(width * scale)
        return self._padded(width, height, wide, tall)

    def prepare(self, image: Image.Image) -> Prepared:
        """Normalises and resizes with the model's own transform; huge images are converted to floats one channel at a time."""
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        transform = self.model.transform
        # The last bits of an interpolation depend on the number of threads: decoding threads use the setting too.
        with torch.inference_mode(), kernel_threads(self.settings.threads):
            if image.width * image.height <= _WHOLE:
                shares = pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
                resized = transform.resize(transform.normalize(shares))[0]
            else:
                resized = torch.cat([self._channel(pixels[channel], channel) for channel in range(3)])
        return Prepared(image.width, image.height, self._padded(*image.size, *resized.shape[:-3:-1]), resized)

    def _channel(self, pixels: Tensor, channel: int) -> Tensor:
        """Transforms one channel, uint8 [H, W], to float32 [1, h, w]."""
        transform = self.model.transform
        plane = pixels[None].to(torch.float32, memory_format=torch.contiguous_format).div_(255)
        plane.sub_(transform.image_mean[channel]).div_(transform.image_std[channel])
        return transform.resize(plane)[0]

    def _detect(self, batch: Sequence[Prepared]) -> list[Regions]:
        sizes = [(int(one.pixels.shape[-2]), int(one.pixels.shape[-1])) for one in batch]
        pixels = torch.zeros((len(batch), 3, *batch[0].shape))
        for row, one in zip(pixels, batch, strict=True):
            row[:, : one.pixels.shape[-2], : one.pixels.shape[-1]].copy_(one.pixels)
        images = ImageList(pixels.to(self.device, memory_format=self._layout), sizes)
        with self._autocast():
            proposals, pooled, logits, deltas = self._forward(images)
            attributes = self._attributes(pooled)
        return self._regions(batch, sizes, proposals, pooled, logits.float(), deltas.float(), attributes)

    def _attributes(self, pooled: Tensor) -> Tensor | None:
        """The number of each proposal's likeliest attribute, int64 [N]; None if the model has no attribute head."""
        head = getattr(self.model.roi_heads, "attribute_predictor", None)
        return None if head is None else head(pooled).argmax(-1)

    def _forward(self, images: ImageList) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """Each image's proposals, float32 [N_i, 4]; pooled features [N, D], logits [N, C] and deltas [N, 4 C] of all of them."""
        model = self.model
        features = model.backbone(images.tensors)
        if isinstance(features, Tensor):
            features = OrderedDict([("0", features)])
        proposals, _ = model.rpn(images, features)
        pooled = model.roi_heads.box_head(model.roi_heads.box_roi_pool(features, proposals, images.image_sizes))
        logits, deltas = model.roi_heads.box_predictor(pooled)
        return proposals, pooled.flatten(1), logits, deltas

    def _regions(
        self,
        batch: Sequence[Prepared],
        sizes: list[tuple[int, int]],
        proposals: list[Tensor],
        pooled: Tensor,
        logits: Tensor,
        deltas: Tensor,
        attributes: Tensor | None,
    ) -> list[Regions]:
        heads = self.model.roi_heads
        counts = [len(boxes) for boxes in proposals]
        classes = logits.shape[1]
        boxes = heads.box_coder.decode(deltas, proposals).reshape(-1, classes, 4)
        labels = torch.softmax(logits, -1)
        its_own = [None] * len(counts) if attributes is None else attributes.split(counts)
        parts = zip(batch, sizes, boxes.split(counts), labels.split(counts), pooled.split(counts), its_own, strict=True)
        found = []
        for one, size, its_boxes, its_labels, its_features, its_attributes in parts:
            rows, label, box = select(its_boxes, its_labels, size, heads.nms_thresh, self._rule)
            found.append(
                Regions(
                    one.width,
                    one.height,
                    boxes=as_array(resize_boxes(box, list(size), [one.height, one.width]), np.float32),
                    features=as_array(its_features[rows], np.float16),
                    confidence=as_array(its_labels[rows, label], np.float32),
                    soft_labels=as_array(its_labels[rows], np.float16),
                    classes=as_array(label, np.int32),
                    attributes=None if its_attributes is None else as_array(its_attributes[rows], np.int32),
                )
            )
        return found


def classifier_shape(model: FasterRCNN) -> tuple[int, int]:
    """The width of the classifier's input and its number of classes, including the background."""
    last = model.roi_heads.box_predictor.cls_score
    return last.in_features, last.out_features
