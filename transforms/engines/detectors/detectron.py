"""Regions from a detectron2 Faster R-CNN: an optional engine, imported only if configured.

Works with detectron2's `StandardROIHeads` and `Res5ROIHeads`. An attribute head, if present, may have either form of the Visual Genome
detectors for detectron2: `box_predictor(features)` returns attribute scores in addition to scores and deltas (bottom-up-attention, whose
last attribute means "none"), or `roi_heads.attribute_predictor(features, classes)` is a module (grid features).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor

from schemas.regions import Regions
from transforms.engines.detectors.base import DetectorError, DetectorInfo, Prepared, Spec
from transforms.engines.detectors.engine import Engine, as_array, check_widths, device_of
from transforms.engines.detectors.identity import identify
from transforms.engines.detectors.select import select
from transforms.engines.detectors.settings import DetectorSettings
from transforms.engines.detectors.weights import names_in, read_weights
from transforms.engines.registry import file_digest

INSTALL = "pip install 'git+https://github.com/facebookresearch/detectron2.git'  (it is not on the package index)"
_CONSTANTS = ("pixel_mean", "pixel_std", "anchor_generator.cell_anchors")  # stored only by some versions of detectron2


def load_detectron2(spec: Spec, settings: DetectorSettings) -> Detectron2Detector:
    """Loads a model from a config file and a checkpoint of plain tensors.

    Raises DetectorError if detectron2 is not installed, the config is missing or invalid, or the weights are a pickle or do not fit.
    """
    try:
        from detectron2.config import get_cfg
        from detectron2.modeling import build_model
    except ImportError as error:
        raise DetectorError(f"detector {settings.detector!r} requires detectron2 ({error}): run {INSTALL}") from error
    assert spec.weights is not None
    if not Path(spec.model).is_file():
        raise DetectorError(f"detector {settings.detector!r}: config not found: {spec.model!r}")
    if spec.weights.endswith(".pkl"):
        raise DetectorError(
            f"{spec.weights} is a pickle, which could run arbitrary code; save the model's state dictionary with "
            "torch.save(model.state_dict(), FILE.pth) or as safetensors"
        )
    config = _config_of(get_cfg(), spec.model)
    # Includes its base configs; taken before the device is set, which is not part of the model's identity.
    identity = ["detectron2", _version(), config.dump(), file_digest(spec.weights)]
    config.MODEL.DEVICE = device_of(settings.device)
    model = build_model(config)
    state, metadata = read_weights(spec.weights)
    _fill(model, state, spec)
    last, attributes = model.roi_heads.box_predictor.cls_score, attributes_of(config)
    names = (names_in(metadata, what, count, spec.weights) for what, count in (("classes", last.out_features), ("attributes", attributes)))
    classes, named = names
    info = DetectorInfo(identify(identity, settings), last.in_features, last.out_features, classes, attributes, named)
    return Detectron2Detector(model, config, info, settings)


def _config_of(config: Any, path: str) -> Any:
    """detectron2's defaults updated from a file. Raises DetectorError if the file is not plain YAML with detectron2's settings."""
    config.set_new_allowed(True)  # attribute heads have additional keys
    try:
        config.merge_from_file(path, allow_unsafe=False)  # the default would execute code in the YAML
    except (yaml.YAMLError, LookupError, ValueError, TypeError, AssertionError) as error:
        raise DetectorError(f"{path} is not a detectron2 config: {type(error).__name__}: {str(error)[:400]}") from error
    return config


def _fill(model: Any, state: dict[str, Tensor], spec: Spec) -> None:
    """Loads the weights into the model. Raises DetectorError unless they match exactly, apart from constants set by the config."""
    try:
        missing, unknown = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # other shapes
        raise DetectorError(f"{spec.weights} does not fit {spec.model}: {str(error)[:400]}") from error
    wrong = [name for name in (*missing, *unknown) if not any(part in name for part in _CONSTANTS)]
    if wrong:
        raise DetectorError(f"{spec.weights} does not fit {spec.model}: missing or unknown: {', '.join(wrong)[:400]}")


def attributes_of(config: Any) -> int:
    """The number of attributes of a config's model, 0 without an attribute head."""
    box_head = config.MODEL.ROI_BOX_HEAD
    if getattr(box_head, "ATTR", False):
        return int(box_head.NUM_ATTRS)
    return int(getattr(getattr(config.MODEL, "ROI_ATTRIBUTE_HEAD", None), "NUM_CLASSES", 0))


class Detectron2Detector(Engine):
    """A loaded detectron2 model.

    Soft labels are returned with the background first; detectron2 has it last. Raises DetectorError if the model's widths differ from
    those in `info`.
    """

    def __init__(self, model: Any, config: Any, info: DetectorInfo, settings: DetectorSettings):
        from detectron2.data.transforms import ResizeShortestEdge

        super().__init__(settings, info)
        last = model.roi_heads.box_predictor.cls_score
        check_widths(info, last.in_features, last.out_features, settings.detector)
        self.model = model.eval()
        self._resize = ResizeShortestEdge(config.INPUT.MIN_SIZE_TEST, config.INPUT.MAX_SIZE_TEST)
        self._format = config.INPUT.FORMAT
        self._nms = float(config.MODEL.ROI_HEADS.NMS_THRESH_TEST)

    def shape(self, width: int, height: int) -> tuple[int, int]:
        """The padded size (height, width) of an image of this size. Raises ImageError if resizing would leave nothing of it."""
        change = self._resize.get_transform(np.broadcast_to(np.zeros((), np.uint8), (height, width, 3)))
        return self._padded(width, height, change.new_w, change.new_h)

    def prepare(self, image: Image.Image) -> Prepared:
        """Resizes like detectron2's predictor; the model normalises."""
        pixels = np.asarray(image)
        pixels = pixels[:, :, ::-1] if self._format == "BGR" else pixels
        resized = self._resize.get_transform(pixels).apply_image(pixels)
        tensor = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)).astype(np.float32))
        return Prepared(image.width, image.height, self.shape(image.width, image.height), tensor)

    def _detect(self, batch: Sequence[Prepared]) -> list[Regions]:
        model, heads = self.model, self.model.roi_heads
        images = model.preprocess_image([{"image": one.pixels, "height": one.height, "width": one.width} for one in batch])
        with self._autocast():
            features = model.backbone(images.tensor)
            proposals, _ = model.proposal_generator(images, features, None)
            pooled = self._pooled(features, [found.proposal_boxes for found in proposals]).flatten(1)
            logits, deltas, extra = self._split_outputs(heads.box_predictor(pooled))
        counts = [len(found) for found in proposals]
        labels = torch.softmax(logits.float(), -1).roll(1, -1)  # move the background from last to first
        corners = torch.cat([found.proposal_boxes.tensor for found in proposals])
        coder = getattr(heads.box_predictor, "box2box_transform", None) or heads.box2box_transform  # its location before detectron2 0.2
        boxes = coder.apply_deltas(deltas.float(), corners).reshape(len(corners), -1, 4)
        if boxes.shape[1] == 1:  # one refinement for all classes
            boxes = boxes.expand(-1, labels.shape[1] - 1, -1)
        boxes = torch.cat([boxes[:, :1], boxes], 1)  # a column for the background, which `select` skips
        parts = zip(
            batch,
            images.image_sizes,
            boxes.split(counts),
            labels.split(counts),
            pooled.split(counts),
            extra.split(counts) if extra is not None else [None] * len(counts),
            strict=True,
        )
        return [self._one(*part) for part in parts]

    def _split_outputs(self, predicted: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Scores, deltas, and attribute scores or None: scores come first, and deltas are identified by their layer's width."""
        scores, *others = predicted
        if len(others) == 1:
            return scores, others[0], None
        width = self.model.roi_heads.box_predictor.bbox_pred.out_features
        deltas, attributes = others if others[0].shape[1] == width else reversed(others)
        return scores, deltas, attributes[:, : self.info.attributes or None]

    def _pooled(self, features: dict[str, Tensor], boxes: list[Any]) -> Tensor:
        heads = self.model.roi_heads
        names = getattr(heads, "in_features", None) or heads.box_in_features
        held = [features[name] for name in names]
        if hasattr(heads, "_shared_roi_transform"):  # Res5ROIHeads
            return heads._shared_roi_transform(held, boxes).mean(dim=[2, 3])
        return heads.box_head(heads.box_pooler(held, boxes))

    def _one(
        self, one: Prepared, size: tuple[int, int], boxes: Tensor, labels: Tensor, features: Tensor, attributes: Tensor | None
    ) -> Regions:
        rows, label, box = select(boxes.float(), labels, size, self._nms, self._rule)
        predictor = getattr(self.model.roi_heads, "attribute_predictor", None)
        if attributes is not None:
            attributes = attributes[rows]
        elif predictor is not None:
            attributes = predictor(features[rows], label - 1)
        scale = torch.tensor([one.width / size[1], one.height / size[0]] * 2, device=box.device)
        return Regions(
            one.width,
            one.height,
            boxes=as_array(box * scale, np.float32),
            features=as_array(features[rows], np.float16),
            confidence=as_array(labels[rows, label], np.float32),
            soft_labels=as_array(labels[rows], np.float16),
            classes=as_array(label, np.int32),
            attributes=as_array(attributes.argmax(-1), np.int32) if attributes is not None else None,
        )


def _version() -> str:
    import detectron2

    return str(detectron2.__version__)
