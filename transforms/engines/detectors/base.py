"""What a detector is to the stages that use one. Imports no model library, so that it can be read where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image

from schemas.errors import CmclError
from transforms.engines.registry import EngineError

ENGINES = ("embedded", "torchvision", "detectron2")
_FORMS = "embedded, torchvision:MODEL[@WEIGHTS], detectron2:CONFIG@WEIGHTS"


class DetectorError(EngineError):
    """A detector that cannot be had: the text says what is missing and which command or file supplies it."""


class OutOfMemory(CmclError):
    """The model had no room for a batch; a smaller one may fit."""


class Spec(NamedTuple):
    """A parsed specification: engine, model (a torchvision name or a detectron2 config; empty: embedded), weights or None."""

    engine: str
    model: str
    weights: str | None


@dataclass(frozen=True)
class DetectorInfo:
    """What is known of a detector without an image.

    fingerprint: the same, the same regions from the same pixels on the same kind of machine. features: width of the pooled feature.
    classes: number of soft labels, the background (column 0) included. names: of the columns, where they are known. attributes:
    number of attributes, 0 when the model has no attribute head.
    """

    fingerprint: str
    features: int
    classes: int
    names: tuple[str, ...] | None = None
    attributes: int = 0


class Regions(NamedTuple):
    """The regions of one image, by falling confidence.

    width, height: of the image upright, px. boxes: float32 [n, 4], xyxy in its pixels. confidence: float32 [n]. features:
    float16 [n, D]. soft_labels: float16 [n, C], column 0 the background. classes: int32 [n], columns of soft_labels.
    attributes: int32 [n]. What is None is not known.
    """

    width: int
    height: int
    boxes: np.ndarray
    features: np.ndarray
    confidence: np.ndarray | None = None
    soft_labels: np.ndarray | None = None
    classes: np.ndarray | None = None
    attributes: np.ndarray | None = None


class Prepared(NamedTuple):
    """An image as its model wants it: `pixels` is the engine's own, `shape` the padded size (height, width) of its batch."""

    width: int
    height: int
    shape: tuple[int, int]
    pixels: Any


class Detector(Protocol):
    """Images in, regions out. `prepare` may run in any thread; `detect` serialises itself."""

    @property
    def info(self) -> DetectorInfo:
        """What is known of it."""

    @property
    def fingerprint(self) -> str:
        """That of `info`."""

    @property
    def device_kind(self) -> str:
        """The kind of machine that it runs on, in words: between kinds, the last bits of features differ."""

    def shape(self, width: int, height: int) -> tuple[int, int]:
        """The padded size (height, width) that an image of this size (px) comes to have: images of one shape share a batch."""

    def prepare(self, image: Image.Image) -> Prepared:
        """An upright RGB image, made ready."""

    def detect(self, batch: Sequence[Prepared]) -> list[Regions]:
        """The regions of each image, in order. All have one shape. Raises OutOfMemory when the batch does not fit."""


def parse_spec(spec: str) -> Spec:
    """The parts of a specification. Raises DetectorError for one that has no known form, or names a file that is not there."""
    engine, colon, rest = spec.partition(":")
    model, at, weights = rest.partition("@")
    if engine == "embedded" and not colon:
        return Spec(engine, "", None)
    if engine not in ENGINES or engine == "embedded" or not model or (at and not weights):
        raise DetectorError(f"detector {spec!r} is none of: {_FORMS}")
    if engine == "detectron2" and not weights:
        raise DetectorError(f"detector {spec!r} names no weights: detectron2:CONFIG@WEIGHTS, WEIGHTS a .pth or .safetensors file")
    if weights and is_file_name(weights) and not Path(weights).is_file():
        raise DetectorError(f"detector {spec!r}: there is no file {weights!r}")
    return Spec(engine, model, weights or None)


def is_file_name(weights: str) -> bool:
    """Whether WEIGHTS stands for a file, and not for a name of torchvision's."""
    return "/" in weights or weights.endswith((".pth", ".pt", ".safetensors", ".pkl", ".bin"))
