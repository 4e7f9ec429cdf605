"""A server that lives as long as its driver, with its log and its scratch folder."""

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
    """A running server process; a context manager that ends it.

    Args:
        name: what it is, for messages.
        command: program and arguments; `{scratch}` in them stands for a folder of its own, removed when it ends.
        environment: variables set beside this process' own.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None):
        self.name = name
        self.scratch = tempfile.mkdtemp(prefix=f"cmcl-{name}-")
        self._log = os.path.join(self.scratch, "log")
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", guard.__file__, self.scratch, *(part.replace("{scratch}", self.scratch) for part in command)],
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})})

    @property
    def pid(self) -> int:
        """The process id of the guard; the server and its children are below it."""
        return self._process.pid

    def log(self) -> str:
        """What the server has written so far; empty once it is stopped."""
        try:
            return Path(self._log).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def await_line(self, pattern: str, timeout_s: float = _START_S) -> re.Match[str]:
        """Waits for a line of the log. Raises RunnerError, with the log's end, when the server ends or does not say it in time."""
        end = time.monotonic() + timeout_s
        said = ""
        while time.monotonic() < end:
            ended = self._process.poll() is not None
            said = self.log() or said
            if found := re.search(pattern, said):
                return found
            if ended:
                raise RunnerError(f"{self.name} ended before it served: {said[-2000:]}")
            time.sleep(_POLL_S)
        raise RunnerError(f"{self.name} does not serve after {timeout_s:.0f} s: {said[-2000:]}")

    def stop(self) -> None:
        """Ends the server and everything that it started; returns when all of it is gone."""
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
    """Variables under which `python` is this interpreter and finds the project: what workers are started with."""
    paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {"PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]),
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
