"""The settings of region detection."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from transforms.core.params import Params
from transforms.engines.detectors.base import parse_spec


class DetectorSettings(Params):
    """Settings of the stages `regions` and `image_regions`.

    Raises pydantic.ValidationError, naming the key and what is allowed, on an unknown key or a value out of range.
    """

    detector: str = Field(
        default="embedded",
        description="embedded, torchvision:MODEL[@WEIGHTS] or detectron2:CONFIG@WEIGHTS; WEIGHTS is a file "
        "(.safetensors, .pth) or a torchvision name",
    )
    # The rule of UNITER's region files: 0.2, 10, 100.
    threshold: float = Field(default=0.2, ge=0, le=1, description="keep regions with a confidence above this")
    min_regions: int = Field(
        default=10, ge=0, le=1000, description="keep at least this many of the most confident regions, whatever the threshold"
    )
    max_regions: int = Field(default=100, ge=1, le=1000, description="maximum number of regions per image")
    unique: bool = Field(
        default=True,
        description="one region per proposal, with its most confident class; false: one per surviving class, as in "
        "torchvision's own output",
    )
    threads: int = Field(
        default=1, ge=1, le=1024, description="number of threads in the model's kernels; it may affect the last bits of the output"
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="precision of the model's matrix products (mixed precision)"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: the first GPU, if there is one")
    batch: int = Field(default=8, ge=1, le=1024, description="images per batch on a GPU; a CPU processes them singly")
    bucket: int = Field(
        default=32,
        ge=32,
        le=1024,
        description="resized images are padded to a multiple of this (itself a multiple of 32), and images of "
        "the same padded size share batches",
    )
    window: int = Field(default=64, ge=1, le=4096, description="number of rows in which images of equal size are grouped; limits memory")
    readers: int = Field(default=2, ge=1, le=64, description="number of threads that decode images ahead of the model")

    @field_validator("detector")
    @classmethod
    def _known(cls, value: str) -> str:
        parse_spec(value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> DetectorSettings:
        if self.min_regions > self.max_regions:
            raise ValueError(f"min_regions ({self.min_regions}) must not exceed max_regions ({self.max_regions})")
        if self.bucket % 32:
            raise ValueError(f"bucket must be a multiple of 32, not {self.bucket}")
        if self.precision == "float16" and self.device == "cpu":
            raise ValueError("precision float16 requires a GPU; on a CPU use float32 or bfloat16")
        return self
