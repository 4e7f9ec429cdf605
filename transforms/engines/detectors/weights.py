"""Weights from files, read without running anything that a file holds."""

from __future__ import annotations

import json
import zipfile
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
    _check_stored(path)
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
    for name, value in held.items():
        if not isinstance(name, str) or value.layout != torch.strided or value.is_meta or _spread(value):
            raise DetectorError(f"{path}: {str(name)[:100]} is no plain tensor: of shape {tuple(value.shape)}, it is sparse, without data, "
                                "or says more numbers than it holds; save value.clone() of each tensor")
    return {name.removeprefix("module."): value for name, value in held.items()}, {}


def _check_stored(path: str | Path) -> None:
    """Raises DetectorError for an archive whose members are compressed: torch stores them as they are, so they unpack to what they are."""
    try:
        with zipfile.ZipFile(path) as archive:
            packed = any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return  # torch's older format, or none of its own: torch.load says so
    if packed:
        raise DetectorError(f"{path} is a compressed archive, which torch.save never makes; save it anew")


def _spread(value: Tensor) -> bool:
    """Whether a tensor says more numbers than its storage holds (strides of 0): copied, it would take what its file does not have."""
    return value.numel() * value.element_size() > value.untyped_storage().nbytes()


def _read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise DetectorError(f"{path} needs the package safetensors: pip install safetensors") from error
    try:
        with safe_open(str(path), "pt") as file:
            said = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, said  # noqa: SIM118 - not a mapping
    except Exception as error:
        raise DetectorError(f"{path} is no whole safetensors file: {error}") from error


def class_names(said: dict[str, Any], classes: int, where: str | Path) -> tuple[str, ...] | None:
    """The names in a safetensors file's metadata (`classes`: a JSON list, background first), None when there are none.

    Raises DetectorError when there are not as many as the model has classes.
    """
    if "classes" not in said:
        return None
    try:
        names = json.loads(said["classes"])
    except (ValueError, TypeError, RecursionError):
        names = None
    if not isinstance(names, list) or len(names) != classes or not all(isinstance(name, str) for name in names):
        raise DetectorError(f"{where}: its metadata 'classes' must be a JSON list of {classes} strings")
    return tuple(names)
