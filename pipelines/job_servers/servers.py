"""The servers that portable runners require: job servers for Spark, Flink and Prism, and a pool of Python workers."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from pipelines.job_servers.cache import java, jvm_home, prism
from pipelines.job_servers.service import Service, python_environment

_OPENS = ("java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.time", "java.util",
          "java.util.concurrent", "java.util.concurrent.atomic", "sun.nio.ch", "sun.nio.cs", "sun.security.action",
          "sun.util.calendar")  # fmt: skip
JOB_SERVED = r"JobService started on (\S+:\d+)"


def jvm(engine: str, heap: str) -> list[str]:
    """The Java command up to the main class, with the class path of `spark` or `flink`. Raises RunnerError."""
    log = "-Dorg.slf4j.simpleLogger"
    return [
        java(),
        f"-Xmx{heap}",
        "-XX:+UseSerialGC",
        "-Djava.io.tmpdir={scratch}",
        f"{log}.defaultLogLevel=warn",
        f"{log}.log.org.apache.beam.runners.jobsubmission=info",
        f"{log}.log.org.apache.spark.deploy=info",
        *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENS),
        "-cp",
        os.path.join(jvm_home(engine), "jars", "*"),
    ]


def _ports(artifacts: bool = True) -> list[str]:
    return ["--job-port=0", "--artifact-port=0", "--expansion-port=-1", *(["--artifacts-dir={scratch}/artifacts"] if artifacts else [])]


def spark_job_server(master: str, heap: str = "1g", properties: Sequence[str] = ()) -> tuple[Service, str]:
    """A Spark job server and its endpoint.

    Args:
        master: Spark master, e.g. local[2] or spark://host:port. There is one Spark context, so jobs run one after another.
        heap: maximum heap of the JVM, which also runs the executors when the master is local.
        properties: Spark properties, `spark.name=value`.

    Raises RunnerError when it cannot be started.
    """
    command = jvm("spark", heap)
    set_ = [
        "-Dspark.ui.enabled=false",
        "-Dspark.driver.host=127.0.0.1",
        "-Dspark.driver.bindAddress=127.0.0.1",
        *(f"-D{property_}" for property_ in properties),
    ]
    return _serve(
        "spark-job-server",
        [command[0], *set_, *command[1:], "org.apache.beam.runners.spark.SparkJobServerDriver", *_ports(), f"--spark-master-url={master}"],
    )


def flink_job_server(master: str, heap: str = "1g") -> tuple[Service, str]:
    """A Flink job server and its endpoint; `master` is [local] or host:port. Raises RunnerError when it cannot be started."""
    return _serve(
        "flink-job-server",
        [*jvm("flink", heap), "org.apache.beam.runners.flink.FlinkJobServerDriver", *_ports(), f"--flink-master={master}"],
    )


def prism_job_server() -> tuple[Service, str]:
    """A Prism process and its endpoint. Raises RunnerError when it cannot be started."""
    service = Service("prism", [prism(), "--job_port=0", "--serve_http=false", "--log_kind=text"])
    return service, _endpoint(service, r"endpoint=(\S+:\d+)")


def worker_pool() -> tuple[Service, str]:
    """A pool that starts a Python process per worker that a runner requests, and its address (environment EXTERNAL)."""
    service = Service("worker-pool", [sys.executable, "-m", "pipelines.job_servers.pool"], python_environment())
    return service, _endpoint(service, r"Listening for workers at (\S+:\d+)")


def _serve(name: str, command: Sequence[str]) -> tuple[Service, str]:
    service = Service(name, command)
    return service, _endpoint(service, JOB_SERVED)


def _endpoint(service: Service, pattern: str) -> str:
    try:
        return service.await_line(pattern).group(1)
    except BaseException:
        service.stop()
        raise
