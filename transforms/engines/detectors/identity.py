"""Fingerprints of detectors. Imports no model library: planning requires the fingerprint, and torch takes seconds to import."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from schemas.manifest import fingerprint
from transforms.engines.detectors.base import DetectorError
from transforms.engines.detectors.settings import DetectorSettings

PACKAGES = ("torch", "torchvision")
INSTALL = 'pip install "torch>=2.15,<2.16" "torchvision==0.29.2" safetensors'
# Not fingerprinted: the number of decoding threads; the specification (its files are hashed); the window (part of the stage's settings).
_NOT_FINGERPRINTED = {"readers", "detector", "window"}


def identify(identity: Any, settings: DetectorSettings) -> str:
    """The fingerprint of a detector: a hash of its weights and architecture (as JSON types), settings and package versions.

    Raises DetectorError if torch or torchvision is not installed.
    """
    return fingerprint([identity, settings.model_dump(mode="json", exclude=_NOT_FINGERPRINTED), versions(settings.detector)])


def versions(spec: str, packages: Sequence[str] = PACKAGES) -> list[str]:
    """The installed versions of the packages. Raises DetectorError, naming the specification that requires it, if one is missing."""
    try:
        return [version(name) for name in packages]
    except PackageNotFoundError as error:
        raise missing_packages(spec, error) from error


def missing_packages(spec: str, error: ImportError) -> DetectorError:
    """The error for missing packages, with the command that installs them."""
    return DetectorError(f"detector {spec!r} requires {' and '.join(PACKAGES)} ({error}): run `{INSTALL}`")
