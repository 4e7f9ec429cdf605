"""What a detector's fingerprint is made of. Imports no model library: a plan needs the fingerprint, and torch takes seconds to import."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from schemas.manifest import fingerprint
from transforms.engines.detectors.base import DetectorError
from transforms.engines.detectors.settings import DetectorSettings

PACKAGES = ("torch", "torchvision")
INSTALL = 'pip install "torch>=2.15,<2.16" "torchvision==0.29.2" safetensors'
# What the regions do not depend on: how many threads decode; the specification (its files are hashed); the window (the stage names it).
_APART = {"readers", "detector", "window"}


def identify(identity: Any, settings: DetectorSettings) -> str:
    """The fingerprint of a detector: hash of what tells its weights and form apart (JSON-able), its settings and the packages' versions.

    Raises DetectorError when torch or torchvision is not installed.
    """
    return fingerprint([identity, settings.model_dump(mode="json", exclude=_APART), versions(settings.detector)])


def versions(spec: str, packages: Sequence[str] = PACKAGES) -> list[str]:
    """The installed versions of the packages. Raises DetectorError, naming the specification that needs it, when one is missing."""
    try:
        return [version(name) for name in packages]
    except PackageNotFoundError as error:
        raise needs(spec, error) from error


def needs(spec: str, error: ImportError) -> DetectorError:
    """That a specification needs a package which is not there, and the command that brings it."""
    return DetectorError(f"detector {spec!r} needs {' and '.join(PACKAGES)} ({error}): run `{INSTALL}`")
