"""Sealed JSON: a document whose last line is the SHA-256 of all bytes before it, so that no byte of it can change unseen.

A task's record names the SHA-256 of its tables; a stage's manifest names the seals of its records; `corpus.json` names those of the
manifests. So the seal of `corpus.json` stands for the whole corpus.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from schemas import files
from schemas.errors import CorpusError

STRICT = ConfigDict(strict=True, extra="forbid")  # of dataclasses that are read from JSON: no field more or less, no type bent
_TAIL = re.compile(rb',\n  "seal": "([0-9a-f]{64})"\n}\n\Z')
_TAIL_BYTES = len(',\n  "seal": ""\n}\n') + 64

T = TypeVar("T")


def write_sealed(url: str, value: dict[str, Any]) -> str:
    """Writes a JSON object (sorted keys, two spaces, the seal last) whole or not at all; returns its seal, 64 hex digits.

    A "seal" in `value` is left out. Raises ValueError when nothing else is in it, OSError when the place cannot be written.
    """
    body = {key: part for key, part in value.items() if key != "seal"}
    if not body:
        raise ValueError("an empty object cannot be sealed")
    head = json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False).encode()[:-2]
    seal = hashlib.sha256(head).hexdigest()
    with files.atomic_write(url) as sink:
        sink.write(head + f',\n  "seal": "{seal}"\n}}\n'.encode())
    return seal


def is_sealed(data: bytes) -> bool:
    """Whether a document carries a seal, right or wrong."""
    return bool(_TAIL.search(data[-_TAIL_BYTES:]))


def seal_holds(data: bytes) -> bool:
    """Whether a document carries the seal of its content."""
    tail = _TAIL.search(data[-_TAIL_BYTES:])
    return tail is not None and hashlib.sha256(data[:-_TAIL_BYTES]).hexdigest() == tail.group(1).decode()


def read_sealed(url: str, kind: TypeAdapter[T], cure: str) -> T:
    """The document at `url`, its types checked strictly.

    Raises FileNotFoundError when there is none, CorpusError, ending in `cure`, when it is not what was written there.
    """
    try:
        with files.open_read(url) as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(errno.ENOENT, "no such file", url) from None
    except IsADirectoryError:
        raise CorpusError(f"{url} is a folder, where a file should be: {cure}") from None
    return parse_sealed(data, url, kind, cure)


def parse_sealed(data: bytes, url: str, kind: TypeAdapter[T], cure: str) -> T:
    """The document in `data`. Raises CorpusError, which names `url` and ends in `cure`, when its seal or a type is wrong."""
    if not is_sealed(data):
        raise CorpusError(f"{url} has no seal: it is damaged, or of an earlier release: {cure}")
    if not seal_holds(data):
        raise CorpusError(f"{url} is damaged: its seal is not that of its content: {cure}")
    try:
        return kind.validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise CorpusError(f"{url} is not valid: {f'{place}: ' if place else ''}{first['msg']}: {cure}") from None
