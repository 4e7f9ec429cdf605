"""Runs a server for a driver, and removes it, its children and its scratch folder when the driver exits.

    python guard.py SCRATCH COMMAND...

The driver holds the other end of standard input, so the pipe closes however the driver exits. Uses only the standard library, to
start fast and run from anywhere.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading

_GRACE_S = 8.0  # for a JVM to run its shutdown hooks


def main(scratch: str, command: list[str]) -> int:
    """Runs the command; returns its exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides
    signal.signal(signal.SIGTERM, lambda *_: os.close(0))
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_await_driver, args=(child,), daemon=True).start()
    status = child.wait()
    _signal_group(child.pid, signal.SIGKILL)
    shutil.rmtree(scratch, ignore_errors=True)
    return status


def _await_driver(child: subprocess.Popen[bytes]) -> None:
    try:
        while os.read(0, 1024):
            pass
    except OSError:
        pass
    _signal_group(child.pid, signal.SIGTERM)
    try:
        child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        _signal_group(child.pid, signal.SIGKILL)


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
