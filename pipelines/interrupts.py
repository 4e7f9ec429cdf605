"""SIGINT and SIGTERM: a run stops at its next write, its workers are killed, and no half-written files remain."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from schemas.errors import CmclError
from transforms.core.task import allow_tasks, cancel_tasks, tasks_cancelled


@contextmanager
def interruptible(end_workers: Callable[[], None]) -> Iterator[None]:
    """On SIGINT or SIGTERM, calls `end_workers` and leaves the block with KeyboardInterrupt.

    A runner may wrap or swallow the exception that the signal handler raises, so any exception after a signal counts as an interrupt.
    """
    allow_tasks()
    hook, disabled = threading.excepthook, logging.root.manager.disable

    def interrupt(*_: Any) -> None:
        cancel_tasks()  # tasks in this process stop at their next write
        logging.disable(logging.CRITICAL)  # the runner would log the interrupt as a failure of whatever it hit
        threading.excepthook = lambda _: None  # the runner's threads would complain about lost workers
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except BaseException as error:
        if not tasks_cancelled():
            raise
        end_workers()
        if isinstance(error, CmclError):  # the runner ended the run this way, and the error says why
            raise
        raise KeyboardInterrupt from error
    finally:
        if not tasks_cancelled():  # after a cancellation, the runner's threads still complain about lost workers
            threading.excepthook = hook
        logging.disable(disabled)
        for number, handler in before.items():
            signal.signal(number, handler)
