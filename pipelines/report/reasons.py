"""Why regions and matches were kept, in words: unlike rewrites, they carry no reason, but their stage's settings have its rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.report.reading import StageView


def rules(views: Sequence[StageView]) -> dict[str, str]:
    """By stage, why its regions or matches were kept; only stages whose manifest tells."""
    found = {}
    for view in views:
        held = view.manifest.ingredients.get("settings") if view.manifest else None
        tables = view.entry.tables
        said = _rule(held, tables) if isinstance(held, Mapping) else ""
        if said:
            found[view.name] = said
    return found


def _rule(settings: Mapping[str, Any], tables: Sequence[str]) -> str:
    floor, most, threshold = settings.get("floor"), settings.get("k"), settings.get("threshold")
    if "matches" in tables and isinstance(floor, int | float) and isinstance(most, int):
        return f"a score of at least {floor:g}, and among the best {most:,} that the guards left"
    if "regions" not in tables:
        return ""
    if isinstance(threshold, int | float):
        return f"a confidence above {threshold:g}, or among the {settings.get('min_regions')} most confident of the image"
    return "the imported file has them" if "files" in settings else "the detector is confident enough of them"
