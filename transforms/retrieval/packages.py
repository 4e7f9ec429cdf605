"""FAISS, which comes in several distributions under one import name."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from transforms.engines.registry import EngineError, require

DISTRIBUTIONS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs")


class RetrievalError(EngineError):
    """An unavailable search: the text says what is missing and which command provides it."""


def installed() -> list[str]:
    """The installed distributions of FAISS."""
    found = []
    for name in DISTRIBUTIONS:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        found.append(name)
    return found


def check_faiss() -> None:
    """Raises RetrievalError when FAISS is missing, or two distributions of it overwrite each other."""
    found = installed()
    if len(found) > 1:
        raise RetrievalError(
            f"{' and '.join(found)} are both installed and overwrite each other: pip uninstall {' '.join(found)}, then install one of them"
        )
    require("faiss", "retrieval", "pip install 'cmcl[retrieval]'", RetrievalError)


def check_gpu() -> None:
    """Raises RetrievalError when FAISS cannot use a GPU, or has none."""
    faiss = faiss_module()
    if not hasattr(faiss, "StandardGpuResources"):
        raise RetrievalError(
            f"retrieval.device is cuda, but {installed()[0]} is for CPUs: pip uninstall {installed()[0]}, then pip install "
            "'cmcl[retrieval-gpu]'; or set retrieval.device to cpu"
        )
    if not faiss.get_num_gpus():
        raise RetrievalError("retrieval.device is cuda, but this machine has no GPU that FAISS can use: set retrieval.device to cpu")


def faiss_module() -> Any:
    """The module. Raises ImportError if it is missing."""
    import faiss

    return faiss


def packages(*others: str) -> tuple[str, ...]:
    """The packages that retrieval requires: the installed distribution of FAISS, or the one to install, and others."""
    return *(installed()[:1] or DISTRIBUTIONS[:1]), *others
