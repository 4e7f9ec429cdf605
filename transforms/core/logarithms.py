"""Logarithms whose bits do not depend on the CPU: those of numpy's float64 differ between AVX2 and AVX512."""

from __future__ import annotations

import numpy as np


def log(values: np.ndarray) -> np.ndarray:
    """Natural logarithms, float64 of the same shape: through long double, which numpy gives to the C library element by element."""
    return np.log(values.astype(np.longdouble)).astype(np.float64)


def log1p(values: np.ndarray) -> np.ndarray:
    """log(1 + x) for counts, float64 of the same shape, in the same way."""
    return np.log1p(values.astype(np.longdouble)).astype(np.float64)
