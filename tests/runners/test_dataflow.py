"""Dataflow jobs, built and staged but not executed: the template, the artefacts, and the staged pipeline run locally from them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.engine_help import LONG_S, cmcl, need
from tests.stores.servers import fake_gcs
from tests.stores.stores import gcs_environment

pytestmark = [pytest.mark.runners, pytest.mark.timeout(1800)]

pytest.importorskip("apache_beam.runners.dataflow.internal.apiclient", reason="needs cmcl[gcp]")

IMAGE = "europe-docker.pkg.dev/cmcl-test/cmcl/worker:0.1"
T4 = "type:nvidia-tesla-t4;count:1;install-nvidia-driver"
RUN = """
import sys
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
import pipelines, transforms
assert pipelines.__file__.startswith(sys.prefix) and transforms.__file__.startswith(sys.prefix)
pipeline = beam_runner_api_pb2.Pipeline.FromString(open(sys.argv[1], "rb").read())
for environment in pipeline.components.environments.values():
    environment.urn, environment.payload = "beam:env:embedded_python:v1", b""  # in place of the container
FnApiRunner().run_via_runner_api(pipeline, PipelineOptions([])).wait_until_finish()
"""


def staged(config: str, store: Path, environment: dict[str, str], *options: str) -> tuple[dict[str, Any], Path]:
    """The job template that a run writes, and the folder with its staged artefacts."""
    done = cmcl(
        "run",
        config,
        "--runner",
        "dataflow",
        "--quiet",
        "--set",
        "corpus=gs://corpora/made",
        "--set",
        "resources.tfidf.min_ram=8GB",
        "--set",
        f"resources.examples.accelerator={T4}",
        "--",
        "--project=cmcl-test",
        "--region=europe-west4",
        "--temp_location=gs://corpora/temp",
        "--staging_location=gs://corpora/staging",
        "--template_location=gs://corpora/templates/job",
        "--no_auth",
        *options,
        environment=environment,
    )
    assert "written as a template" in done.stdout
    template = json.loads((store / "corpora/templates/job").read_text())
    (folder,) = (store / "corpora/staging").iterdir()
    return template, folder


def test_the_template_and_the_staged_pipeline(demo_without_torch: tuple[str, str], tmp_path: Path) -> None:
    need("go")
    config, wanted = demo_without_torch
    store = tmp_path / "store"
    store.mkdir()
    with fake_gcs(store) as endpoint:
        make_bucket(endpoint, "corpora")
        environment = gcs_environment(endpoint)
        template, folder = staged(config, store, environment, "--worker_machine_type=n2-highmem-4")
        pool = template["environment"]["workerPools"][0]
        assert pool["machineType"] == "n2-highmem-4"
        assert {"workflow.tar.gz", "requirements.txt"} <= {package["name"] for package in pool["packages"]}
        assert {image["containerImage"].rpartition("/")[2] for image in pool["sdkHarnessContainerImages"]} == {"beam_python3.11_sdk:2.77.0"}
        assert hints_of(folder / "pipeline.pb") == {
            "tfidf/Run": {"beam:resources:min_ram_bytes:v1": b"8000000000"},
            "examples/Run": {"beam:resources:accelerator:v1": T4.encode()},
        }
        python = empty_environment(tmp_path / "worker", folder)
        subprocess.run(
            [python, "-I", "-c", RUN, str(folder / "pipeline.pb")],
            check=True,
            timeout=LONG_S,
            cwd=tmp_path,
            env={**os.environ, **environment},
        )
        # A job that ran without its driver has nobody to name its manifests in corpus.json; a run that finds nothing to do names them.
        sealed = cmcl("run", demo_without_torch[0], "--quiet", "--set", "corpus=gs://corpora/made", environment=environment)
        assert "nothing to do" in sealed.stdout
        cmcl("verify", "gs://corpora/made", environment=environment)
        assert cmcl("hash", "gs://corpora/made", environment=environment).stdout.splitlines()[-1].split()[0] == wanted


def test_a_custom_worker_image(demo_without_torch: tuple[str, str], tmp_path: Path) -> None:
    """The image contains the project, so only the pipeline is staged."""
    need("go")
    store = tmp_path / "store"
    store.mkdir()
    with fake_gcs(store) as endpoint:
        make_bucket(endpoint, "corpora")
        template, folder = staged(demo_without_torch[0], store, gcs_environment(endpoint), f"--sdk_container_image={IMAGE}")
    pool = template["environment"]["workerPools"][0]
    assert {image["containerImage"] for image in pool["sdkHarnessContainerImages"]} == {IMAGE}
    assert not (folder / "workflow.tar.gz").exists()


def test_the_package_carries_its_data(tmp_path: Path) -> None:
    """The package that workers install includes weights and word lists."""
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "setup.py", "-q", "sdist", "--dist-dir", str(tmp_path), "egg_info", "--egg-base", str(tmp_path)],
        cwd=root,
        check=True,
        capture_output=True,
        timeout=LONG_S,
    )
    (package,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(package) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    data = {
        str(path.relative_to(root))
        for room in ("transforms", "pipelines")
        for path in (root / room).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert data
    assert data <= names


def make_bucket(endpoint: str, name: str) -> None:
    """Creates a bucket in a fake-gcs-server."""
    request = urllib.request.Request(
        f"{endpoint}/storage/v1/b?project=p", json.dumps({"name": name}).encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=30).close()


def hints_of(pipeline: Path) -> dict[str, dict[str, bytes]]:
    """The resource hints of the transforms that have any."""
    from apache_beam.portability.api import beam_runner_api_pb2

    components = beam_runner_api_pb2.Pipeline.FromString(pipeline.read_bytes()).components
    return {
        transform.unique_name: hints
        for transform in components.transforms.values()
        if transform.unique_name.endswith("/Run") and (hints := dict(components.environments[transform.environment_id].resource_hints))
    }


def empty_environment(folder: Path, artefacts: Path) -> str:
    """Creates a virtual environment with only the staged package and requirements; returns its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=LONG_S)
    python = str(folder / "bin" / "python")
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", str(artefacts / "workflow.tar.gz"), "-r", str(artefacts / "requirements.txt")],
        check=True,
        timeout=LONG_S,
    )
    return python
