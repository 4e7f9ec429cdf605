"""The tables of settings in README.md and docs/, out of the fields' own descriptions and defaults.

    python -m pipelines.readme        fills in every table between `<!-- settings: KEY -->` and `<!-- end of settings -->`

KEY is a key of `pipelines.stages.STAGES`, or `configuration`: the keys that are no stage's.
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
        fields = _SETTINGS[key].model_fields
    return "".join(["| key | default | meaning |\n|---|---|---|\n", *(_row(name, field) for name, field in fields.items())])


def _row(name: str, field: FieldInfo) -> str:
    meaning, default = field.description or "", None if field.is_required() else field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        parts = (f"`{part}` {_said(value.get_default(call_default_factory=True))}" for part, value in type(default).model_fields.items())
        meaning, told = f"{meaning}: {', '.join(parts)}", ""
    else:
        told = "" if field.is_required() else _said(default)
    return f"| `{name}` | {told} | {meaning.replace('|', chr(92) + '|')} |\n"


def _said(value: Any) -> str:
    """A default as YAML has it; nothing is none."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_said, value))}]" if value else "none"
    if value is None or value == {}:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def filled(text: str) -> str:
    """A page with its tables as they should be. Raises KeyError for a table of a key that is none."""
    parts = _FENCED.split(text)  # every second one is an example
    return "".join(part if number % 2 else _TABLE.sub(lambda found: f"{found[1]}{settings_table(found[2])}{found[3]}", part)
                   for number, part in enumerate(parts))


def tables_of(text: str) -> list[str]:
    """The keys whose tables a page has."""
    return [found[1] for part in _FENCED.split(text)[::2] for found in _TABLE.findall(part)]


def pages(root: Path) -> Iterator[Path]:
    """README.md and the pages of docs/."""
    yield root / "README.md"
    yield from sorted((root / "docs").rglob("*.md"))


def main() -> int:
    """Fills in the tables of the pages below the working directory; names those that changed."""
    for page in pages(Path()):
        text = page.read_text(encoding="utf-8")
        if filled(text) != text:
            page.write_text(filled(text), encoding="utf-8")
            print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
