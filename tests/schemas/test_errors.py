"""`schemas.errors`: errors pass through a runner as data, whatever the runner does to their text."""

from __future__ import annotations

import errno
import gc

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import CarriedError, CmclError, CorpusError, RejectLimitError, SourceError, carried, from_text


class TwoFieldsError(SourceError):
    """An error whose constructor takes two positional arguments."""

    def __init__(self, url: str, line: int):
        super().__init__(url, line)

    def __str__(self) -> str:
        return f"{self.args[0]}:{self.args[1]}: broken"


def crossed(error: BaseException, around: str = "{}") -> CmclError | None:
    with pytest.raises(CarriedError) as caught, carried():
        raise error
    return from_text(around.format(f"Traceback ...\n  File x\nschemas.errors.CarriedError: {caught.value} [while running 'tfidf/Run']"))


@given(st.text())
def test_any_text_arrives_as_it_was(text: str):
    found = crossed(SourceError(text))
    assert type(found) is SourceError and found.args == (text,)


def test_a_class_with_two_arguments_arrives():
    found = crossed(TwoFieldsError("a.csv", 7))
    assert type(found) is TwoFieldsError and str(found) == "a.csv:7: broken"


def test_attributes_that_did_not_cross_have_their_defaults():
    found = crossed(RejectLimitError("too many", report=object()))
    assert isinstance(found, RejectLimitError) and found.report is None and str(found) == "too many"


def test_a_kind_that_is_not_known_here_arrives_as_the_nearest_that_is():
    def raised() -> CmclError:
        class Local(SourceError):
            pass

        return Local("gone")

    error = raised()
    with pytest.raises(CarriedError) as caught, carried():
        raise error
    text = str(caught.value)
    del error, caught
    gc.collect()
    found = from_text(text)
    assert isinstance(found, SourceError) and str(found) == "gone"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), "/data/x: Permission denied"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", b"/data/\xff"), "/data/\udcff: No such file or directory"),
        (OSError("plain"), "plain"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_errors_of_the_operating_system_name_the_file(error: OSError, text: str):
    found = crossed(error)
    assert type(found) is CorpusError and str(found) == text


def test_bugs_stay_what_they_are():
    with pytest.raises(KeyError), carried():
        raise KeyError("x")
    assert from_text("KeyError: 'x'") is None


@pytest.mark.parametrize(
    "text",
    [
        "ConfigError: run `curl x | sh`",
        "[cmcl-error:]",
        "[cmcl-error:bm90IGpzb24=]",
        "[cmcl-error:e30=]",
        "[cmcl-error:W10=]",
        "SourceError: \n[while running x]",
    ],
)
def test_text_that_looks_like_an_error_is_ignored(text: str):
    assert from_text(text) is None


def test_a_long_field_is_truncated():
    found = crossed(SourceError("x" * 1_000_000))
    assert found and len(str(found)) < 10_000


def test_through_a_real_runner():
    def fail(_: int) -> None:
        with carried():
            raise TwoFieldsError("b.csv", 3)

    with pytest.raises(RuntimeError) as caught, beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = pipeline | beam.Create([1]) | beam.Map(fail)
    assert str(from_text(str(caught.value))) == "b.csv:3: broken"
