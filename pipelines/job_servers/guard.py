"""Runs a server on behalf of a driver and takes it, its children and its scratch folder away when the driver is gone.

    python guard.py SCRATCH COMMAND...

The driver holds the other end of standard input: its end, however it comes, closes the pipe. Only the standard library, so that it
starts at once and runs from anywhere.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading

_PATIENCE_S = 8.0  # for a JVM to run its shutdown hooks


def main(scratch: str, command: list[str]) -> int:
    """Returns the command's exit status."""
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
        child.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        _signal_group(child.pid, signal.SIGKILL)


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
