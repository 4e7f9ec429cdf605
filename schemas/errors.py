"""Errors that name what is wrong, for people: the command prints their text without a traceback.

Runners pass nothing of a worker's error but its text. `carried` puts kind and fields into that text as data, `from_text` reads them back.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_DATA = re.compile(r"\[cmcl-error:([A-Za-z0-9_-]+=*)\]")
_FIELD_LIMIT = 4000  # characters of a field that cross


class CmclError(Exception):
    """Base of every error that this project raises on purpose."""


class ConfigError(CmclError):
    """A configuration is wrong; the text names the key, the value and what is allowed."""


class SchemaError(CmclError):
    """A file is not the table, or not the version of it, that was asked for."""


class CorpusError(CmclError):
    """A corpus is damaged, incomplete or in use."""


class FormatError(CorpusError):
    """A corpus is of a format that this release does not know, and must not write over."""


class SourceError(CmclError):
    """An input cannot be read as a whole (a missing file, a missing column); single bad rows become rejects instead."""


class RejectLimitError(CmclError):
    """A stage ended, but not as it should: more rows were rejected than the configured share allows, or a list of exclusions matched
    nothing. `report`: what the run did all the same."""

    report: object = None

    def __init__(self, text: str, report: object = None):
        super().__init__(text)
        self.report = report


class CarriedError(RuntimeError):
    """An error on its way through a runner: for people at the start of its text, as data at the end."""


@contextmanager
def carried() -> Iterator[None]:
    """Lets the project's errors, and the operating system's, leave the block as CarriedError; others, which are bugs, as they are."""
    try:
        yield
    except (CmclError, OSError) as error:
        raise CarriedError(f"{type(error).__name__}: {error} [cmcl-error:{_encoded(error)}]") from error


def from_text(text: str) -> CmclError | None:
    """The error whose data stands in a runner's text, None where there is none; one of the operating system comes as CorpusError."""
    known = {kind.__name__: kind for kind in _kinds(CmclError)}
    for found in reversed(_DATA.findall(text)):
        try:
            data: dict[str, Any] = json.loads(base64.urlsafe_b64decode(found))
            kind = next((known[name] for name in data["kinds"] if name in known), CorpusError)
            return kind.__new__(kind, *data["fields"])  # not by `__init__`, which may take other arguments
        except (ValueError, KeyError, TypeError):  # not ours: a text that looks like it
            continue
    return None


def _encoded(error: CmclError | OSError) -> str:
    kinds = [kind.__name__ for kind in type(error).__mro__]
    args = [text_of(error)] if isinstance(error, OSError) else error.args
    fields = [arg if isinstance(arg, int | float | None) else str(arg)[:_FIELD_LIMIT] for arg in args]
    return base64.urlsafe_b64encode(json.dumps({"kinds": kinds, "fields": fields}).encode()).decode()


def text_of(error: OSError) -> str:
    """What the operating system says, the file first."""
    said = error.strerror or str(error) or type(error).__name__
    return f"{os.fsdecode(error.filename)}: {said}" if isinstance(error.filename, str | bytes) else said


def _kinds(base: type[CmclError]) -> Iterator[type[CmclError]]:
    yield base
    for kind in base.__subclasses__():
        yield from _kinds(kind)


def is_of_machine(error: BaseException) -> bool:
    """Whether an error tells of the machine, short of memory or with a disk or store that fails, and not of the data that was read.

    Decoders raise OSError for bad data too, but without the number that the system gives its own.
    """
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None)
