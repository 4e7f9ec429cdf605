"""python -m tests.faults.run_shaky CORPUS BAD FUSE WORKERS: runs the shaky stage on the local runner."""

from __future__ import annotations

import sys

from pipelines.runners import open_runner
from schemas.corpus import Corpus
from tests.faults.stages import PARTITIONS, Shaky, ShakyParams
from transforms.core.beam import RunContext, RunStage, StageFingerprint


def main(url: str, bad: str, fuse: str, workers: str) -> None:
    """Runs the stage once."""
    stage = Shaky(ShakyParams(bad=int(bad), fuse=fuse))
    context = RunContext(Corpus(url, PARTITIONS), 0, 0.5, {stage.name: StageFingerprint("f", {})})
    with open_runner("local", int(workers), []) as pipeline:
        pipeline | RunStage(context, stage, [])
        pipeline.run().wait_until_finish()


if __name__ == "__main__":
    main(*sys.argv[1:])
