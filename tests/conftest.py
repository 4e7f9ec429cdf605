"""Fixtures that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: `CMCL_DATA`, or `../shared/data` beside the repository; skips the test where it is absent."""
    place = Path(os.environ.get("CMCL_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not place.is_dir():
        pytest.skip(f"no real data at {place} (set CMCL_DATA to its folder)")
    return place
