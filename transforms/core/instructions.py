"""Which vector instructions the engines use.

Restricted to x86-64-v3 (AVX2, FMA), libraries run code that every such CPU supports instead of the widest that this one does, so results do
not depend on the machine. Each library reads its variable once, on import or first use; importing `transforms`, which comes before any
engine, sets them. CTranslate2 uses MKL on Intel CPUs only, and MKL respects AVX2 on them only, so CTranslate2 runs without it, and MKL runs
COMPATIBLE (SSE2), the only mode common to all vendors. NumPy's OpenBLAS is already loaded by then, except in processes that we start; the
only stored values that it helps to compute, the choice of balanced swaps, are rounded to a grid first.
"""

from __future__ import annotations

import json
import os
import platform

SWITCHES = {"CT2_FORCE_CPU_ISA": "AVX2", "CT2_USE_MKL": "0", "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2",
            "MKL_CBWR": "COMPATIBLE", "OPENBLAS_CORETYPE": "Haswell", "FAISS_OPT_LEVEL": "AVX2"}  # fmt: skip
PORTABLE = "x86-64-v3"
RELEASED = "CMCL_WIDEST_INSTRUCTIONS"  # tells processes that this one starts that it has called `release`
FOUND = "CMCL_FOUND_INSTRUCTIONS"  # tells them the values before `hold`, whose own they inherit


def _before() -> dict[str, str]:
    """The variables as they were before this process, or one that started it, set them."""
    now = {name: os.environ[name] for name in SWITCHES if name in os.environ}
    if FOUND not in os.environ:
        return now
    return {**json.loads(os.environ[FOUND]), **{name: value for name, value in now.items() if value != SWITCHES[name]}}


_found = _before()


def hold(portable: bool) -> None:
    """Sets the variables, or restores the values of before. Does nothing on machines other than x86-64."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return
    for name in (*SWITCHES, FOUND):
        os.environ.pop(name, None)
    os.environ.update({**SWITCHES, FOUND: json.dumps(_found)} if portable else _found)


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
