"""Engines that raise errors on certain rows, and engines that crash their process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.job_servers.service import python_environment
from schemas.corpus import Corpus
from schemas.corpus_hash import hash_table
from tests.engine_help import LONG_S, temporaries
from tests.faults.stages import PARTITIONS, ROWS

pytestmark = [pytest.mark.runners, pytest.mark.timeout(1200)]


def shaky(corpus: Path, bad: int = 0, fuse: Path | None = None, workers: int = 2) -> int:
    """Runs the stage in a separate process; returns its exit status."""
    return subprocess.run(
        [sys.executable, "-m", "tests.faults.run_shaky", str(corpus), str(bad), str(fuse or ""), str(workers)],
        timeout=LONG_S,
        capture_output=True,
        env={**os.environ, **python_environment()},
    ).returncode


def content(folder: Path) -> tuple[str, int, int]:
    """The stage's hash, rows out and rejected rows."""
    corpus = Corpus(str(folder), PARTITIONS)
    manifest = corpus.manifest("shaky")
    assert manifest is not None
    return hash_table(corpus, "shaky", "texts"), manifest.counts.rows_out["texts"], manifest.counts.rejected


def test_rows_that_the_engine_raises_on_become_rejects(tmp_path: Path) -> None:
    assert shaky(tmp_path / "corpus", bad=10) == 0
    _, out, rejected = content(tmp_path / "corpus")
    assert (out, rejected) == (PARTITIONS * ROWS * 9 // 10, PARTITIONS * ROWS // 10)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_engine_that_crashes_its_process(tmp_path: Path, workers: int) -> None:
    """The run does not hang; completed tasks are kept, the next run does the rest, and no row is duplicated."""
    assert shaky(tmp_path / "calm", bad=10, workers=workers) == 0
    fuse = tmp_path / "fuse"
    fuse.touch()
    first = shaky(tmp_path / "corpus", bad=10, fuse=fuse, workers=workers)
    assert not fuse.exists(), "the engine did not crash"
    assert first != 0 or content(tmp_path / "corpus") == content(tmp_path / "calm")
    assert shaky(tmp_path / "corpus", bad=10, fuse=fuse, workers=workers) == 0
    assert content(tmp_path / "corpus") == content(tmp_path / "calm")


def test_a_crash_leaves_a_temporary_file_at_most_until_the_next_run(tmp_path: Path) -> None:
    """The command removes temporary files before it works; the stage alone leaves them, under a name that no reader opens."""
    fuse = tmp_path / "fuse"
    fuse.touch()
    shaky(tmp_path / "corpus", fuse=fuse, workers=1)
    left = temporaries(str(tmp_path / "corpus"))
    assert all(".tmp-" in name and "/shaky/" in name for name in left)
    assert not (tmp_path / "corpus" / "shaky" / "task-00003.json").exists()
