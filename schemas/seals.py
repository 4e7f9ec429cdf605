"""Sealed JSON: a document whose last field is the SHA-256 of all bytes before it, so that any change is detected.

A task's record contains the SHA-256 of its tables, a stage's manifest the seals of its records, and `corpus.json` the seals of the
manifests. So the seal of `corpus.json` covers the whole corpus.
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

STRICT = ConfigDict(strict=True, extra="forbid")  # for dataclasses read from JSON: no extra or missing fields, no type coercion
_TAIL = re.compile(rb',\n  "seal": "([0-9a-f]{64})"\n}\n\Z')
_TAIL_BYTES = len(',\n  "seal": ""\n}\n') + 64

T = TypeVar("T")


def write_sealed(url: str, value: dict[str, Any]) -> str:
    """Writes a JSON object (sorted keys, indented by two spaces, the seal last) atomically; returns its seal, 64 hex digits.

    A "seal" in `value` is ignored. Raises ValueError when `value` has no other key, OSError when `url` cannot be written.
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
    """Whether a document has a seal, valid or not."""
    return bool(_TAIL.search(data[-_TAIL_BYTES:]))


def seal_holds(data: bytes) -> bool:
    """Whether a document has a seal that matches its content."""
    tail = _TAIL.search(data[-_TAIL_BYTES:])
    return tail is not None and hashlib.sha256(data[:-_TAIL_BYTES]).hexdigest() == tail.group(1).decode()


def read_sealed(url: str, kind: TypeAdapter[T], cure: str) -> T:
    """The document at `url`, with strict type checks.

    Raises FileNotFoundError when it is missing, CorpusError, whose text ends with `cure`, when it is damaged.
    """
    try:
        with files.open_read(url) as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(errno.ENOENT, "no such file", url) from None
    except IsADirectoryError:
        raise CorpusError(f"{url} is a folder, not a file: {cure}") from None
    return parse_sealed(data, url, kind, cure)


def parse_sealed(data: bytes, url: str, kind: TypeAdapter[T], cure: str) -> T:
    """The document in `data`. Raises CorpusError, which names `url` and ends with `cure`, when its seal or a type is wrong."""
    if not is_sealed(data):
        raise CorpusError(f"{url} has no seal: it is damaged, or from an earlier release: {cure}")
    if not seal_holds(data):
        raise CorpusError(f"{url} is damaged: its seal does not match its content: {cure}")
    try:
        return kind.validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise CorpusError(f"{url} is not valid: {f'{field}: ' if field else ''}{first['msg']}: {cure}") from None
