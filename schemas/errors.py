"""Errors meant for users: the command prints their text without a traceback.

Runners report only the text of a worker's error. `carried` encodes the error's class and fields in that text, `from_text` decodes them.
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
CLIENTS = frozenset({"aiohttp", "botocore", "aiobotocore", "requests", "urllib3", "http"})  # their exceptions are network errors
_FIELD_LIMIT = 4000  # maximum number of characters of a field that are passed on


class CmclError(Exception):
    """Base class of the errors that this project raises on purpose."""


class ConfigError(CmclError):
    """A configuration is invalid; the text names the key, the value and what is allowed."""


class SchemaError(CmclError):
    """A file is not the expected table, or not the expected version of it."""


class CorpusError(CmclError):
    """A corpus is damaged, incomplete or in use."""


class FormatError(CorpusError):
    """A corpus has a format that this release does not know and therefore must not overwrite."""


class SourceError(CmclError):
    """An input as a whole cannot be read (a missing file or column); individual bad rows become rejects instead."""


class RejectLimitError(CmclError):
    """A run finished, but more rows were rejected than the configured share allows, or an exclusion list matched nothing.

    report: the run's `RunReport`.
    """

    report: object = None

    def __init__(self, text: str, report: object = None):
        super().__init__(text)
        self.report = report


class CarriedError(RuntimeError):
    """An error that passes through a runner: readable text, followed by the error encoded as data."""


@contextmanager
def carried() -> Iterator[None]:
    """Re-raises the project's errors and OSErrors as CarriedError; other exceptions, which are bugs, pass unchanged."""
    try:
        yield
    except (CmclError, OSError) as error:
        raise CarriedError(f"{type(error).__name__}: {error} [cmcl-error:{_encoded(error)}]") from error


def from_text(text: str) -> CmclError | None:
    """The error encoded in a runner's text, None if there is none; an OSError becomes a CorpusError."""
    known = {kind.__name__: kind for kind in _kinds(CmclError)}
    for found in reversed(_DATA.findall(text)):
        try:
            data: dict[str, Any] = json.loads(base64.urlsafe_b64decode(found))
            kind = next((known[name] for name in data["kinds"] if name in known), CorpusError)
            return kind.__new__(kind, *data["fields"])  # bypasses `__init__`, which may take other arguments
        except (ValueError, KeyError, TypeError):  # text that merely looks like an encoded error
            continue
    return None


def _encoded(error: CmclError | OSError) -> str:
    kinds = [kind.__name__ for kind in type(error).__mro__]
    args = [text_of(error)] if isinstance(error, OSError) else error.args
    fields = [arg if isinstance(arg, int | float | None) else str(arg)[:_FIELD_LIMIT] for arg in args]
    return base64.urlsafe_b64encode(json.dumps({"kinds": kinds, "fields": fields}).encode()).decode()


def text_of(error: OSError) -> str:
    """The operating system's message, preceded by the file name if there is one."""
    text = error.strerror or str(error) or type(error).__name__
    return f"{os.fsdecode(error.filename)}: {text}" if isinstance(error.filename, str | bytes) else text


def _kinds(base: type[CmclError]) -> Iterator[type[CmclError]]:
    yield base
    for kind in base.__subclasses__():
        yield from _kinds(kind)


def is_of_machine(error: BaseException) -> bool:
    """Whether an error is due to the machine (memory, a disk, a store, the network, an interrupt) rather than to the data.

    Decoders also raise OSError for bad data, but without an errno.
    """
    return (
        isinstance(error, MemoryError | ConnectionError | TimeoutError | InterruptedError)
        or (isinstance(error, OSError) and error.errno is not None)
        or type(error).__module__.partition(".")[0] in CLIENTS
        or (isinstance(error, SourceError) and error.__cause__ is not None and is_of_machine(error.__cause__))
    )
