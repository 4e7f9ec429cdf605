"""Fuzzing: damaged, truncated and mixed inputs, target by target, each in a process of its own.

    python -m tests.fuzz [--seconds 600] [--seed 0] [--findings FOLDER] [TARGET ...]

A finding is a process that dies, a read that takes longer than `HANG_S` or more memory than `MEMORY`, an error that is not one of the
project's or has several lines, or a changed file outside an input's own folder. Hypothesis makes inputs from valid ones. Prints the number
of inputs tried per target, and exits with 1 if there is a finding, whose input is kept.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from schemas.errors import CmclError
from tests.fuzz.targets import TARGETS, Target, corpus_files, read_corpus, snapshot

HANG_S = 20
MEMORY = 6 << 30  # bytes of address space
_START_S = 60  # to import and to make the seeds
_WHOLE = st.tuples(st.integers(0, 1 << 16), st.integers(0, 8), st.integers(0, 1 << 20), st.integers(1, 200), st.binary(max_size=12))


Changes = list[tuple[int, int, int, int, bytes]]  # another seed, kind, place, length, bytes


def mutated(seeds: list[bytes], changes: Changes, which: int) -> bytes:
    """A seed with changes: bytes set, flipped, inserted, removed, doubled, cut, put in from another seed, numbers at their limits."""
    data = bytearray(seeds[which % len(seeds)])
    for other, kind, place, length, text in changes:
        at = place % (len(data) + 1)
        if kind == 0:
            data[at : at + len(text)] = text
        elif kind == 1 and at < len(data):
            data[at] ^= 1 << length % 8
        elif kind == 2:
            data[at:at] = text
        elif kind == 3:
            del data[at : at + length]
        elif kind == 4:
            data[at:at] = data[at : at + length] * (1 + other % 5)
        elif kind == 5:
            del data[at:]
        elif kind == 6:
            piece = seeds[other % len(seeds)]
            data[at:at] = piece[place % len(piece) : place % len(piece) + length]
        elif kind == 7:
            data[at : at + 4] = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"-999", b"1e99", b"9" * 30)[
                other % 7
            ]
        else:
            data[at : at + 8] = (1 << other % 64).to_bytes(8, "little")
    return bytes(data)


class Finding(Exception):
    """What a target must not do."""


def attempt(name: str, read: Any, *arguments: Any) -> None:
    """One read. Raises Finding for a bare exception, and for a message that is not one line."""
    signal.alarm(HANG_S)
    try:
        read(*arguments)
    except CmclError as error:
        if "\n" in str(error) or not str(error) or len(str(error)) > 4000:
            raise Finding(f"{name}: {type(error).__name__} of several lines: {str(error)[:500]!r}") from error
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        raise Finding(f"{name}: {type(error).__name__}: {str(error)[:500]}") from error
    finally:
        signal.alarm(0)


def work(name: str, seconds: float, seed: int, folder: Path) -> None:
    """Tries inputs of one target until the time is over; notes the count, and keeps the input at hand in the folder."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _hangs)
    inside = folder / "inside"
    inside.mkdir()
    (folder / "beside.txt").write_text("mine")
    tried = 0

    def note() -> None:
        nonlocal tried
        tried += 1
        (folder / "tried").write_text(str(tried))

    trial = _corpus_trial(inside, note) if name == "corpus" else _trial(name, TARGETS[name], inside, note)
    changes = st.lists(_WHOLE, min_size=1, max_size=8)
    before = snapshot(folder, inside)
    begun, turn = time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        turn += 1
        left = max(1, min(200, round((seconds - (time.monotonic() - begun)) * 20)))
        rules = settings(
            max_examples=left, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink]
        )
        seeded(seed * 1_000_003 + turn)(rules(given(changes, st.integers(0, 1 << 16))(trial)))()
    after = snapshot(folder, inside)
    if {path: data for path, data in after.items() if Path(path).name != "tried"} != {
        path: data for path, data in before.items() if Path(path).name != "tried"
    }:
        raise Finding(f"{name}: files outside of the input's folder changed")


def _hangs(*_: Any) -> None:
    raise TimeoutError(f"a read took longer than {HANG_S} s")


def _trial(name: str, target: Target, inside: Path, note: Any) -> Any:
    seeds = target.seeds()

    def trial(changes: Changes, which: int) -> None:
        path = inside / target.name
        path.write_bytes(mutated(seeds, changes, which))
        note()
        attempt(name, target.read, path)

    return trial


def _corpus_trial(inside: Path, note: Any) -> Any:
    """Damages one file of a small corpus at a time, asks `verify`, and puts it back."""
    paths = list(corpus_files(inside))
    whole = {path: path.read_bytes() for path in paths}

    def trial(changes: Changes, which: int) -> None:
        path = paths[which % len(paths)]
        path.write_bytes(mutated([whole[path], b"{}"], changes, 0))
        note()
        try:
            attempt(f"corpus ({path.name})", read_corpus, inside)
        finally:
            path.write_bytes(whole[path])
        if [other for other in corpus_files(inside) if other.read_bytes() != whole[other]]:
            raise Finding("corpus: verify changed a file")

    return trial


def watched(name: str, seconds: float, seed: int, findings: Path) -> tuple[int, str]:
    """Inputs tried and what was found, "" for nothing, by a process that may die."""
    folder = Path(tempfile.mkdtemp(prefix="cmcl-fuzz-"))
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", str(seconds), "--seed", str(seed), "--work", str(folder), name]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        output = process.communicate(timeout=seconds + HANG_S + _START_S)[0].decode("utf-8", "replace")
        found = "" if not process.returncode else _last(output) if process.returncode > 0 else f"killed by signal {-process.returncode}"
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        found = "hangs"
    tried = 0
    with suppress(OSError, ValueError):
        tried = int((folder / "tried").read_text())
    if found:
        findings.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder / "inside", findings / name, dirs_exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    return tried, found


def _last(output: str) -> str:
    lines = [line for line in output.splitlines() if "Finding: " in line] or output.splitlines()[-1:]
    return lines[0].partition("Finding: ")[2] or lines[0] if lines else "no output"


def main() -> int:
    """Runs the targets, one after another; returns 1 where there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=600, help="in all, shared among the targets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="where inputs of findings are kept")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given_ = parser.parse_args()
    if given_.work:
        work(given_.targets[0], given_.seconds, given_.seed, given_.work)
        return 0
    names = given_.targets or list(TARGETS)
    failed = False
    for name in names:
        tried, found = watched(name, given_.seconds / len(names), given_.seed, given_.findings)
        failed = failed or bool(found) or not tried
        print(f"{name:<14} {tried:>9,} inputs  {found or ('nothing found' if tried else 'no input was tried')}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
