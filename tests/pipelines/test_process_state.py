"""`pipelines.process_state` and `pipelines.interrupts`: a run restores the process-wide state that it changes."""

from __future__ import annotations

import logging
import os
import platform
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path

import apache_beam as beam
import pytest

from pipelines.interrupts import interruptible
from pipelines.process_state import environment, log_level, sigterm_interrupts, thread_failures
from pipelines.runners import open_runner
from transforms.core.instructions import FOUND, SWITCHES
from transforms.core.task import tasks_cancelled


def state() -> tuple[object, ...]:
    return (
        threading.excepthook,
        logging.getLogger().level,
        logging.getLogger("apache_beam").level,
        logging.root.manager.disable,
        dict(os.environ),
        signal.getsignal(signal.SIGTERM),
        signal.getsignal(signal.SIGINT),
    )


def test_an_engine_leaves_the_process_as_it_was():
    before = state()
    with interruptible(lambda: None), open_runner("local", 2, []):
        assert state() != before
    assert state() == before and not tasks_cancelled()


@pytest.mark.parametrize(
    "change",
    [
        lambda: log_level(logging.CRITICAL),
        lambda: environment(CMCL_TEST="1", PATH="/nowhere"),
        lambda: thread_failures(lambda failure: True),
        sigterm_interrupts,
    ],
)
def test_each_change_is_undone_when_the_block_fails(change):
    before = state()
    with pytest.raises(ZeroDivisionError), change():
        assert state() != before
        raise ZeroDivisionError
    assert state() == before


def test_failures_of_other_threads_go_to_the_previous_hook():
    seen: list[str] = []
    before = threading.excepthook
    threading.excepthook = lambda failure: seen.append(str(failure.exc_value))
    try:
        with thread_failures(lambda failure: str(failure.exc_value) == "ours"):
            for text in ("ours", "theirs"):
                thread = threading.Thread(target=lambda text=text: (_ for _ in ()).throw(ValueError(text)).__next__())
                thread.start()
                thread.join()
    finally:
        threading.excepthook = before
    assert seen == ["theirs"]


_EARLY = """
import os, signal, sys
from pipelines import cli, status
import pipelines.config as config
config.load_config = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
sys.exit(cli.main(["run", "c.yaml"]))
"""


def test_sigterm_before_the_pipeline_is_built_is_an_interrupt():
    found = subprocess.run([sys.executable, "-c", _EARLY], cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120)
    assert found.returncode == 130 and "Traceback" not in found.stderr and "run again to resume" in found.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_failing_task_is_one_line(workers: str, tmp_path: Path):
    (tmp_path / "bad.json").write_text('{"images": 3}')
    (tmp_path / "c.yaml").write_text("corpus: c\npixels: false\npartitions: 2\npairs: [{format: coco, name: a, captions: bad.json}]\n")
    found = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "run", str(tmp_path / "c.yaml"), "--workers", workers, "--quiet"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 1
    assert found.stderr.startswith("cmcl: error: ") and "bad.json" in found.stderr and found.stderr.count("\n") == 1


def test_a_pipeline_runs_in_a_notebook_without_beams_interactive_parts(monkeypatch):
    """Beam imports them when IPython is there, and with them what pandas 3 no longer has."""
    from apache_beam.utils import interactive_utils

    shell = types.SimpleNamespace(execution_count=1, config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "apache_beam.runners.interactive.interactive_environment", None)  # importing it is an error
    assert interactive_utils.is_in_notebook()
    with open_runner("local", 1, []) as pipeline:
        _ = pipeline | beam.Create([1, 2]) | beam.Map(str)
        pipeline.run().wait_until_finish()
    assert interactive_utils.is_in_notebook()


CAPABILITY = "import torch; print(torch.backends.cpu.get_cpu_capability())"


def words_of(code: str) -> list[str]:
    """What code prints in a process whose environment restricts no instructions."""
    free = {name: value for name, value in os.environ.items() if name not in (*SWITCHES, FOUND)}
    return subprocess.run([sys.executable, "-c", code], env=free, capture_output=True, text=True, check=True).stdout.split()


@pytest.fixture(scope="module")
def widest() -> str:
    """The widest instructions that torch uses here."""
    pytest.importorskip("torch")
    return words_of(CAPABILITY)[0]


@pytest.mark.parametrize("command", ["train", "ablate", "status"])
def test_the_trainer_alone_uses_all_instructions_of_the_cpu(command, widest, tmp_path):
    entered = f"import sys; sys.argv = ['cmcl', {command!r}, {str(tmp_path / 'absent.yaml')!r}]; from pipelines.cli import main; assert main() == 1"
    started = f"import os, subprocess; subprocess.run([sys.executable, '-c', 'import transforms; ' + {CAPABILITY!r}])"
    restricted = command == "status" and platform.machine() in ("x86_64", "AMD64")
    assert words_of(f"{entered}; {CAPABILITY}; {started}") == [min(widest, "AVX2") if restricted else widest] * 2


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="nothing is restricted except on x86-64")
def test_the_trainer_uses_them_in_a_process_of_a_restricted_one_as_well(widest, tmp_path):
    """As the demo does, and any notebook that builds a corpus before it trains."""
    told = "import os; print(os.environ['MKL_CBWR'], os.environ['FAISS_OPT_LEVEL'], os.environ.get('CT2_USE_MKL'))"
    command = f"import sys; sys.argv = ['cmcl', 'train', {str(tmp_path / 'absent.yaml')!r}]; from pipelines.cli import main; main()"
    found = "os.environ['MKL_CBWR'] = 'AVX512'; os.environ['FAISS_OPT_LEVEL'] = 'AVX2'"  # the user's own; the second as we set it
    started = f"subprocess.run([sys.executable, '-c', {f'{command}; {CAPABILITY}; {told}'!r}])"
    assert words_of(f"import os, subprocess, sys; {found}; import transforms; {started}") == [widest, "AVX512", "AVX2", "None"]
