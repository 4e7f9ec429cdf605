"""Regions out of a detectron2 Faster R-CNN: an optional engine, imported only when a specification asks for it.

Works with detectron2's `StandardROIHeads` and `Res5ROIHeads`. An attribute head is taken where the predictor has one, in the form of
the Visual Genome detectors for detectron2: `box_predictor(features)` returns (scores, deltas) and the attribute scores as a third value,
or, in the older form, `attribute_pred(features, classes)` is a method.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from schemas.manifest import fingerprint
from transforms.detectors.base import DetectorError, DetectorInfo, OutOfMemory, Prepared, Regions, Spec
from transforms.detectors.faster_rcnn import as_array, device_of, out_of_memory
from transforms.detectors.select import Selection, select
from transforms.detectors.settings import DetectorSettings
from transforms.detectors.weights import file_digest, read_weights
from transforms.torch_threads import kernel_threads

INSTALL = "pip install 'git+https://github.com/facebookresearch/detectron2.git'  (it is not on the package index)"
REVISION = 1


def load_detectron2(spec: Spec, settings: DetectorSettings) -> Detectron2Detector:
    """The model of a config file and a checkpoint of plain tensors.

    Raises DetectorError when detectron2 is not installed, the config is absent or wrong, or the weights are a pickle or do not fit.
    """
    try:
        from detectron2.config import get_cfg
        from detectron2.modeling import build_model
    except ImportError as error:
        raise DetectorError(f"detector {settings.detector!r} needs detectron2 ({error}): run {INSTALL}") from error
    assert spec.weights is not None
    if not Path(spec.model).is_file():
        raise DetectorError(f"detector {settings.detector!r}: there is no config {spec.model!r}")
    if spec.weights.endswith(".pkl"):
        raise DetectorError(f"{spec.weights} is a pickle, which could run anything when read; save the model's state dictionary with "
                            "torch.save(model.state_dict(), FILE.pth) or as safetensors")
    config = get_cfg()
    config.set_new_allowed(True)  # attribute heads bring keys of their own
    config.merge_from_file(spec.model)
    config.MODEL.DEVICE = device_of(settings.device)
    model = build_model(config)
    state, _ = read_weights(spec.weights)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise DetectorError(f"{spec.weights} does not fit {spec.model}: {str(error)[:400]}") from error
    identity = ["detectron2", file_digest(spec.model), file_digest(spec.weights)]
    return Detectron2Detector(model, config, identity, settings)


class Detectron2Detector:
    """One loaded detectron2 model; see `transforms.detectors.base.Detector`.

    Its soft labels are stored with the background first; detectron2 itself has it last.
    """

    def __init__(self, model: Any, config: Any, identity: Any, settings: DetectorSettings):
        from detectron2.data.transforms import ResizeShortestEdge

        self.settings = settings
        self.model = model.eval()
        self._resize = ResizeShortestEdge(config.INPUT.MIN_SIZE_TEST, config.INPUT.MAX_SIZE_TEST)
        self._format = config.INPUT.FORMAT
        self._nms = float(config.MODEL.ROI_HEADS.NMS_THRESH_TEST)
        self._rule = Selection(settings.threshold, settings.min_regions, settings.max_regions, settings.unique)
        self._dtype = getattr(torch, settings.precision)
        self._lock = threading.Lock()
        last = model.roi_heads.box_predictor.cls_score
        attributes = getattr(config.MODEL.ROI_HEADS, "NUM_ATTRIBUTES", 0) or getattr(
            getattr(config.MODEL, "ROI_ATTRIBUTE_HEAD", None), "NUM_CLASSES", 0)
        self.info = DetectorInfo(
            fingerprint([REVISION, identity, settings.model_dump(mode="json", exclude={"readers", "detector", "window"}),
                         torch.__version__, _version()]),
            last.in_features, last.out_features, None, int(attributes))

    @property
    def fingerprint(self) -> str:
        """Hash of config, weights, settings and versions."""
        return self.info.fingerprint

    def shape(self, width: int, height: int) -> tuple[int, int]:
        """The padded size (height, width) that an image of this size comes to have."""
        change = self._resize.get_transform(np.broadcast_to(np.zeros((), np.uint8), (height, width, 3)))
        step = self.settings.bucket
        return -(-change.new_h // step) * step, -(-change.new_w // step) * step

    def prepare(self, image: Image.Image) -> Prepared:
        """Resizes as detectron2's predictor does; the model normalises."""
        pixels = np.asarray(image)
        pixels = pixels[:, :, ::-1] if self._format == "BGR" else pixels
        resized = self._resize.get_transform(pixels).apply_image(pixels)
        tensor = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)).astype(np.float32))
        return Prepared(image.width, image.height, self.shape(image.width, image.height), tensor)

    def detect(self, batch: Sequence[Prepared]) -> list[Regions]:
        """The regions of images of one shape. Raises OutOfMemory when they do not fit into memory at once."""
        with self._lock, kernel_threads(self.settings.threads):
            try:
                return self._detect(batch)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                reason = f"{len(batch)} images of {batch[0].shape} did not fit: {error}"
        raise OutOfMemory(reason)

    @torch.inference_mode()
    def _detect(self, batch: Sequence[Prepared]) -> list[Regions]:
        model = self.model
        images = model.preprocess_image([{"image": one.pixels, "height": one.height, "width": one.width} for one in batch])
        with torch.autocast(images.tensor.device.type, self._dtype, enabled=self._dtype != torch.float32):
            features = model.backbone(images.tensor)
            proposals, _ = model.proposal_generator(images, features, None)
            pooled = self._pooled(features, [found.proposal_boxes for found in proposals])
            predicted = model.roi_heads.box_predictor(pooled)
        counts = [len(found) for found in proposals]
        logits, deltas = predicted[0].float(), predicted[1].float()
        labels = torch.softmax(logits, -1).roll(1, -1)  # the background goes from last to first
        corners = torch.cat([found.proposal_boxes.tensor for found in proposals])
        boxes = model.roi_heads.box_predictor.box2box_transform.apply_deltas(deltas, corners).reshape(len(corners), -1, 4)
        if boxes.shape[1] == 1:  # one refinement for all classes
            boxes = boxes.expand(-1, labels.shape[1] - 1, -1)
        boxes = torch.cat([boxes[:, :1], boxes], 1)  # a column for the background, which `select` passes over
        extra = predicted[2] if len(predicted) > 2 else None
        parts = zip(batch, images.image_sizes, boxes.split(counts), labels.split(counts), pooled.split(counts),
                    extra.split(counts) if extra is not None else [None] * len(counts), strict=True)
        return [self._one(*part) for part in parts]

    def _pooled(self, features: dict[str, Tensor], boxes: list[Any]) -> Tensor:
        heads = self.model.roi_heads
        names = getattr(heads, "in_features", None) or heads.box_in_features
        held = [features[name] for name in names]
        if hasattr(heads, "_shared_roi_transform"):  # Res5ROIHeads
            return heads._shared_roi_transform(held, boxes).mean(dim=[2, 3])
        return heads.box_head(heads.box_pooler(held, boxes))

    def _one(self, one: Prepared, size: tuple[int, int], boxes: Tensor, labels: Tensor, features: Tensor,
             attributes: Tensor | None) -> Regions:
        rows, label, box = select(boxes.float(), labels, size, self._nms, self._rule)
        predictor = self.model.roi_heads.box_predictor
        if attributes is not None:
            attributes = attributes[rows]
        elif hasattr(predictor, "attribute_pred"):
            attributes = predictor.attribute_pred(features[rows], label - 1)
        scale = torch.tensor([one.width / size[1], one.height / size[0]] * 2, device=box.device)
        return Regions(
            one.width, one.height, boxes=as_array(box * scale, np.float32), features=as_array(features[rows], np.float16),
            confidence=as_array(labels[rows, label], np.float32), soft_labels=as_array(labels[rows], np.float16),
            classes=as_array(label, np.int32),
            attributes=as_array(attributes.argmax(-1), np.int32) if attributes is not None else None)


def _version() -> str:
    import detectron2

    return str(detectron2.__version__)
