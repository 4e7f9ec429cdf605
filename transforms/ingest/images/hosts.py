"""Hosts that do not respond: after some failures in a row, their images are unreachable without trying, instead of a wait for each."""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Lock

from schemas import files
from schemas.retries import waiting


def host_of(uri: str) -> str:
    """The host or bucket of a URL, with its protocol; "" for a local path."""
    if files.is_local(uri):
        return ""
    before, _, after = uri.rpartition("://")
    return f"{before.rpartition('::')[2]}://{after.partition('/')[0].rpartition('@')[2]}".lower()


@dataclass
class _Failures:
    count: int = 0
    tried: float = 0.0  # `time.monotonic()` of the last failure, or of the attempt that is under way


class Hosts:
    """Counts the failures of each host in a row. Thread-safe; one per process, so each worker finds out for itself."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._failing: dict[str, _Failures] = {}

    def is_given_up(self, host: str) -> bool:
        """Whether to treat the host as unreachable. Once it has rested, one caller may try it again."""
        settings, now = waiting(), time.monotonic()
        with self._lock:
            failures = self._failing.get(host)
            if failures is None or failures.count < settings.host_failures:
                return False
            if now - failures.tried < settings.host_rest_s:
                return True
            failures.tried = now
            return False

    def note(self, host: str, failed: bool) -> None:
        """Records the outcome of an attempt, after its retries."""
        if not host:
            return
        with self._lock:
            if not failed:
                self._failing.pop(host, None)
                return
            failures = self._failing.setdefault(host, _Failures())
            failures.count += 1
            failures.tried = time.monotonic()

    def forget(self) -> None:
        """Starts anew."""
        with self._lock:
            self._failing.clear()
