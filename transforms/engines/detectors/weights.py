"""Weights from files, read without running anything that a file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transforms.engines.detectors.base import DetectorError


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A state by name, and what the file says of it (safetensors metadata, else empty).

    Raises DetectorError when the file is neither safetensors nor a checkpoint of plain tensors; pickled objects are refused, not run.
    """
    if str(path).endswith(".safetensors"):
        return _read_safetensors(path)
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds here: pickle, zip and runtime errors among them
        raise DetectorError(f"{path} holds more than tensors, or is no checkpoint ({type(error).__name__}: {str(error)[:200]}); "
                            "save it anew with torch.save(model.state_dict(), FILE) or as safetensors") from error
    for key in ("model", "state_dict"):
        if isinstance(held, dict) and isinstance(held.get(key), dict):
            held = held[key]
    if not isinstance(held, dict) or not held or not all(isinstance(value, Tensor) for value in held.values()):
        raise DetectorError(f"{path} holds no state dictionary (names and tensors)")
    return {name.removeprefix("module."): value for name, value in held.items()}, {}


def _read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise DetectorError(f"{path} needs the package safetensors: pip install safetensors") from error
    try:
        with safe_open(str(path), "pt") as file:
            said = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, said  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise DetectorError(f"{path} is no whole safetensors file: {error}") from error


def class_names(said: dict[str, Any], classes: int, where: str | Path) -> tuple[str, ...] | None:
    """The names in a safetensors file's metadata (`classes`: a JSON list, background first), None when there are none.

    Raises DetectorError when there are not as many as the model has classes.
    """
    if "classes" not in said:
        return None
    names = json.loads(said["classes"])
    if not isinstance(names, list) or len(names) != classes or not all(isinstance(name, str) for name in names):
        raise DetectorError(f"{where}: its metadata 'classes' must be a JSON list of {classes} strings")
    return tuple(names)
