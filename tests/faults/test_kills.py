"""Killed workers and killed drivers: running again gives the same corpus, and no leftovers remain."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.engine_help import LONG_S, cmcl, hash_of, start_cmcl, temporaries
from tests.faults.conftest import Undisturbed, rows_of

pytestmark = [pytest.mark.runners, pytest.mark.timeout(1800)]

MOMENTS = int(os.environ.get("CMCL_KILLS", "5"))


def workers_of(driver: psutil.Process) -> list[psutil.Process]:
    """The worker processes of a local run."""
    found = []
    for child in driver.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any("local_worker" in part for part in child.cmdline()):
                found.append(child)
    return found


def await_(condition: Any, timeout_s: float = LONG_S) -> Any:
    """The condition's value, as soon as it is true."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def same_rows(corpus: Path, config: str) -> bool:
    """Whether every table has the same number of rows as in the undisturbed corpus."""
    return rows_of(corpus) == rows_of(Path(config).parent / "corpus")


def test_a_killed_worker(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """The run ends with an error or without the worker; it does not hang, and the next one completes it."""
    corpus = tmp_path / "corpus"
    arguments = ["run", undisturbed.config, "--workers", "2", "--quiet", "--set", f"corpus={corpus}"]
    process = start_cmcl(*arguments)
    try:
        await_(lambda: process.poll() is not None or list(corpus.glob("tfidf_counts/task-*.json")))
        victims = workers_of(psutil.Process(process.pid))
        assert victims
        victims[0].kill()
        process.wait(LONG_S)
    finally:
        process.kill()
        process.wait()
    assert temporaries(str(corpus)) == []
    cmcl(*arguments)
    assert hash_of(str(corpus)) == undisturbed.hash
    assert same_rows(corpus, undisturbed.config)


def test_workers_killed_before_they_are_up(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """The run reports the lost worker and ends; Beam's runner alone would wait forever."""
    corpus = tmp_path / "corpus"
    arguments = ["run", undisturbed.config, "--workers", "2", "--quiet", "--set", f"corpus={corpus}"]
    with open(tmp_path / "errors", "w+") as errors:
        process = start_cmcl(*arguments, errors=errors)
        try:
            for victim in await_(lambda: workers_of(psutil.Process(process.pid))):
                victim.kill()
            assert process.wait(LONG_S) == 1
        finally:
            process.kill()
            process.wait()
        errors.seek(0)
        assert "the local runner lost a worker" in errors.read()
    cmcl(*arguments)
    assert hash_of(str(corpus)) == undisturbed.hash


def test_a_driver_killed_at_random_moments(undisturbed: Undisturbed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SIGKILL at random moments (`CMCL_KILLS`: how many) distributed over start-up, every stage and the end; each run resumes where the killed ones stopped."""
    moments = random.Random(4)
    corpus = tmp_path / "corpus"
    arguments = ["run", undisturbed.config, "--workers", "2", "--quiet", "--set", f"corpus={corpus}"]
    counts = {"killed": 0, "ended before": 0, "left temporary files": 0, "corpora completed": 0}
    span_s = undisturbed.wall_s
    while counts["killed"] < MOMENTS:
        start = time.monotonic()
        process = start_cmcl(*arguments)
        below: list[psutil.Process] = []
        try:
            process.wait(moments.uniform(0.2, 0.8) * span_s)
            counts["ended before"] += 1
            span_s = min(span_s, time.monotonic() - start)  # the machine is less busy than at first
        except subprocess.TimeoutExpired:
            below = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGKILL)
            counts["killed"] += 1
        process.wait()
        _, alive = psutil.wait_procs(below, timeout=60)
        assert alive == []
        if corpus.exists():
            counts["left temporary files"] += bool(temporaries(str(corpus)))
        if process.returncode == 0 or moments.random() < 0.2:
            counts["corpora completed"] += 1
            complete(arguments, corpus, undisturbed)
            shutil.rmtree(corpus)
    complete(arguments, corpus, undisturbed)
    with capsys.disabled():
        print(f"\ndrivers: {counts}; hash equal, rows equal, no temporary file after each rerun")


def complete(arguments: list[str], corpus: Path, undisturbed: Undisturbed) -> None:
    """Completes the run and compares its result with the undisturbed corpus."""
    cmcl(*arguments)
    assert hash_of(str(corpus)) == undisturbed.hash
    assert same_rows(corpus, undisturbed.config)
    assert temporaries(str(corpus)) == []


def test_two_drivers_at_once(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """The second one reports the holder and exits; the first is not disturbed."""
    corpus = tmp_path / "corpus"
    arguments = ["run", undisturbed.config, "--quiet", "--set", f"corpus={corpus}"]
    first = start_cmcl(*arguments)
    try:
        await_((corpus / "corpus.json").exists)
        second = cmcl(*arguments, check=False)
        assert first.poll() is None, "the first run ended before the second asked"
        assert second.returncode == 1
        assert f"another run (process {first.pid}" in second.stderr
        assert first.wait(LONG_S) == 0
    finally:
        first.kill()
        first.wait()
    assert hash_of(str(corpus)) == undisturbed.hash
