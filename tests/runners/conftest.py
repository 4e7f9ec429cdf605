"""Corpora built once by the local runner, and job servers, shared by the runners' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.job_servers.servers import flink_job_server, spark_job_server
from tests.engine_help import cmcl, coco_settings, demo_settings, hash_of, need, write_config


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A configuration of the demo corpus, and its hash when built by one local worker."""
    folder = tmp_path_factory.mktemp("demo")
    return _reference(folder, demo_settings(folder))


@pytest.fixture(scope="session")
def demo_without_torch(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The same without regions, back-translation and retrieval: torch is not staged with the package, but part of the worker image."""
    folder = tmp_path_factory.mktemp("light")
    settings = demo_settings(folder)
    del settings["regions"], settings["back_translation"], settings["retrieval"]
    return _reference(folder, settings)


@pytest.fixture(scope="session")
def coco(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> tuple[str, str]:
    """A configuration of COCO's captions, and the corpus's hash when built by one local worker."""
    folder = tmp_path_factory.mktemp("coco")
    return _reference(folder, coco_settings(shared_data, folder))


def _reference(folder: Path, values: dict[str, Any]) -> tuple[str, str]:
    config = write_config(folder / "config.yaml", {**values, "corpus": str(folder / "local-1")})
    cmcl("run", config, "--workers", "1", "--quiet")
    return config, hash_of(str(folder / "local-1"))


@pytest.fixture(scope="module")
def spark() -> Iterator[str]:
    """The endpoint of a Spark job server over local[2]."""
    need("java", "mvn")
    service, endpoint = spark_job_server("local[2]")
    with service:
        yield endpoint


@pytest.fixture(scope="module")
def flink() -> Iterator[str]:
    """The endpoint of a Flink job server over a local cluster."""
    need("java", "mvn")
    service, endpoint = flink_job_server("[local]")
    with service:
        yield endpoint
