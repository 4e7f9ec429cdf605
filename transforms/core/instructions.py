"""Which vector instructions the engines use.

Held to those of x86-64-v3 (AVX2, FMA), libraries take the code that every such CPU has, and not the widest that this one has, so that
results do not hang on the machine. Each library reads its variable once, when it is loaded or first does something: `transforms` sets them
when it is imported, before an engine can be. CTranslate2 would use MKL on Intel's CPUs alone, and MKL heeds AVX2 on them alone: so
CTranslate2 is told to do without, and in MKL all vendors have only COMPATIBLE (SSE2) in common. OpenBLAS, in numpy, is loaded before us
in all but the processes that we start: nothing that a table holds is computed with it.
"""

from __future__ import annotations

import os
import platform

SWITCHES = {"CT2_FORCE_CPU_ISA": "AVX2", "CT2_USE_MKL": "0", "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2",
            "MKL_CBWR": "COMPATIBLE", "OPENBLAS_CORETYPE": "Haswell", "FAISS_OPT_LEVEL": "AVX2"}  # fmt: skip
PORTABLE = "x86-64-v3"
_found = {name: os.environ.get(name) for name in SWITCHES}  # before we set them


def hold(portable: bool) -> None:
    """Sets the variables, or sets them back to what this process was started with. On other machines than x86-64 it does nothing."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return
    for name, value in (SWITCHES if portable else _found).items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def held() -> bool:
    """Whether all variables are set."""
    return all(os.environ.get(name) == value for name, value in SWITCHES.items())


def in_force() -> str:
    """The instructions that the engines of this process use: x86-64-v3, or the widest that torch takes (AVX2, AVX512, ...)."""
    import torch  # not needed to plan

    widest = str(torch.backends.cpu.get_cpu_capability())
    return PORTABLE if held() and widest == "AVX2" else widest
