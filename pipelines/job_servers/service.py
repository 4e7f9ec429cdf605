"""A server process that ends with its driver, with a log and a scratch folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.job_servers import guard
from pipelines.job_servers.cache import RunnerError

ROOT = Path(__file__).parents[2]  # where the project's packages are imported from
_POLL_S = 0.05
_START_S = 180.0  # a JVM on a busy machine


class Service:
    """A running server process; a context manager that stops it.

    Args:
        name: name for messages.
        command: program and arguments; `{scratch}` in them is replaced by a scratch folder, which is removed when the server ends.
        environment: environment variables in addition to this process's own.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None):
        self.name = name
        self.scratch = tempfile.mkdtemp(prefix=f"cmcl-{name}-")
        self._log = os.path.join(self.scratch, "log")
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", guard.__file__, self.scratch, *(part.replace("{scratch}", self.scratch) for part in command)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )

    @property
    def pid(self) -> int:
        """The process id of the guard; the server and its children are below it."""
        return self._process.pid

    def log(self) -> str:
        """The server's output so far; empty after it was stopped."""
        try:
            return Path(self._log).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def await_line(self, pattern: str, timeout_s: float = _START_S) -> re.Match[str]:
        """Waits until the log matches `pattern`. Raises RunnerError, with the end of the log, when the server exits or time runs out."""
        end = time.monotonic() + timeout_s
        text = ""
        while time.monotonic() < end:
            ended = self._process.poll() is not None
            text = self.log() or text
            if found := re.search(pattern, text):
                return found
            if ended:
                raise RunnerError(f"{self.name} exited before it was ready: {text[-2000:]}")
            time.sleep(_POLL_S)
        raise RunnerError(f"{self.name} is not ready after {timeout_s:.0f} s: {text[-2000:]}")

    def stop(self) -> None:
        """Stops the server and everything it started; returns when all processes are gone."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def python_environment() -> dict[str, str]:
    """Environment variables for workers, under which `python` is this interpreter and finds the project."""
    paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }
