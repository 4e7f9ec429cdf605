"""Reads weights without executing anything in the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from schemas.torch_files import why_oversized
from transforms.engines.detectors.base import DetectorError


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state dictionary, and the file's metadata (safetensors only, else empty).

    Raises DetectorError if the file is neither safetensors nor a checkpoint of plain tensors; pickled objects are refused, not executed.
    """
    if str(path).endswith(".safetensors"):
        return _read_safetensors(path)
    if why := _oversized(path):
        raise DetectorError(f"{path} {why}; save it again")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types here, e.g. pickle, zip and runtime errors
        raise DetectorError(
            f"{path} contains more than tensors, or is not a checkpoint ({type(error).__name__}: {str(error)[:200]}); "
            "save it again with torch.save(model.state_dict(), FILE) or as safetensors"
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(held, dict) and isinstance(held.get(key), dict):
            held = held[key]
    if not isinstance(held, dict) or not held or not all(isinstance(value, Tensor) for value in held.values()):
        raise DetectorError(f"{path} is not a state dictionary (names and tensors)")
    for name, value in held.items():
        if not isinstance(name, str) or value.layout != torch.strided or value.is_meta or _exceeds_storage(value):
            raise DetectorError(
                f"{path}: {str(name)[:100]} is not a plain tensor: with shape {tuple(value.shape)}, it is sparse, "
                "without data or larger than its storage; save value.clone() of each tensor"
            )
    return {name.removeprefix("module."): value for name, value in held.items()}, {}


def _oversized(path: str | Path) -> str:
    try:
        return why_oversized(path)
    except OSError:
        return ""  # torch.load reports it


def _exceeds_storage(value: Tensor) -> bool:
    """Whether a tensor is larger than its storage (strides of 0): a copy would take more memory than its file has bytes."""
    return value.numel() * value.element_size() > value.untyped_storage().nbytes()


def _read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise DetectorError(f"{path} requires the package safetensors: pip install safetensors") from error
    try:
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 - not a mapping
    except Exception as error:
        raise DetectorError(f"{path} is not a complete safetensors file: {error}") from error


def names_in(metadata: dict[str, Any], what: str, count: int, where: str | Path) -> tuple[str, ...] | None:
    """The names in a safetensors file's metadata (`classes`: a JSON list, background first; `attributes`: likewise), or None.

    Raises DetectorError if their number is not the model's `count`.
    """
    if what not in metadata:
        return None
    try:
        names = json.loads(metadata[what])
    except (ValueError, TypeError, RecursionError):
        names = None
    if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str) for name in names):
        raise DetectorError(f"{where}: its metadata {what!r} must be a JSON list of {count} strings")
    return tuple(names)
