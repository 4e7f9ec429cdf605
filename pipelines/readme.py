"""Generates the tables of settings in README.md and docs/ from the fields' descriptions and defaults.

    python -m pipelines.readme        fills in every table between `<!-- settings: KEY -->` and `<!-- end of settings -->`

KEY is a key of `pipelines.stages.STAGES`, or `configuration` for the keys that belong to no stage.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipelines.config import Config
from pipelines.stages import STAGES

_TABLE = re.compile(r"(<!-- settings: (\w+) -->\n).*?(<!-- end of settings -->)", re.DOTALL)
_FENCED = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_SETTINGS = {entry.key: entry.settings for entry in STAGES if entry.settings}
CONFIGURATION = "configuration"


def settings_table(key: str) -> str:
    """The table of a key's settings, in Markdown. Raises KeyError when there is no such key."""
    if key == CONFIGURATION:
        fields = {name: field for name, field in Config.model_fields.items() if name not in _SETTINGS}
    else:
        fields = _with_groups(_SETTINGS[key].model_fields)
    return "".join(["| key | default | meaning |\n|---|---|---|\n", *(_row(name, field) for name, field in fields.items())])


def _with_groups(fields: dict[str, FieldInfo]) -> dict[str, FieldInfo]:
    """The fields, each group of settings followed by its own, as `group.name`."""
    found = {}
    for name, field in fields.items():
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        found[name] = FieldInfo(default="{}", description=field.description) if isinstance(default, BaseModel) else field
        if isinstance(default, BaseModel):
            found |= {f"{name}.{own}": value for own, value in type(default).model_fields.items()}
    return found


def _row(name: str, field: FieldInfo) -> str:
    meaning, default = field.description or "", None if field.is_required() else field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        parts = (f"`{part}` {_yaml(value.get_default(call_default_factory=True))}" for part, value in type(default).model_fields.items())
        meaning, shown = f"{meaning}: {', '.join(parts)}", ""
    else:
        shown = "" if field.is_required() else _yaml(default)
    return f"| `{name}` | {shown} | {meaning.replace('|', chr(92) + '|')} |\n"


def _yaml(value: Any) -> str:
    """A default in YAML's notation; empty values as "none"."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_yaml, value))}]" if value else "none"
    if value is None or value == {}:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def filled(text: str) -> str:
    """A page with its tables filled in. Raises KeyError for a table of an unknown key."""
    parts = _FENCED.split(text)  # every second part is a fenced code block
    return "".join(
        part if number % 2 else _TABLE.sub(lambda found: f"{found[1]}{settings_table(found[2])}{found[3]}", part)
        for number, part in enumerate(parts)
    )


def tables_of(text: str) -> list[str]:
    """The keys of the tables in a page."""
    return [found[1] for part in _FENCED.split(text)[::2] for found in _TABLE.findall(part)]


def pages(root: Path) -> Iterator[Path]:
    """README.md and the pages in docs/."""
    yield root / "README.md"
    yield from sorted((root / "docs").rglob("*.md"))


def main() -> int:
    """Fills in the tables of the pages below the working directory; prints the pages that changed."""
    for page in pages(Path()):
        text = page.read_text(encoding="utf-8")
        if filled(text) != text:
            page.write_text(filled(text), encoding="utf-8")
            print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
