"""Full disks, missing files and flipped bytes are reported, and repaired by the next run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine_help import cmcl, hash_of, temporaries
from tests.faults.conftest import Undisturbed

pytestmark = [pytest.mark.runners, pytest.mark.timeout(1800)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB; skips the test if mounting one is not permitted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if not mount or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs takes root and mount(8)")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "cmcl", str(place)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_full_disk(undisturbed: Undisturbed, small_disk: Path, workers: str) -> None:
    corpus = small_disk / "corpus"
    arguments = ["run", undisturbed.config, "--quiet", "--workers", workers, "--set", f"corpus={corpus}"]
    failed = cmcl(*arguments, check=False)
    assert failed.returncode != 0
    assert "No space left on device" in failed.stderr
    assert temporaries(str(corpus)) == []
    finished = list(corpus.glob("*/task*.json"))
    assert finished, "the disk was full before anything was done"
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    cmcl(*arguments)
    assert hash_of(str(corpus)) == undisturbed.hash


def tables(corpus: Path) -> list[Path]:
    """One file of each table of each stage, and every artefact."""
    found: dict[tuple[str, str], Path] = {}
    for file in sorted(corpus.glob("*/*.arrow")):
        if file.stat().st_size:
            found.setdefault((file.parent.name, file.name.partition("-0")[0]), file)
    return list(found.values())


@pytest.fixture
def damaged(undisturbed: Undisturbed, tmp_path: Path) -> tuple[Path, list[str]]:
    """A copy of the undisturbed corpus, and the arguments that complete it."""
    corpus = tmp_path / "corpus"
    shutil.copytree(Path(undisturbed.config).parent / "corpus", corpus)
    return corpus, ["run", undisturbed.config, "--quiet", "--set", f"corpus={corpus}"]


def test_removed_files(undisturbed: Undisturbed, damaged: tuple[Path, list[str]]) -> None:
    """The next run detects missing or truncated files of every table, and rebuilds no other partition."""
    corpus, arguments = damaged
    victims = tables(corpus)
    assert len(victims) > 8
    before = {file: file.stat().st_mtime_ns for file in corpus.glob("*/*.arrow")}
    for number, file in enumerate(victims):
        if number % 2:
            file.unlink()
        else:
            os.truncate(file, file.stat().st_size // 2)
    cmcl(*arguments)
    assert hash_of(str(corpus)) == undisturbed.hash
    partitions = {(file.parent, file.name.partition("-0")[2]) for file in victims}
    again = {file for file, time in before.items() if file.stat().st_mtime_ns != time}
    assert {(file.parent, file.name.partition("-0")[2]) for file in again} == partitions


def test_flipped_bytes(undisturbed: Undisturbed, damaged: tuple[Path, list[str]]) -> None:
    """`verify` names every damaged file, and after `--repair` the next run rebuilds them."""
    corpus, arguments = damaged
    victims = tables(corpus)
    for file in victims:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 0x10
        file.write_bytes(data)
    found = cmcl("verify", str(corpus), "--repair", check=False)
    assert found.returncode == 1
    for file in victims:
        assert f"{file.parent.name}/{file.name}" in found.stdout
    cmcl(*arguments)
    assert hash_of(str(corpus)) == undisturbed.hash


def test_a_truncated_record_counts_as_missing(undisturbed: Undisturbed, damaged: tuple[Path, list[str]]) -> None:
    corpus, arguments = damaged
    for record in sorted(corpus.glob("*/task-00002.json")):
        record.write_text(record.read_text()[:40])
    for manifest in sorted(corpus.glob("*/manifest.json"))[::2]:
        manifest.write_text(json.dumps({"stage": "?"}))
    cmcl(*arguments)
    found = cmcl("verify", str(corpus), "--repair", check=False)  # under a sound manifest a run does not look at records
    assert all("task-00002.json" in line for line in found.stdout.splitlines()[:-1]), found.stdout
    cmcl(*arguments)
    assert hash_of(str(corpus)) == undisturbed.hash
