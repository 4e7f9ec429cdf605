"""Input from and output to real stores over the network, with and without intermittent failures: the same corpus as on a disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine_help import cmcl, need, write_config
from tests.stores.servers import FaultyProxy, web_server
from tests.stores.stores import STORES, settings

pytestmark = [pytest.mark.runners, pytest.mark.timeout(1800)]

pytest.importorskip("s3fs", reason="needs cmcl[s3]")
pytest.importorskip("gcsfs", reason="needs cmcl[gcp]")
pytest.importorskip("aiohttp", reason="needs cmcl[http]")

SHARE = 0.08  # share of requests that the proxy makes fail


def made(tmp_path: Path, inputs: str, corpus: str, environment: dict[str, str], *arguments: str) -> str:
    """The hash of the corpus that a run builds at a URL, read back in the same environment."""
    config = write_config(tmp_path / "config.yaml", {**settings(inputs), "corpus": corpus})
    cmcl("run", config, "--quiet", *arguments, environment=environment)
    cmcl("verify", corpus, environment=environment)
    return cmcl("hash", corpus, environment=environment).stdout.splitlines()[-1].split()[0]


@pytest.mark.parametrize("protocol", STORES)
def test_input_and_output_in_an_object_store(protocol: str, scenes: Path, wanted: str, tmp_path: Path) -> None:
    need("go")
    start, variables = STORES[protocol]
    (tmp_path / "store").mkdir()
    with start(tmp_path / "store") as endpoint:
        environment = variables(endpoint)
        upload = "import fsspec, sys; fs, path = fsspec.core.url_to_fs(sys.argv[2]); fs.put(sys.argv[1], path, recursive=True)"
        run_python(upload, f"{scenes}/", f"{protocol}://corpora/inputs/", environment=environment)
        corpus = f"{protocol}://corpora/made"
        assert made(tmp_path, f"{protocol}://corpora/inputs", corpus, environment, "--workers", "2") == wanted
        again = cmcl("run", str(tmp_path / "config.yaml"), environment=environment)
        assert "nothing to do" in again.stdout


@pytest.mark.parametrize("protocol", STORES)
def test_a_store_that_fails_now_and_then(
    protocol: str, scenes: Path, wanted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """HTTP 503, requests without a response, and broken connections cost retries, not data."""
    need("go")
    start, variables = STORES[protocol]
    (tmp_path / "store").mkdir()
    with start(tmp_path / "store") as endpoint, FaultyProxy(endpoint, SHARE) as proxy:
        assert made(tmp_path, str(scenes), f"{protocol}://corpora/made", variables(proxy.endpoint)) == wanted
    assert all(proxy.faults.values())
    with capsys.disabled():
        print(f"\n{protocol}: {proxy.requests} requests, of which spoilt: {proxy.faults}; hash equal")


def test_input_from_a_web_server(scenes: Path, wanted: str, tmp_path: Path) -> None:
    with web_server(scenes) as url:
        assert made(tmp_path, url, str(tmp_path / "corpus"), {}) == wanted


def test_input_from_a_web_server_that_fails_now_and_then(
    scenes: Path, wanted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with web_server(scenes) as url, FaultyProxy(url, SHARE, seed=2) as proxy:
        assert made(tmp_path, proxy.endpoint, str(tmp_path / "corpus"), {}) == wanted
    assert all(proxy.faults.values())
    with capsys.disabled():
        print(f"\nhttp: {proxy.requests} requests, of which spoilt: {proxy.faults}; hash equal")


def test_a_corpus_on_a_web_server_is_refused(scenes: Path, tmp_path: Path) -> None:
    with web_server(scenes) as url:
        config = write_config(tmp_path / "config.yaml", {**settings(str(scenes)), "corpus": f"{url}/corpus"})
        failed = cmcl("run", config, "--quiet", check=False)
    assert failed.returncode == 1
    assert "read-only" in failed.stderr


def run_python(program: str, *arguments: str, environment: dict[str, str]) -> None:
    """Runs Python code in a separate process, with environment variables."""
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, env={**os.environ, **environment}, timeout=300)
