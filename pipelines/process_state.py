"""What a run changes of the whole process, each for a block and put back after it: log levels, environment, hooks of threads."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def log_level(level: int, name: str | None = None) -> Iterator[None]:
    """A logger (None: the root) lets through messages of this level and above."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Environment variables, for this process and those that it starts."""
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
    """Exceptions that end a thread go to `handled` first; those that it answers with False go where they went before."""
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
    """SIGTERM ends the block as Ctrl-C does, with KeyboardInterrupt; only the main thread can be told."""
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
    """Beam's workers in this process do not print the traceback of each failed instruction, which their runner gets as well."""
    from apache_beam.runners.worker import sdk_worker

    vars(sdk_worker)["print"] = lambda *_, **__: None
    try:
        yield
    finally:
        vars(sdk_worker).pop("print", None)
