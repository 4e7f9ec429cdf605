"""Locks on a corpus, and corpora that may only be read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli import main
from pipelines.lock import corpus_lock
from schemas.errors import CorpusError
from tests.pipelines.test_location import REPOSITORY, config, contents, snapshot


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A corpus in two partitions next to its inputs; `tmp_path/config.yaml` is its configuration."""
    assert main(["run", config(tmp_path, tmp_path / "c"), "--quiet"]) == 0
    return tmp_path / "c"


def test_removing_the_lock_lets_nobody_in(corpus: Path) -> None:
    with corpus_lock(str(corpus)):
        for _ in range(2):
            (corpus / ".lock").unlink(missing_ok=True)
            with pytest.raises(CorpusError, match="another run"), corpus_lock(str(corpus)):
                pass
        (corpus / ".lock").write_text("cmcl 1\n")
        with pytest.raises(CorpusError, match="another run"), corpus_lock(str(corpus)):
            pass
    with corpus_lock(str(corpus)) as barred:
        assert barred is None


def test_a_lock_of_an_earlier_release_holds(corpus: Path) -> None:
    import fcntl

    with open(corpus / ".lock", "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(CorpusError, match="another run"), corpus_lock(str(corpus)):
            pass


def test_where_folders_have_no_locks_the_file_is_one(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import fcntl

    real = fcntl.flock

    def flock(descriptor: int, how: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EBADF, "as on NFS")
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with corpus_lock(str(corpus)), pytest.raises(CorpusError, match=f"process {os.getpid()}"), corpus_lock(str(corpus)):
        pass


def without_rights(*commands: list[str]) -> tuple[list[int], str, str]:
    """Runs commands as a user who is subject to file permissions; returns exit statuses, output and errors."""
    prefix: list[str] = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root writes everywhere, and there is no setpriv to give that up")
        caps = "-dac_override,-dac_read_search,-fowner"
        prefix = ["setpriv", "--bounding-set", caps, "--inh-caps", caps]
    code = "import json, sys; from pipelines.cli import main; print(json.dumps([main(given) for given in json.loads(sys.argv[1])]))"
    done = subprocess.run([*prefix, sys.executable, "-c", code, json.dumps(commands)], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stdout, done.stderr


def test_a_corpus_that_may_not_be_written_to_can_be_read(corpus: Path) -> None:
    path, seed = str(corpus.parent / "config.yaml"), ["--set", "seed=1"]
    assert main(["run", path, "--quiet"]) == 0
    before = snapshot(corpus)
    everything = [corpus, *contents(corpus)]
    try:
        for place in everything:
            place.chmod(0o555 if place.is_dir() else 0o444)
        status, said, errors = without_rights(
            ["run", path, "--quiet"], ["status", path], ["verify", path], ["show", path], ["hash", path], ["run", path, *seed, "--quiet"]
        )
        assert status == [0, 0, 0, 0, 0, 1] and "nothing to do" in said, (said, errors)
        assert errors.count("\n") == 1 and f"{corpus}" in errors and "Permission denied" in errors, errors
        assert snapshot(corpus) == before
    finally:
        for place in everything:
            place.chmod(0o755 if place.is_dir() else 0o644)
