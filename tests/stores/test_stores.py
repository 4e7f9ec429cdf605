"""Input from and output to real stores over the network, whole and failing now and then: the same corpus as on a disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipelines.scenes import make_scenes
from tests.engine_help import cmcl, hash_of, need, write_config
from tests.stores.servers import SECRET, USER, FaultyProxy, fake_gcs, minio, web_server

pytestmark = [pytest.mark.runners, pytest.mark.timeout(1800)]

pytest.importorskip("s3fs", reason="needs cmcl[s3]")
pytest.importorskip("gcsfs", reason="needs cmcl[gcp]")
pytest.importorskip("aiohttp", reason="needs cmcl[http]")

SHARE = 0.08  # of the requests that the faulty proxy spoils


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty scenes with photos and captions, and 100 sentences."""
    folder = tmp_path_factory.mktemp("inputs")
    make_scenes(folder / "scenes", 30, 3, texts=100, shard_size=10)
    return folder


def settings(inputs: str) -> dict[str, Any]:
    """A corpus over the scenes below a URL."""
    return {"partitions": 3, "tfidf": {"k": 10},
            "pairs": [{"format": "coco", "name": "scenes", "captions": f"{inputs}/scenes/captions-*.json",
                       "images": f"{inputs}/scenes/images"}],
            "texts": [{"format": "text", "name": "stories", "files": f"{inputs}/scenes/texts-*.txt"}]}


@pytest.fixture(scope="module")
def wanted(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash of the corpus made on a disk from a disk."""
    folder = tmp_path_factory.mktemp("local")
    cmcl("run", write_config(folder / "config.yaml", {**settings(str(scenes)), "corpus": str(folder / "corpus")}), "--quiet")
    return hash_of(str(folder / "corpus"))


def s3_environment(endpoint: str) -> dict[str, str]:
    """Variables under which s3:// means this MinIO."""
    return {"FSSPEC_S3_ENDPOINT_URL": endpoint, "FSSPEC_S3_KEY": USER, "FSSPEC_S3_SECRET": SECRET,
            "FSSPEC_S3": json.dumps({"config_kwargs": {"read_timeout": 2, "connect_timeout": 5}})}


def gcs_environment(endpoint: str) -> dict[str, str]:
    """Variables under which gs:// means this fake-gcs-server."""
    return {"STORAGE_EMULATOR_HOST": endpoint, "FSSPEC_GS": json.dumps({"token": "anon", "requests_timeout": 2}),
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}


@contextmanager
def s3(folder: Path) -> Iterator[str]:
    """A MinIO with a bucket `corpora`; yields its endpoint."""
    with minio(folder) as endpoint:
        fsspec.filesystem("s3", key=USER, secret=SECRET, endpoint_url=endpoint).mkdir("corpora")
        yield endpoint


@contextmanager
def gcs(folder: Path) -> Iterator[str]:
    """A fake-gcs-server with a bucket `corpora`; yields its endpoint."""
    with fake_gcs(folder) as endpoint:
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/storage/v1/b?project=p", json.dumps({"name": "corpora"}).encode(),
                                                      {"Content-Type": "application/json"}), timeout=30).close()
        yield endpoint


STORES = {"s3": (s3, s3_environment), "gs": (gcs, gcs_environment)}


def made(tmp_path: Path, inputs: str, corpus: str, environment: dict[str, str], *arguments: str) -> str:
    """The hash of the corpus that a run makes at a URL, read back through the same environment."""
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
        upload = ("import fsspec, sys; fs, path = fsspec.core.url_to_fs(sys.argv[2]); fs.put(sys.argv[1], path, recursive=True)")
        run_python(upload, f"{scenes}/", f"{protocol}://corpora/inputs/", environment=environment)
        corpus = f"{protocol}://corpora/made"
        assert made(tmp_path, f"{protocol}://corpora/inputs", corpus, environment, "--workers", "2") == wanted
        again = cmcl("run", str(tmp_path / "config.yaml"), environment=environment)
        assert "nothing to do" in again.stdout


@pytest.mark.parametrize("protocol", STORES)
def test_a_store_that_fails_now_and_then(protocol: str, scenes: Path, wanted: str, tmp_path: Path,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    """503, requests without an answer, and cut connections cost retries, not data."""
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


def test_input_from_a_web_server_that_fails_now_and_then(scenes: Path, wanted: str, tmp_path: Path,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    with web_server(scenes) as url, FaultyProxy(url, SHARE, seed=2) as proxy:
        assert made(tmp_path, proxy.endpoint, str(tmp_path / "corpus"), {}) == wanted
    assert all(proxy.faults.values())
    with capsys.disabled():
        print(f"\nhttp: {proxy.requests} requests, of which spoilt: {proxy.faults}; hash equal")


def test_a_web_server_takes_no_corpus(scenes: Path, tmp_path: Path) -> None:
    with web_server(scenes) as url:
        config = write_config(tmp_path / "config.yaml", {**settings(str(scenes)), "corpus": f"{url}/corpus"})
        failed = cmcl("run", config, "--quiet", check=False)
    assert failed.returncode == 1
    assert "for input alone" in failed.stderr


def run_python(program: str, *arguments: str, environment: dict[str, str]) -> None:
    """Runs a piece of Python in a process of its own, under an environment."""
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, env={**os.environ, **environment}, timeout=300)
