"""Which vector instructions the engines use.

Restricted to x86-64-v3 (AVX2, FMA), libraries run code that every such CPU supports instead of the widest that this one does, so results do
not depend on the machine. Each library reads its variable once, on import or first use; importing `transforms`, which comes before any
engine, sets them. CTranslate2 uses MKL on Intel CPUs only, and MKL respects AVX2 on them only, so CTranslate2 runs without it, and MKL runs
COMPATIBLE (SSE2), the only mode common to all vendors. NumPy's OpenBLAS is already loaded by then, except in processes that we start; the
only stored values that it helps to compute, the choice of balanced swaps, are rounded to a grid first.
"""

from __future__ import annotations

import os
import platform

SWITCHES = {"CT2_FORCE_CPU_ISA": "AVX2", "CT2_USE_MKL": "0", "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2",
            "MKL_CBWR": "COMPATIBLE", "OPENBLAS_CORETYPE": "Haswell", "FAISS_OPT_LEVEL": "AVX2"}  # fmt: skip
PORTABLE = "x86-64-v3"
RELEASED = "CMCL_WIDEST_INSTRUCTIONS"  # tells processes that this one starts that it has called `release`
_found = {name: os.environ.get(name) for name in SWITCHES}  # before this module sets them


def hold(portable: bool) -> None:
    """Sets the variables, or restores the values that this process started with. Does nothing on machines other than x86-64."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return
    for name, value in (SWITCHES if portable else _found).items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def release() -> None:
    """Gives this process, and those that it starts, the widest instructions: for training, which need not be equal on every CPU."""
    os.environ[RELEASED] = "1"
    hold(False)


def held() -> bool:
    """Whether all variables are set."""
    return all(os.environ.get(name) == value for name, value in SWITCHES.items())


def in_force() -> str:
    """The instructions that the engines of this process use: x86-64-v3, or the widest that torch takes (AVX2, AVX512, ...)."""
    import torch  # not needed to plan

    widest = str(torch.backends.cpu.get_cpu_capability())
    return PORTABLE if held() and widest == "AVX2" else widest
