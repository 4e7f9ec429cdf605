"""A lease whose object is removed is taken again, or, if another run was faster, this run stops and names it. The stores are in tests/stores."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest

from pipelines import lease
from schemas.errors import CorpusError
from transforms.core.task import allow_tasks, tasks_cancelled

URL = "memory://lease/corpus"
LOCK = "/lease/corpus/.lock"
OTHER = {"host": "elsewhere", "process": 7, "run": "other"}

pytestmark = pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals go to the main thread")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(lease, "RENEW_S", 0.02)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    fs = fsspec.filesystem("memory")
    yield fs
    signal.signal(signal.SIGINT, before)
    allow_tasks()
    if fs.exists(LOCK):
        fs.rm_file(LOCK)


def until(what: Any) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def holder(fs: Any) -> Any:
    try:
        return json.loads(fs.cat_file(LOCK)).get("run")
    except (FileNotFoundError, ValueError):
        return None


def test_a_lease_that_was_removed_is_taken_again(store: Any) -> None:
    with lease.leased(URL):
        own = holder(store)
        store.rm_file(LOCK)
        until(lambda: holder(store) == own)
        assert not tasks_cancelled()
    assert holder(store) is None


def test_a_run_whose_lease_was_taken_stops_and_names_the_other(store: Any) -> None:
    begun = time.monotonic()
    with pytest.raises(
        CorpusError, match=r"another run \(process 7 on elsewhere\) has taken over memory://lease/corpus.*this run has stopped"
    ):
        with lease.leased(URL):
            store.pipe_file(LOCK, json.dumps({**OTHER, "renewed": time.time()}).encode())
            time.sleep(60)
    assert time.monotonic() - begun < 50 and tasks_cancelled() and holder(store) == "other"


def test_an_error_of_a_run_that_lost_its_lease_is_reported_as_that(store: Any) -> None:
    with pytest.raises(CorpusError, match="process 7 on elsewhere"):
        with lease.leased(URL):
            store.pipe_file(LOCK, json.dumps(OTHER).encode())
            until(tasks_cancelled)
            raise RuntimeError("a task was cancelled")


def test_a_store_that_fails_for_a_while_does_not_end_the_run(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failures = lease._read, [ConnectionResetError("cut")] * 3

    def shaky(*arguments: Any) -> Any:
        if failures and threading.current_thread() is not threading.main_thread():
            raise failures.pop()
        return real(*arguments)

    with lease.leased(URL):
        monkeypatch.setattr(lease, "_read", shaky)
        until(lambda: not failures)
        time.sleep(0.1)
        assert not tasks_cancelled()
    monkeypatch.setattr(lease, "LEASE_S", 0.0)
    with pytest.raises(CorpusError, match="an unknown host"):
        with lease.leased(URL):
            failures.append(ConnectionResetError("cut"))
            time.sleep(60)
