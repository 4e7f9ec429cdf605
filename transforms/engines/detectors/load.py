"""Loads detectors by specification, once per process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from transforms.engines.detectors.base import Detector, DetectorError, DetectorInfo, Spec, is_file_name, parse_spec
from transforms.engines.detectors.identity import identify, missing_packages, versions
from transforms.engines.detectors.settings import DetectorSettings
from transforms.engines.models import fetched, model_folder, models_folder
from transforms.engines.registry import file_digest, loaded_once

EMBEDDED = Path(__file__).parent / "embedded"
# Digest of torchvision's COCO_V1 weights of fasterrcnn_resnet50_fpn, which it runs without an epsilon in the normalisation.
_NO_EPSILON = "258fb6c6"


@loaded_once
def detector(settings: DetectorSettings) -> Detector:
    """The detector for these settings; the same object for equal settings throughout a process.

    Raises DetectorError, naming what is missing and how to get it, if it is unavailable.
    """
    spec = parse_spec(settings.detector)
    try:
        import torch  # noqa: F401
        import torchvision  # noqa: F401
    except ImportError as error:
        raise missing_packages(settings.detector, error) from error
    if spec.engine == "embedded":
        return load_embedded(settings)
    if spec.engine == "torchvision":
        return _load_torchvision(spec, settings)
    from transforms.engines.detectors.detectron import load_detectron2

    return load_detectron2(spec, settings)


def describe(settings: DetectorSettings) -> DetectorInfo:
    """The properties of the detector for these settings. Raises as `detector` does.

    The embedded detector, whose files cannot belong to another model, is not loaded, nor torch imported, unless a GPU is required, which
    must be checked. Any other is loaded, to check that weights and model fit before any work is done.
    """
    if parse_spec(settings.detector).engine == "embedded" and settings.device != "cuda":
        return embedded_info(settings)
    return detector(settings).info


def embedded_info(settings: DetectorSettings, folder: Path = EMBEDDED) -> DetectorInfo:
    """The compact detector's properties, from its files. Raises DetectorError if they or the required packages are missing."""
    described, weights = folder / "detector.json", folder / "detector.safetensors"
    if not (described.is_file() and weights.is_file()):
        raise DetectorError(
            f"the embedded detector is missing ({weights}): reinstall the package, or create it with "
            "`python -m transforms.engines.training.detector.train` and `python -m transforms.engines.training.detector.export`"
        )
    description = _described(described)
    versions(settings.detector, ["safetensors"])
    mark = identify(["embedded", file_digest(described), file_digest(weights)], settings)
    classes, attributes = tuple(description["classes"]), tuple(description.get("attributes", ()))
    return DetectorInfo(mark, description["size"]["features"], len(classes), classes, len(attributes), attributes or None)


def _described(path: Path) -> dict[str, Any]:
    """The content of detector.json. Raises DetectorError if `transforms.engines.training.detector.export` could not have written it."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        valid = (
            type(held["size"]["features"]) is int
            and isinstance(held["settings"], dict)
            and all(isinstance(held.get(part, []), list) for part in ("classes", "attributes"))
            and all(isinstance(name, str) for name in (*held["classes"], *held.get("attributes", [])))
        )
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        valid = False
    if not valid:
        raise DetectorError(f"{path} does not describe a detector (size, settings, classes): reinstall the package")
    found: dict[str, Any] = held
    return found


def load_embedded(settings: DetectorSettings, folder: Path = EMBEDDED) -> Detector:
    """The compact detector of this package (`docs/model_cards/detector.md`). Raises as `embedded_info` does."""
    info = embedded_info(settings, folder)
    from transforms.engines.detectors.compact import CompactSize, compact_detector, folded
    from transforms.engines.detectors.faster_rcnn import FasterRcnnDetector
    from transforms.engines.detectors.weights import read_weights

    description = _described(folder / "detector.json")
    state, _ = read_weights(folder / "detector.safetensors")
    try:
        model = compact_detector(CompactSize.from_json(description["size"]), **description["settings"])
        model.load_state_dict({name: value.float() if value.is_floating_point() else value for name, value in state.items()})
    except Exception as error:
        raise DetectorError(
            f"{folder}: detector.json and detector.safetensors do not fit each other ({str(error)[:300]}): reinstall the package"
        ) from error
    return FasterRcnnDetector(folded(model), info, settings)


def _load_torchvision(spec: Spec, settings: DetectorSettings) -> Detector:
    from torchvision.models import detection as room
    from torchvision.models import get_model_builder, list_models

    from transforms.engines.detectors.faster_rcnn import FasterRcnnDetector, classifier_shape
    from transforms.engines.detectors.weights import names_in, read_weights

    known = [name for name in list_models(room) if name.startswith("fasterrcnn")]
    if spec.model not in known:
        raise DetectorError(f"detector {settings.detector!r}: torchvision has no Faster R-CNN {spec.model!r}; it has {', '.join(known)}")
    names: tuple[str, ...] | None = None
    if spec.weights and is_file_name(spec.weights):
        path = spec.weights
    else:
        path, names = _file_of_weights(spec, settings.detector)
    state, metadata = read_weights(path)
    last = state.get("roi_heads.box_predictor.cls_score.weight")
    if last is None:
        raise DetectorError(f"{path} is not a torchvision Faster R-CNN: it has no roi_heads.box_predictor.cls_score.weight")
    model = get_model_builder(spec.model)(weights=None, weights_backbone=None, num_classes=len(last))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise DetectorError(f"{path} does not fit {spec.model}: {str(error)[:400]}") from error
    digest = file_digest(path)
    if digest.startswith(_NO_EPSILON):
        for module in model.modules():
            if hasattr(module, "eps") and hasattr(module, "running_mean"):
                module.eps = 0.0
    mark = identify(["torchvision", spec.model, digest], settings)
    names = names or names_in(metadata, "classes", len(last), path)
    return FasterRcnnDetector(model, DetectorInfo(mark, *classifier_shape(model), names), settings)


def fetched_weights(model: str, weights: str) -> str:
    """The name, among fetched models, of torchvision's own weights."""
    return f"download.pytorch.org/{model}@{weights}"


def named_weights(spec: Spec, text: str) -> Any:
    """The entry (name, url, meta) of torchvision's own weights; `text` is the specification. Raises DetectorError if it has none."""
    from torchvision.models import get_model_weights

    enum: Any = get_model_weights(spec.model)
    name = (spec.weights or "DEFAULT").rpartition(".")[2]
    if name not in enum.__members__:
        raise DetectorError(
            f"detector {text!r}: {spec.model} has no weights {name!r}; torchvision has {', '.join(enum.__members__)}, "
            "or name a file (.pth, .safetensors)"
        )
    return enum[name]


def _file_of_weights(spec: Spec, text: str) -> tuple[str, tuple[str, ...]]:
    """The file of torchvision's own weights, fetched before or in torch's cache, and its class names."""
    import torch

    weights = named_weights(spec, text)
    names = tuple(weights.meta["categories"])
    name = fetched_weights(spec.model, weights.name)
    file = Path(urlparse(weights.url).path).name
    if model_folder(name).exists():
        return str(fetched(name, DetectorError) / file), names
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if not path.is_file():
        raise DetectorError(
            f"detector {text!r}: its weights are neither in {models_folder()} nor {path}: run `cmcl fetch CONFIG`, "
            f"or name a file: torchvision:{spec.model}@FILE"
        )
    return str(path), names
