"""Process-wide state that a run changes for a block and restores afterwards: log levels, environment variables, thread hooks."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from schemas.text import printable


@contextmanager
def log_level(level: int, name: str | None = None) -> Iterator[None]:
    """Sets the level of a logger (None: the root logger)."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Sets environment variables for this process and its children."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def thread_failures(handled: Callable[[threading.ExceptHookArgs], bool]) -> Iterator[None]:
    """Passes exceptions that end a thread to `handled`; those for which it returns False go to the previous hook."""
    before = threading.excepthook

    def hook(failure: threading.ExceptHookArgs) -> None:
        if not handled(failure):
            before(failure)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Makes SIGTERM raise KeyboardInterrupt, as Ctrl-C does; only has an effect in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def no_worker_tracebacks() -> Iterator[None]:
    """Stops Beam's workers in this process from printing tracebacks of failed instructions; their runner receives them anyway."""
    from apache_beam.runners.worker import sdk_worker

    vars(sdk_worker)["print"] = lambda *_, **__: None
    try:
        yield
    finally:
        vars(sdk_worker).pop("print", None)


@contextmanager
def not_in_ipython() -> Iterator[None]:
    """Hides IPython from Beam, which in a notebook loads its own support of pandas, broken by pandas 3, and keeps temporary files."""
    from apache_beam import pipeline
    from apache_beam.utils import interactive_utils

    held = [(vars(module), vars(module)["is_in_ipython"]) for module in (pipeline, interactive_utils)]
    for names, _ in held:
        names["is_in_ipython"] = lambda: False
    try:
        yield
    finally:
        for names, before in held:
            names["is_in_ipython"] = before


@contextmanager
def printable_stdout() -> Iterator[None]:
    """Control characters and escape sequences in printed data are shown, not sent; characters that stdout cannot encode are escaped."""
    before = sys.stdout
    sys.stdout = cast(TextIO, _Printable(before))
    try:
        yield
        sys.stdout.flush()
    finally:
        sys.stdout = before


class _Printable:
    def __init__(self, stream: TextIO):
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        self._stream.write(printable(text).encode(self._encoding, "backslashreplace").decode(self._encoding))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
