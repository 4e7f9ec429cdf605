"""Two drivers on one corpus in an object store: one works, the other is refused; a dead driver's lease is taken over."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipelines.lease import LEASE_S
from tests.engine_help import cmcl, need, start_cmcl, write_config
from tests.stores.stores import STORES, settings

pytestmark = [pytest.mark.runners, pytest.mark.timeout(1800)]

s3fs = pytest.importorskip("s3fs", reason="needs cmcl[s3]")
gcsfs_core = pytest.importorskip("gcsfs.core", reason="needs cmcl[gcp]")


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A corpus URL in a store, and the environment variables that point to that store."""
    need("go")
    start, variables = STORES[request.param]
    (tmp_path / "store").mkdir()
    with start(tmp_path / "store") as endpoint:
        yield f"{request.param}://corpora/made", variables(endpoint)


def filesystem_of(url: str, environment: dict[str, str]) -> fsspec.AbstractFileSystem:
    """The store's filesystem in this process."""
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if url.startswith("s3"):
        return s3fs.S3FileSystem(
            key=environment["FSSPEC_S3_KEY"],
            secret=environment["FSSPEC_S3_SECRET"],
            endpoint_url=environment["FSSPEC_S3_ENDPOINT_URL"],
            **options,
        )
    return gcsfs_core.GCSFileSystem(endpoint_url=environment["STORAGE_EMULATOR_HOST"], token="anon", **options)


def until(what: Callable[[], bool], limit_s: float = 120) -> None:
    """Waits until a condition holds."""
    end = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_second_driver_is_refused_and_a_killed_one_is_replaced(
    store: tuple[str, dict[str, str]], scenes: Path, wanted: str, tmp_path: Path
) -> None:
    corpus, environment = store
    fs = filesystem_of(corpus, environment)
    config = write_config(tmp_path / "config.yaml", {**settings(str(scenes)), "corpus": corpus})
    first = start_cmcl("run", config, "--quiet", environment=environment)
    until(lambda: fs.exists(f"{corpus}/.lock"))
    second = cmcl("run", config, "--quiet", environment=environment, check=False)
    assert second.returncode == 1
    assert f"another run (process {first.pid} on " in second.stderr and "Traceback" not in second.stderr
    assert first.poll() is None, "the first was to be at work still"
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert fs.exists(f"{corpus}/.lock")
    cmcl("run", config, "--quiet", environment=environment)
    assert cmcl("hash", corpus, environment=environment).stdout.splitlines()[-1].split()[0] == wanted
    assert not fs.exists(f"{corpus}/.lock")


@pytest.mark.parametrize(("age_s", "refused"), [(0.0, True), (LEASE_S + 5, False)])
def test_a_driver_elsewhere_is_dead_when_its_lease_expired(
    store: tuple[str, dict[str, str]], age_s: float, refused: bool, scenes: Path, tmp_path: Path
) -> None:
    corpus, environment = store
    fs = filesystem_of(corpus, environment)
    holder = {"host": "elsewhere", "process": 7, "run": "other", "renewed": time.time() - age_s}
    fs.pipe_file(f"{corpus}/.lock", json.dumps(holder).encode())
    config = write_config(tmp_path / "config.yaml", {**settings(str(scenes)), "corpus": corpus})
    done = cmcl("run", config, "--quiet", environment=environment, check=False)
    assert done.returncode == int(refused)
    assert ("process 7 on elsewhere" in done.stderr) == refused
    assert fs.exists(f"{corpus}/.lock") == refused


HOLD = """
import signal, sys, time
from pipelines import lease
from schemas.errors import CorpusError
lease.RENEW_S = 0.2
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, if the parent ignores it
try:
    with lease.leased(sys.argv[1]):
        print("held", flush=True)
        time.sleep(float(sys.argv[2]))
except CorpusError as error:
    sys.exit(str(error))
"""


def test_a_run_whose_lease_was_removed_stops_when_another_has_come_in(store: tuple[str, dict[str, str]]) -> None:
    corpus, environment = store
    fs = filesystem_of(corpus, environment)

    def start(seconds: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, corpus, str(seconds)]
        return subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    first = start(120)
    assert first.stdout and first.stdout.readline() == "held\n"
    fs.rm_file(f"{corpus}/.lock")
    until(lambda: fs.exists(f"{corpus}/.lock"))  # taken again
    assert first.poll() is None
    fs.pipe_file(f"{corpus}/.lock", json.dumps({"host": "elsewhere", "process": 7, "run": "other", "renewed": 0}).encode())
    second = start(3)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 1 and re.search(r"another run \(process (7 on elsewhere|\d+ on .*)\) has taken over", said), said
    assert second.communicate(timeout=60)[1] == "" and second.returncode == 0
