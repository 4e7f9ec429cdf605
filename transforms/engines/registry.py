"""Common to all kinds of models: loading once per process, digests of their files, and errors for missing packages."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import threading
from collections.abc import Callable, Iterable
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from schemas.errors import CmclError
from schemas.manifest import fingerprint

P = ParamSpec("P")
T = TypeVar("T")

_lock = threading.RLock()  # one for all kinds: a model may load another, and two threads must never load the same one
_loaded: dict[tuple[Callable[..., Any], tuple[Any, ...]], Any] = {}


class EngineError(CmclError, ValueError):
    """An unavailable model: the text names what is missing or broken and what provides it. Each kind has its own subclass."""


def loaded_once(load: Callable[P, T]) -> Callable[P, T]:
    """Caches `load` per process for equal (hashable) arguments; concurrent threads wait for one load.

    If it raises, nothing is cached, and the next caller tries again.
    """
    signature = inspect.signature(load)

    @wraps(load)
    def once(*args: P.args, **kwargs: P.kwargs) -> T:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        key = load, (*bound.args, *bound.kwargs.items())
        with _lock:
            if key not in _loaded:
                _loaded[key] = load(*args, **kwargs)
            loaded: T = _loaded[key]
            return loaded

    return once


def forget_engines() -> None:
    """Drops all loaded models, for tests and benchmarks."""
    with _lock:
        _loaded.clear()


def require(package: str, wanted_by: str, install: str, error: type[EngineError] = EngineError) -> None:
    """Raises `error` if `package` (its import name) is missing, naming what requires it and the command that installs it."""
    if importlib.util.find_spec(package) is None:
        raise error(f"{wanted_by} requires the package {package}: run `{install}`")


def file_digest(path: str | Path) -> str:
    """The SHA-256 (hex) of a file, cached per process until its size or modification time changes."""
    stat = os.stat(path)
    return _digest(str(path), stat.st_size, stat.st_mtime_ns)


@cache
def _digest(path: str, size: int, mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(folder: Path, names: Iterable[str]) -> str:
    """One hash of these files of a folder, including their names."""
    return fingerprint({name: file_digest(folder / name) for name in sorted(names)})
