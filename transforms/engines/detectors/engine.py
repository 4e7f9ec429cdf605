"""Base of the torch detectors: serialised calls, thread count, devices, and out-of-memory handling."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from schemas.regions import Regions
from schemas.rejects import Reason
from transforms.core.instructions import in_force
from transforms.engines.detectors.base import DetectorError, DetectorInfo, OutOfMemory, Prepared
from transforms.engines.detectors.select import Selection
from transforms.engines.detectors.settings import DetectorSettings
from transforms.engines.torch_threads import kernel_threads
from transforms.ingest.images.fetch import ImageError

_HALF = 65504.0  # the largest finite float16
# Messages of torch's allocators, the C++ library, and oneDNN, which gives no reason.
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "DefaultCPUAllocator", "bad_alloc",
              "could not create a primitive", "could not create a memory", "could not execute a primitive")  # fmt: skip


class Engine(ABC):
    """A loaded model; see `base.Detector`. `prepare` is thread-safe; `detect` serialises its callers."""

    def __init__(self, settings: DetectorSettings, info: DetectorInfo):
        self.settings = settings
        self.info = info
        self.device = torch.device(device_of(settings.device))
        self._rule = Selection(settings.threshold, settings.min_regions, settings.max_regions, settings.unique)
        self._lock = threading.Lock()

    @property
    def fingerprint(self) -> str:
        """`info.fingerprint`."""
        return self.info.fingerprint

    @property
    def device_kind(self) -> str:
        """The kind of machine whose kernels run: the GPU's name, or "cpu" and the vector instructions in force."""
        if self.device.type == "cuda":
            return str(torch.cuda.get_device_name(self.device))
        return f"cpu {in_force()}"

    def detect(self, batch: Sequence[Prepared]) -> list[Regions]:
        """The regions of images of one shape. Raises OutOfMemory if they do not fit into memory at once."""
        with self._lock, kernel_threads(self.settings.threads):
            try:
                with torch.inference_mode():
                    if self.device.type == "cuda":
                        return self._detect(batch)
                    return [found for one in batch for found in self._detect([one])]  # bits depend on the size of a batch
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                reason = f"{len(batch)} images of {batch[0].shape} did not fit: {error}"
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        raise OutOfMemory(reason)

    @property
    def alone(self) -> bool:
        """On a CPU an image's regions are the same whatever images are given with it: each has a batch of its own."""
        return self.device.type == "cpu"

    @abstractmethod
    def _detect(self, batch: Sequence[Prepared]) -> list[Regions]:
        """`detect` without error handling."""

    def _autocast(self) -> torch.autocast:
        """Autocast to the configured precision."""
        precision = getattr(torch, self.settings.precision)
        return torch.autocast(self.device.type, precision, enabled=precision != torch.float32)

    def _padded(self, width: int, height: int, wide: int, tall: int) -> tuple[int, int]:
        """The padded size (height, width) of an image of `width` x `height` pixels that is resized to `wide` x `tall`.

        Raises ImageError if the image is so narrow that nothing of it is left.
        """
        if min(tall, wide) < 1:
            raise ImageError(Reason.IMAGE_TOO_SMALL, f"{width} x {height} pixels: too narrow, it would be resized to {wide} x {tall}")
        step = self.settings.bucket
        return -(-tall // step) * step, -(-wide // step) * step


def check_widths(info: DetectorInfo, features: int, classes: int, where: str) -> None:
    """Raises DetectorError if a model's widths differ from those in `info`, determined before it was loaded."""
    if (info.features, info.classes) != (features, classes):
        raise DetectorError(
            f"{where} gives features of width {features} and {classes} soft labels, but {info.features} and {info.classes} were expected"
        )


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception of torch means out of memory, on a GPU or a CPU."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(text in str(error) for text in _NO_MEMORY)


def as_array(values: Tensor, kind: Any) -> np.ndarray:
    """The values as a contiguous numpy array of dtype `kind`."""
    if values.is_floating_point():
        values = values.float().clamp(-_HALF, _HALF) if kind == np.float16 else values.float()
    return np.ascontiguousarray(values.cpu().numpy().astype(kind))


def device_of(wanted: str) -> str:
    """Resolves a device setting to "cuda" or "cpu". Raises DetectorError if a GPU is required but not available."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise DetectorError("device cuda: torch finds no GPU (check with nvidia-smi); use auto or cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted
