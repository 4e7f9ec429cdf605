"""Logs of a training: a CSV file, TensorBoard's event files, and the figures in them."""

from __future__ import annotations

import csv
import fcntl
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from model import parallel
from model.batch import Batch
from model.config import TrainSettings
from schemas import files
from schemas.errors import ConfigError

# Peak dense operations per second in bfloat16, as stated by the manufacturers (H100 and H200: SXM).
PEAKS = {"B200": 2250e12, "H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12,
         "RTX 4090": 165e12}  # fmt: skip


class Log:
    """Writes rows to `log.csv` in a local folder, and to TensorBoard if requested; first removes rows after the step `resumed`.

    Raises ConfigError when TensorBoard is requested but not installed, the folder is not local, or another run is writing to it.
    """

    def __init__(self, folder: str, columns: Sequence[str], resumed: int, tensorboard: bool):
        if not files.is_local(folder):
            raise ConfigError(f"output: {folder} is not a local folder")
        folder = files.local_path(folder)
        os.makedirs(folder, exist_ok=True)
        self._lock = open(os.path.join(folder, ".lock"), "w")
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock's, not held by loader processes that outlive a kill
        except (BlockingIOError, PermissionError):
            self._lock.close()
            raise ConfigError(f"output: another run is writing to {folder}: wait for it, or choose another folder") from None
        path = os.path.join(folder, "log.csv")
        kept = _rows(path, resumed)
        self._file = open(f"{path}.tmp", "w", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, columns, restval="", extrasaction="raise")
        self._writer.writeheader()
        self._writer.writerows({key: row.get(key, "") for key in columns} for row in kept)
        self._file.flush()
        os.replace(f"{path}.tmp", path)
        self._board: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise ConfigError(
                    "tensorboard: true requires the package tensorboard: pip install 'cmcl[train]', or set tensorboard: false"
                ) from None
            self._board = SummaryWriter(os.path.join(folder, "tensorboard"), purge_step=resumed + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Writes one row; a value that is not finite (such as one that does not apply) stays empty."""
        known = {key: value for key, value in values.items() if math.isfinite(value)}
        self._writer.writerow({"step": step, **{key: f"{value:.6g}" for key, value in known.items()}})
        self._file.flush()
        for key, value in known.items() if self._board else ():
            self._board.add_scalar(key, value, step)

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        self._lock.close()
        if self._board:
            self._board.close()


def _rows(path: str, resumed: int) -> list[dict[str, str]]:
    """The rows of an earlier log up to the step `resumed`, without a truncated last line."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        return []
    return [row for row in rows if (row.get("step") or "").isdigit() and int(row["step"]) <= resumed]


def real_share(batches: Sequence[Batch]) -> float:
    """The share of images' regions and texts' tokens that are not padding."""
    real = cells = 0
    for batch in batches:
        for lengths, size in (
            (batch.images.counts, batch.images.boxes.shape[1]) if batch.images else (None, 0),
            (batch.texts.lengths, batch.texts.ids.shape[1]) if batch.texts else (None, 0),
        ):
            if lengths is not None:
                real, cells = real + int(lengths.sum()), cells + len(lengths) * size
    return real / max(1, cells)


def peak(device: torch.device, precision: str) -> float | None:
    """The device's peak operations per second; None if unknown, as for CPUs and in float32."""
    if device.type != "cuda" or precision != "bfloat16":
        return None
    name = torch.cuda.get_device_name(device)
    return next((value for key, value in PEAKS.items() if key in name), None)


class Window:
    """Times and counts since the last line of the log."""

    def __init__(self, settings: TrainSettings, device: torch.device):
        self._peak = peak(device, settings.precision)
        self._packed = settings.model.attention != "dense"  # no operations go into padding: in bfloat16, auto packs too
        self._start = time.perf_counter()
        self._wait = self._last = 0.0
        self._samples = 0
        self._real: list[float] = []

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the block's duration as time spent waiting for data."""
        start = self._last = time.perf_counter()
        yield
        self._wait += time.perf_counter() - start

    def saw(self, batches: list[Batch]) -> None:
        """Counts the batches of one update."""
        self._samples += sum(map(len, batches)) * parallel.world()
        self._real.append(real_share(batches))

    def close(self, flops: float) -> dict[str, float]:
        """The figures of the line; `flops`: operations of the last update, over all processes, including padding."""
        now = time.perf_counter()
        values = {
            "samples_per_second": self._samples / (now - self._start),
            "wait": self._wait / (now - self._start),
            "padding": 1 - sum(self._real) / len(self._real),
        }
        if self._peak:
            values["mfu"] = flops * (1.0 if self._packed else self._real[-1]) / (now - self._last) / (self._peak * parallel.world())
        self._start, self._wait, self._samples, self._real = now, 0.0, 0, []
        return values
