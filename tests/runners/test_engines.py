"""The same corpus on every runner, in every environment of Python workers, for any number of workers."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.engine_help import cmcl, hash_of, need

pytestmark = [pytest.mark.runners, pytest.mark.timeout(1800)]

JVM_ENGINES = ("spark", "flink")


def made(config: str, corpus: Path, *arguments: str) -> str:
    """The hash of the corpus that a run with these arguments builds."""
    scratch = corpus.with_name("scratch")
    scratch.mkdir()
    cmcl("run", config, "--quiet", "--set", f"corpus={corpus}", *arguments, environment={"TMPDIR": str(scratch)})
    assert [path.name for path in scratch.iterdir() if path.name.startswith("cmcl")] == []
    return hash_of(str(corpus))


def test_local_workers(demo: tuple[str, str], tmp_path: Path) -> None:
    config, wanted = demo
    assert made(config, tmp_path / "corpus", "--workers", "3") == wanted


def test_threads_of_kernels(demo: tuple[str, str], tmp_path: Path) -> None:
    """The hash, which covers floating-point scores, does not depend on the number of threads."""
    config, wanted = demo
    cmcl(
        "run",
        config,
        "--quiet",
        "--set",
        f"corpus={tmp_path / 'corpus'}",
        environment={name: "3" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")},
    )
    assert hash_of(str(tmp_path / "corpus")) == wanted


@pytest.mark.parametrize(("runner", "workers"), [("spark", 2), ("flink", 1), ("prism", 2)])
def test_engine_started_by_the_command(demo: tuple[str, str], tmp_path: Path, runner: str, workers: int) -> None:
    """With `--runner` alone, job server and workers are started and stopped with the run."""
    need(*(("go",) if runner == "prism" else ("java", "mvn")))
    config, wanted = demo
    assert made(config, tmp_path / "corpus", "--runner", runner, "--workers", str(workers)) == wanted
    left = [
        process.info for process in psutil.process_iter(["cmdline"]) if any(str(tmp_path) in part for part in process.info["cmdline"] or [])
    ]
    assert left == []


@pytest.mark.parametrize("runner", ["spark"])
def test_loopback(demo: tuple[str, str], tmp_path: Path, runner: str, request: pytest.FixtureRequest) -> None:
    """Workers as threads of the driver."""
    config, wanted = demo
    endpoint = request.getfixturevalue(runner)
    assert (
        made(config, tmp_path / "corpus", "--runner", runner, "--", f"--job_endpoint={endpoint}", "--environment_type=LOOPBACK") == wanted
    )


@pytest.mark.parametrize("runner", ["flink"])
def test_process(demo: tuple[str, str], tmp_path: Path, runner: str, request: pytest.FixtureRequest) -> None:
    """Two workers that the runner itself starts through Beam's boot program."""
    need("go")
    config, wanted = demo
    endpoint = request.getfixturevalue(runner)
    assert (
        made(
            config,
            tmp_path / "corpus",
            "--runner",
            runner,
            "--workers",
            "2",
            "--",
            f"--job_endpoint={endpoint}",
            "--environment_type=PROCESS",
        )
        == wanted
    )


@pytest.mark.parametrize("runner", JVM_ENGINES)
def test_coco_captions(coco: tuple[str, str], tmp_path: Path, runner: str, request: pytest.FixtureRequest) -> None:
    """Real captions through every stage, in a pool of two worker processes (EXTERNAL)."""
    config, wanted = coco
    endpoint = request.getfixturevalue(runner)
    assert made(config, tmp_path / "corpus", "--runner", runner, "--workers", "2", "--", f"--job_endpoint={endpoint}") == wanted
