"""Beam runners and their options: local (in this process or in workers of its own), Spark, Flink and Prism (job servers), Dataflow.

The local runner is chosen explicitly: Beam's default would try to download a binary. Options given by the user take precedence over
those filled in here; options that this module does not know are passed to Beam unchanged.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import apache_beam as beam
import psutil
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from pipelines.job_servers.cache import RunnerError
from pipelines.job_servers.service import ROOT, Service
from pipelines.local_worker import DRIVER
from pipelines.process_state import environment, log_level, no_worker_tracebacks, not_in_ipython, thread_failures
from schemas.errors import ConfigError

_HERE = ("localhost", "127.0.0.1", "[::1]")
_INTERRUPT_AGAIN_S = 2.0
_KEEP_WORKERS_MS = 600_000  # otherwise Spark and Flink start a new worker for every step of a pipeline


@contextmanager
def open_runner(runner: str, workers: int, beam_options: Sequence[str]) -> Iterator[beam.Pipeline]:
    """A pipeline on a runner; servers started for it are stopped when the block ends.

    Args:
        runner: "local", "spark", "flink", "prism" or "dataflow". With "local", `--runner` in the options selects any Beam runner.
        workers: number of worker processes, where the runner lets us choose.
        beam_options: passed to Beam; `--job_endpoint`, `--environment_type`, `--spark_master_url`, `--flink_master` and the like are
            respected here.

    Raises RunnerError when something that the runner requires is missing or does not start.
    """
    given = list(beam_options)
    with ExitStack() as state:
        state.enter_context(not_in_ipython())
        if not os.environ.get("CMCL_DEBUG"):  # a failed task's error is reported once, when the job ends
            state.enter_context(log_level(logging.CRITICAL, "apache_beam"))
            state.enter_context(no_worker_tracebacks())
        # Partitions run in parallel; threads inside kernels would compete for the cores.
        state.enter_context(environment(OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "1"), **{DRIVER: str(os.getpid())}))
        if runner == "local":
            state.enter_context(_detecting_lost_workers())
            yield _pipeline(given) if _value(given, "runner") else _local_pipeline(workers, given)
        elif runner == "dataflow":
            yield _pipeline([*given, *_dataflow_options(given)])
        else:
            # Workers in this process log at length when their runner ends first; failures are reported through the job's state.
            state.enter_context(log_level(logging.CRITICAL, "apache_beam.runners.worker"))
            state.enter_context(thread_failures(_of_a_worker))
            filled = _portable_options(runner, workers, given, state)
            yield _pipeline([*given, "--runner=PortableRunner", *filled])


@contextmanager
def _detecting_lost_workers() -> Iterator[None]:
    """Ends the block with RunnerError when a worker process dies; Beam's local runner would wait forever for one that failed to start."""
    lost: list[str] = []
    ended = threading.Event()

    def handled(failure: threading.ExceptHookArgs) -> bool:
        if not str(failure.exc_value).startswith("Worker subprocess exited"):
            return False
        if not lost:
            lost.append(str(failure.exc_value))
            threading.Thread(target=_interrupt_until, args=(ended,), daemon=True).start()
        return True

    try:
        with thread_failures(handled):
            yield
    except BaseException as error:
        ended.set()
        if lost:
            raise RunnerError(f"the local runner lost a worker ({lost[0]}); completed tasks are kept; run again to resume") from error
        raise
    finally:
        ended.set()


def _interrupt_until(ended: threading.Event) -> None:
    """Interrupts the main thread until the block ends, because the runner swallows some of the exceptions.

    Sends a real signal: `interrupt_main` does not wake a main thread that is waiting for a lock.
    """
    while not ended.is_set():
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        ended.wait(_INTERRUPT_AGAIN_S)


def _pipeline(options: Sequence[str]) -> beam.Pipeline:
    try:
        return beam.Pipeline(options=PipelineOptions(list(options)))
    except ValueError as error:  # from Beam's own validation
        raise ConfigError(f"options after --: {error}") from None


def _local_pipeline(workers: int, beam_options: Sequence[str]) -> beam.Pipeline:
    """A single worker runs in this process; several run as separate processes (`pipelines/local_worker.py`)."""
    options = PipelineOptions([*beam_options, f"--direct_num_workers={workers}"])
    if workers == 1:
        return beam.Pipeline(runner=FnApiRunner(), options=options)
    # -P: never import from the user's current folder; the project's own folder is last on the path.
    code = f"import sys; sys.path.append({str(ROOT)!r}); from pipelines.local_worker import main; main()"
    environment = SubprocessSDKEnvironment(command_string=f"exec {shlex.quote(sys.executable)} -P -c {shlex.quote(code)}")
    return beam.Pipeline(runner=FnApiRunner(default_environment=environment), options=options)


def _portable_options(runner: str, workers: int, given: Sequence[str], services: ExitStack) -> list[str]:
    """Options that a job server's pipeline requires beyond the given ones; servers started for it are added to `services`."""
    from pipelines.job_servers.servers import flink_job_server, prism_job_server, spark_job_server

    def start(server: Callable[[], tuple[Service, str]]) -> str:
        service, address = server()
        services.enter_context(service)
        return address

    servers: dict[str, Callable[[], tuple[Service, str]]] = {
        "spark": lambda: spark_job_server(_value(given, "spark_master_url") or f"local[{workers}]"),
        "flink": lambda: flink_job_server(_value(given, "flink_master") or "[local]"),
        "prism": prism_job_server,
    }
    endpoint = _value(given, "job_endpoint")
    filled = [] if endpoint else [f"--job_endpoint={start(servers[runner])}"]
    if runner == "flink" and not _value(given, "parallelism"):
        filled.append(f"--parallelism={workers}")
    here = not endpoint or endpoint.rpartition(":")[0] in _HERE
    environment = _value(given, "environment_type")
    if here and not environment:
        filled += _environment(workers, start)
    elif environment == "PROCESS" and not _value(given, "environment_config"):
        filled.append(f"--environment_config={process_environment()}")
    if not _value(given, "environment_cache_millis"):
        filled.append(f"--environment_cache_millis={_KEEP_WORKERS_MS}")
    if not _value(given, "sdk_worker_parallelism"):
        filled.append(f"--sdk_worker_parallelism={workers}")
    return filled


def _of_a_worker(failure: threading.ExceptHookArgs) -> bool:
    return bool(failure.thread and failure.thread.name.startswith(("run_worker", "read_grpc_client_inputs", "beam_control")))


def process_environment() -> str:
    """The `--environment_config` of `--environment_type=PROCESS` (JSON): Beam's boot program, running this interpreter.

    Raises RunnerError when the boot program has to be built and Go is missing.
    """
    from pipelines.job_servers.cache import boot
    from pipelines.job_servers.service import python_environment

    # Without the last variable, the boot program would create an empty virtual environment and run in it.
    return json.dumps({"command": boot(), "env": {**python_environment(), "RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT": "1"}})


def _environment(workers: int, start: Callable[[Callable[[], tuple[Service, str]]], str]) -> list[str]:
    """A single worker runs in this process; several are processes of a worker pool."""
    from pipelines.job_servers.servers import worker_pool

    if workers == 1:
        return ["--environment_type=LOOPBACK"]
    return ["--environment_type=EXTERNAL", f"--environment_config={start(worker_pool)}"]


def _dataflow_options(given: Sequence[str]) -> list[str]:
    try:
        import apache_beam.runners.dataflow.internal.apiclient  # noqa: F401
    except ImportError as error:
        raise RunnerError(f"the Dataflow runner requires a missing package ({error}): pip install 'cmcl[gcp]'") from None
    filled = ["--runner=DataflowRunner"]
    own = any(_value(given, name) for name in ("setup_file", "requirements_file", "sdk_container_image"))
    if not own and (ROOT / "setup.py").is_file():
        needs = Path(__file__).parent / "job_servers" / "dataflow-requirements.txt"
        filled += [f"--setup_file={ROOT / 'setup.py'}", f"--requirements_file={needs}", "--requirements_cache=skip"]
    return filled


def _value(options: Sequence[str], name: str) -> str | None:
    """The value of the option `--name`, None when it is not given."""
    given = PipelineOptions(list(options)).get_all_options(drop_default=True, retain_unknown_options=True).get(name)
    return None if given is None else str(given)


def end_workers() -> None:
    """Kills all descendants of this process at once, so that none writes after an interrupt."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(children, timeout=5)
