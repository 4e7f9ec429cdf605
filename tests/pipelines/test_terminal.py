"""What the command prints: harmless whatever the data says, in any encoding, into a pipe that closes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli import main
from pipelines.process_state import printable_stdout
from schemas.text import printable

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("terminal")
    long = " ".join(["word"] * 120)
    rows = ["1.jpg,Ein Hund läuft über die Wiese 🐶", "2.jpg,two dogs", f"3.jpg,\x1b[2J\x1b]0;owned\x07 {long}"]
    (folder / "captions.csv").write_text("image,caption\n" + "\n".join(rows) + "\n", encoding="utf-8")
    (folder / "c.yaml").write_text(
        "corpus: c\npixels: false\npartitions: 1\nmax_rejected: 1\ntfidf: null\n"
        "pairs: [{format: csv, name: a, captions: captions.csv, caption: caption, image: image}]\n",
        encoding="utf-8",
    )
    assert main(["run", str(folder / "c.yaml"), "--quiet"]) == 0
    return folder / "c"


def cmcl(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, timeout=120, env={**os.environ, **environment})


def test_stdout_in_ascii_escapes_what_it_cannot_show(corpus: Path):
    shown = cmcl("show", str(corpus), "Hund", PYTHONIOENCODING="ascii")
    assert shown.returncode == 0 and rb"Ein Hund l\xe4uft \xfcber die Wiese \U0001f436" in shown.stdout and not shown.stderr


def test_a_closed_pipe_ends_the_command_quietly(corpus: Path):
    command = f"{sys.executable} -m pipelines.cli show {corpus} Hund | true; echo ${{PIPESTATUS[0]}}"
    found = subprocess.run(["bash", "-c", command], cwd=REPOSITORY, capture_output=True, timeout=120)
    assert found.stdout.strip() in (b"141", b"0") and not found.stderr


@pytest.mark.parametrize("text", ["\x1b[2J", "\x07", "\x9b31m", "a\rb", "\u202eabc", "\ud800", "\x00"])
def test_control_characters_are_shown(text: str):
    sink = io.StringIO()
    before, sys.stdout = sys.stdout, sink
    try:
        with printable_stdout():
            print("before", text, "after\tand\nbelow")
    finally:
        sys.stdout = before
    written = sink.getvalue()
    assert written == f"before {printable(text)} after\tand\nbelow\n" and text not in written and "\\" in written
    assert all(one.isprintable() or one in "\n\t" for one in written)


def test_rejects_with_escape_sequences_are_shown_harmlessly(corpus: Path):
    found = cmcl("status", str(corpus.parent / "c.yaml"))
    shown = cmcl("show", str(corpus), "dogs")
    for output in (found.stdout, shown.stdout):
        assert b"\x1b" not in output and b"\x07" not in output
