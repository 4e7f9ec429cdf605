"""Writes the gallery's data as scripts, and shows what text hides.

Pages opened from disk may not fetch files, but may add script tags; so data are scripts that hand one JSON value to the page's own script.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def as_script(name: str, number: int, value: Any) -> bytes:
    """A script that hands `value` to the page. It contains none of `<`, `>`, `&`, U+2028 and U+2029, so it cannot end its own tag."""
    return script_of(name, number, json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def script_of(name: str, number: int, text: str) -> bytes:
    """As `as_script`, for a value that is JSON text already."""
    return f"cmcl.put({json.dumps(name)},{number},{_UNSAFE.sub(_code, text)});\n".encode()


def visible(text: object) -> str:
    """Text with control characters and directional marks replaced by their codes, which would otherwise act unseen."""
    return _HIDDEN.sub(_code, text if isinstance(text, str) else str(text))


def _code(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def write_file(folder: str, name: str, data: bytes) -> None:
    """Writes a file below `folder`, creating the folders in between."""
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "xb") as file:
        file.write(data)
