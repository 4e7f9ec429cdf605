"""Numbers and settings of manifests as text, for the dataset card and the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.privacy import Scrubber


def flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings, with dotted keys; None is left out."""
    if isinstance(value, Mapping):
        for name, held in value.items():
            yield from flat(held, f"{key}.{name}" if key else str(name))
    elif value is not None:
        yield key, value


def shown(value: Any, scrub: Scrubber) -> str:
    """A number with thousands separators, a fraction with at most six significant digits; anything else as scrubbed text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(scrub.value(value))
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.6g}"
