"""The fuzzer itself: it counts what it tries, and it finds what is planted."""

from __future__ import annotations

import os
import signal

import pytest

from schemas.errors import ConfigError
from tests.fuzz.__main__ import Finding, attempt, mutated, watched


def test_a_target_is_tried_in_a_process_of_its_own(tmp_path):
    tried, found = watched("npz", 1, 5, tmp_path / "findings")
    assert tried > 5 and found == "" and not (tmp_path / "findings").exists()


def test_findings_are_told_from_named_errors():
    def raising(error):
        raise error

    attempt("x", raising, ConfigError("x.yaml: wrong; write it anew"))
    for error in (KeyError("a"), ConfigError("two\nlines"), ConfigError(""), MemoryError(), OSError(5, "x")):
        with pytest.raises(Finding):
            attempt("x", raising, error)
    before = signal.signal(signal.SIGALRM, lambda *_: raising(TimeoutError("a read took longer")))
    try:
        with pytest.raises(Finding, match="took longer"):
            attempt("x", lambda: os.kill(os.getpid(), signal.SIGALRM))
    finally:
        signal.signal(signal.SIGALRM, before)


def test_mutations_are_by_their_numbers_alone():
    changes = [(3, kind, 17, 5, b"ab") for kind in range(9)]
    assert mutated([b"0123456789" * 9, b"other"], changes, 0) == mutated([b"0123456789" * 9, b"other"], changes, 0)
    assert {mutated([b"0123456789" * 9, b"other"], [change], 0) for change in changes}.isdisjoint({b"0123456789" * 9})
