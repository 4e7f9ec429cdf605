"""The detector protocol. Imports no model library, so it can be imported where none is installed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from PIL import Image

from schemas.errors import CmclError
from schemas.regions import Regions
from transforms.engines.registry import EngineError

ENGINES = ("embedded", "torchvision", "detectron2")
_FORMS = "embedded, torchvision:MODEL[@WEIGHTS], detectron2:CONFIG@WEIGHTS"


class DetectorError(EngineError):
    """An unavailable detector: the text says what is missing and which command or file provides it."""


class OutOfMemory(CmclError):
    """A batch does not fit into memory; a smaller one may."""


class Spec(NamedTuple):
    """A parsed specification: engine, model (a torchvision name or a detectron2 config; empty: embedded), weights or None."""

    engine: str
    model: str
    weights: str | None


@dataclass(frozen=True)
class DetectorInfo:
    """A detector's properties.

    fingerprint: equal fingerprints give equal regions for equal pixels on the same kind of machine. features: width of the pooled
    feature. classes: number of soft labels, including the background (column 0). names: of the columns, if known. attributes: number of
    attributes, 0 if the model has no attribute head. attribute_names: of these, if known.
    """

    fingerprint: str
    features: int
    classes: int
    names: tuple[str, ...] | None = None
    attributes: int = 0
    attribute_names: tuple[str, ...] | None = None


class Prepared(NamedTuple):
    """A preprocessed image: `pixels` in the engine's own format, `shape` the padded size (height, width) of its batch."""

    width: int
    height: int
    shape: tuple[int, int]
    pixels: Any


class Detector(Protocol):
    """Detects regions in images. `prepare` is thread-safe; `detect` serialises its callers."""

    @property
    def info(self) -> DetectorInfo:
        """The detector's properties."""

    @property
    def fingerprint(self) -> str:
        """`info.fingerprint`."""

    @property
    def device_kind(self) -> str:
        """The kind of machine that it runs on, in words: between kinds, the last bits of features differ."""

    @property
    def alone(self) -> bool:
        """Whether an image's regions are, bit for bit, the same whatever images are given with it."""

    def shape(self, width: int, height: int) -> tuple[int, int]:
        """The padded size (height, width) that an image of this size (px) is given: images of one padded size share a batch."""

    def prepare(self, image: Image.Image) -> Prepared:
        """Preprocesses an upright RGB image."""

    def detect(self, batch: Sequence[Prepared]) -> list[Regions]:
        """The regions of each image, in order; all must have the same shape. Raises OutOfMemory if the batch does not fit."""


def parse_spec(spec: str) -> Spec:
    """Parses a specification. Raises DetectorError if it has an unknown form or names a file that does not exist."""
    engine, colon, rest = spec.partition(":")
    model, at, weights = rest.partition("@")
    if engine == "embedded" and not colon:
        return Spec(engine, "", None)
    if engine not in ENGINES or engine == "embedded" or not model or (at and not weights):
        raise DetectorError(f"detector {spec!r} is not one of: {_FORMS}")
    if engine == "detectron2" and not weights:
        raise DetectorError(f"detector {spec!r} names no weights: detectron2:CONFIG@WEIGHTS, WEIGHTS a .pth or .safetensors file")
    if weights and is_file_name(weights) and not Path(weights).is_file():
        raise DetectorError(f"detector {spec!r}: file not found: {weights!r}")
    return Spec(engine, model, weights or None)


def is_file_name(weights: str) -> bool:
    """Whether WEIGHTS is a file rather than one of torchvision's names."""
    return "/" in weights or weights.endswith((".pth", ".pt", ".safetensors", ".pkl", ".bin"))
