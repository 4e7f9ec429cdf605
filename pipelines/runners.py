"""Beam runners and their options. The local runner is named outright: Beam's default would look for a binary to download."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Sequence

import apache_beam as beam
import psutil
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from pipelines.local_worker import DRIVER


def is_local(beam_options: Sequence[str]) -> bool:
    """Whether the options leave the choice of runner to us."""
    return not any(option == "--runner" or option.startswith("--runner=") for option in beam_options)


def make_pipeline(workers: int, beam_options: Sequence[str]) -> beam.Pipeline:
    """A pipeline on the runner that `beam_options` name, else on the local one.

    Locally one worker runs inside this process, more run as processes of their own (`pipelines/local_worker.py`).
    """
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    if not is_local(beam_options):
        return beam.Pipeline(options=PipelineOptions(list(beam_options)))
    # Work is parallel by partition; threads inside of kernels would fight over the cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    options = PipelineOptions([*beam_options, f"--direct_num_workers={workers}"])
    if workers == 1:
        return beam.Pipeline(runner=FnApiRunner(), options=options)
    os.environ[DRIVER] = str(os.getpid())
    environment = SubprocessSDKEnvironment(
        command_string=f"{shlex.quote(sys.executable)} -m pipelines.local_worker")
    return beam.Pipeline(runner=FnApiRunner(default_environment=environment), options=options)


def end_workers() -> None:
    """Ends the local runner's worker processes at once, so that none writes after an interrupt."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(children, timeout=5)
