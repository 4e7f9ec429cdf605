"""Ctrl-C and polite kills: a run stops at its next write, its workers end, and nothing half-written stays."""

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
    """Ends the block with KeyboardInterrupt, and `end_workers`, when SIGINT or SIGTERM comes.

    A runner may wrap or swallow the exception that a signal raises somewhere inside of it; whatever comes out then, it is an interrupt.
    """
    allow_tasks()
    hook, disabled = threading.excepthook, logging.root.manager.disable

    def interrupt(*_: Any) -> None:
        cancel_tasks()  # those inside this process stop at their next write
        logging.disable(logging.CRITICAL)  # the runner would log the interrupt as a failure of whatever it hit
        threading.excepthook = lambda _: None  # the runner's threads complain of the workers that they lost
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
        if isinstance(error, CmclError):  # the engine ended the run in this way, and says why
            raise
        raise KeyboardInterrupt from error
    finally:
        if not tasks_cancelled():  # else threads of the runner still complain of the workers that they lost
            threading.excepthook = hook
        logging.disable(disabled)
        for number, handler in before.items():
            signal.signal(number, handler)
