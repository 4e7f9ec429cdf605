"""The settings of region detection."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from transforms.core.params import Params
from transforms.engines.detectors.base import parse_spec


class DetectorSettings(Params):
    """What the stages `regions` and `image_regions` are told.

    Raises pydantic.ValidationError, naming the key and what is allowed, on an unknown key or a value out of range.
    """

    detector: str = Field(
        default="embedded", description="embedded, torchvision:MODEL[@WEIGHTS] or detectron2:CONFIG@WEIGHTS; WEIGHTS is a file "
        "(.safetensors, .pth) or a name of torchvision's")
    # The rule by which UNITER's region files are made: 0.2, 10, 100.
    threshold: float = Field(default=0.2, ge=0, le=1, description="regions more confident than this are kept")
    min_regions: int = Field(default=10, ge=0, le=1000, description="the most confident ones that are kept below the threshold too")
    max_regions: int = Field(default=100, ge=1, le=1000, description="regions of an image at most")
    unique: bool = Field(
        default=True, description="one region a proposal, with its most confident class; false: one for each class that survives, as "
        "torchvision's own output has it")
    threads: int = Field(
        default=1, ge=1, le=1024, description="threads in the model's kernels; what another number writes may differ in bits")
    precision: Literal["float32", "bfloat16", "float16"] = Field(default="float32", description="of the model's products (mixed precision)")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: the first GPU where there is one")
    batch: int = Field(default=8, ge=1, le=1024, description="images that the model sees at once")
    bucket: int = Field(
        default=32, ge=32, le=1024, description="resized images are padded to multiples of this (a multiple of 32), and those of one "
        "padded size share batches")
    window: int = Field(default=64, ge=1, le=4096, description="rows among which images of one size are looked for, a bound on memory")
    readers: int = Field(default=2, ge=1, le=64, description="threads that decode ahead of the model")

    @field_validator("detector")
    @classmethod
    def _known(cls, value: str) -> str:
        parse_spec(value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> DetectorSettings:
        if self.min_regions > self.max_regions:
            raise ValueError(f"min_regions ({self.min_regions}) must not pass max_regions ({self.max_regions})")
        if self.bucket % 32:
            raise ValueError(f"bucket must be a multiple of 32, not {self.bucket}")
        if self.precision == "float16" and self.device == "cpu":
            raise ValueError("precision float16 needs a GPU; on a CPU take float32 or bfloat16")
        return self
