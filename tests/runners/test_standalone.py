"""A Spark standalone cluster: a master, two worker processes, and an executor that is killed during the run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pipelines.job_servers.cache import jvm_home
from pipelines.job_servers.servers import jvm, spark_job_server
from pipelines.job_servers.service import Service
from tests.engine_help import LONG_S, cmcl, hash_of, need, start_cmcl, temporaries

pytestmark = [pytest.mark.runners, pytest.mark.timeout(1800)]

EXECUTORS = 2


@dataclass(frozen=True)
class Cluster:
    """The endpoint of a job server whose jobs run on the cluster, and the worker daemons' processes."""

    endpoint: str
    workers: list[Service]

    def executors(self) -> list[psutil.Process]:
        """The executors' processes, without their forks, which have the same command line until they execute another program."""
        found = {}
        for worker in self.workers:
            for process in psutil.Process(worker.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if "CoarseGrainedExecutorBackend" in " ".join(process.cmdline()):
                        found[process.pid] = process, process.ppid()
        return [process for process, parent in found.values() if parent not in found]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    need("java", "mvn")
    home = jvm_home("spark")
    environment = {"SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_SCALA_VERSION": "2.12"}
    java = jvm("spark", "256m")
    with ExitStack() as stack:
        master = stack.enter_context(
            Service(
                "spark-master",
                [*java, "org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0"],
                environment,
            )
        )
        url = master.await_line(r"Starting Spark master at (spark://\S+)").group(1)
        workers = []
        for _ in range(EXECUTORS):
            worker = stack.enter_context(
                Service(
                    "spark-worker",
                    [
                        *java,
                        "org.apache.spark.deploy.worker.Worker",
                        "--host",
                        "127.0.0.1",
                        "--webui-port",
                        "0",
                        "--cores",
                        "1",
                        "--memory",
                        "1g",
                        "--work-dir",
                        "{scratch}/work",
                        url,
                    ],
                    environment,
                )
            )
            worker.await_line(r"Successfully registered with master")
            workers.append(worker)
        opens = " ".join(part for part in java if part.startswith("--add-opens"))
        service, endpoint = spark_job_server(
            url,
            properties=[
                "spark.executor.memory=512m",
                "spark.executor.cores=1",
                f"spark.executor.extraJavaOptions={opens} -XX:+UseSerialGC",
                "spark.jars=",
            ],
        )
        stack.enter_context(service)
        yield Cluster(endpoint, workers)


def test_two_workers(demo: tuple[str, str], cluster: Cluster, tmp_path: Path) -> None:
    config, wanted = demo
    corpus = tmp_path / "corpus"
    process = start_cmcl(
        "run",
        config,
        "--quiet",
        "--runner",
        "spark",
        "--workers",
        "1",
        "--set",
        f"corpus={corpus}",
        "--",
        f"--job_endpoint={cluster.endpoint}",
        "--environment_type=PROCESS",
    )
    most = 0
    try:
        end = time.monotonic() + LONG_S
        while process.poll() is None:
            assert time.monotonic() < end
            most = max(most, len(cluster.executors()))
            time.sleep(0.1)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
    assert hash_of(str(corpus)) == wanted
    assert most == EXECUTORS


def test_a_killed_executor(coco: tuple[str, str], cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Spark reruns the lost tasks, or fails the job; either way the corpus is complete in the end."""
    config, wanted = coco
    corpus = tmp_path / "corpus"
    arguments = [
        "run",
        config,
        "--quiet",
        "--runner",
        "spark",
        "--workers",
        "1",
        "--set",
        f"corpus={corpus}",
        "--",
        f"--job_endpoint={cluster.endpoint}",
        "--environment_type=PROCESS",
    ]
    process = start_cmcl(*arguments)
    try:
        end = time.monotonic() + LONG_S
        while not list(corpus.glob("tfidf/task-*.json")):
            assert process.poll() is None, "the run ended before it reached the search"
            assert time.monotonic() < end
            time.sleep(0.05)
        victims = cluster.executors()
        assert victims
        victims[0].kill()
        status = process.wait(LONG_S)
    finally:
        process.kill()
        process.wait()
    with capsys.disabled():
        print(f"\nexecutor killed in mid-run: Spark {'failed the job, run again' if status else 'ran its tasks elsewhere'}; hash equal")
    if status:
        cmcl(*arguments)
    assert hash_of(str(corpus)) == wanted
    assert temporaries(str(corpus)) == []
