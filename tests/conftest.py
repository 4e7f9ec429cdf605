"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# With pytest-xdist there is a process for each core already, and further OpenMP threads would spin while they wait for one another.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import transforms  # noqa: F401  before any engine is loaded, so that instructions are restricted here as in the command

# Properties must hold on a busy machine too, so examples have no deadline.
settings.register_profile("cmcl", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("cmcl")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: `CMCL_DATA`, or `../shared/data` next to the repository; skips the test without it."""
    place = Path(os.environ.get("CMCL_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not place.is_dir():
        pytest.skip(f"no real data at {place} (set CMCL_DATA to its folder)")
    return place
