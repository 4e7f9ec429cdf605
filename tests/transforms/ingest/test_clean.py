"""`transforms.ingest.clean`: captions are cleaned, and bad ones get a reason."""

from __future__ import annotations

import json
import sys
import time
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.rejects import REASONS, Reason
from transforms.ingest.clean import (
    _MARKS,
    KEPT,
    CleanRules,
    _long_mark_runs,
    clean_captions,
    clean_text,
)


def one(data: bytes | None, **rules) -> tuple[str | None, Reason | None]:
    found = clean_captions(pa.array([data], pa.binary()), CleanRules(**rules))
    code = int(found.reasons[0])
    assert (found.details[0].as_py() != "") == (code != KEPT)
    return found.text[0].as_py(), None if code == KEPT else REASONS[code]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"A dog .", "A dog ."),
        (b"  A\tdog \r\n runs ", "A dog runs"),
        ("cafe\u0301".encode(), "caf\u00e9"),
        (b"\xef\xbb\xbfA dog", "A dog"),
        (b"A\0 do\x07g\x7f", "A dog"),
        ("A\u200bdog\u2060 run\u00ads\ufeff".encode(), "Adog runs"),
        ("A\u00a0dog\u2028runs\u3000fast\u0085now".encode(), "A dog runs fast now"),
        (b"fish &amp; chips", "fish & chips"),
        (b"fish &amp;amp; chips", "fish & chips"),
        (b"it&#39;s &quot;new&quot; &#x1F600;", 'it\'s "new" \U0001f600'),
        (b"a?x=1&para=2 &copy2 & so", "a?x=1&para=2 &copy2 & so"),
        ("&am\u200bp;".encode(), "&"),
        ("&amp\u037e".encode(), "&"),
        (b"&nosuchthing; stays", "&nosuchthing; stays"),
    ],
)
def test_cleaning(data: bytes, text: str):
    assert one(data) == (text, None)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"caf\xe9 in Latin-1", Reason.BAD_ENCODING),
        (b"\xed\xa0\x80", Reason.BAD_ENCODING),
        (b"\xff\xfeA\0", Reason.BAD_ENCODING),
        (b"\xf8\x88\x80\x80\x80", Reason.BAD_ENCODING),
        (b"", Reason.EMPTY),
        (b" \t\n ", Reason.EMPTY),
        ("\u200b\ufeff&#8203;".encode(), Reason.EMPTY),
        (b"word " * 10_000, Reason.TOO_LONG),
        (b"word " * 101, Reason.TOO_LONG),
        (b"x" * 2001, Reason.TOO_LONG),
    ],
)
def test_bad_captions(data: bytes, reason: Reason):
    assert one(data) == (None, reason)


def test_limits_hold_at_their_edges():
    assert one(b"a b c", max_words=3) == ("a b c", None)
    assert one(b"a b c d", max_words=3) == (None, Reason.TOO_LONG)
    assert one(b"a b", min_words=3) == (None, Reason.TOO_SHORT)
    assert one(b"a b c", min_words=3) == ("a b c", None)
    assert one("é".encode() * 5, max_characters=5) == ("é" * 5, None)
    assert one("é".encode() * 6, max_characters=5) == (None, Reason.TOO_LONG)
    assert one(b"a &amp; b", entities=False) == ("a &amp; b", None)


def test_rules_that_contradict_are_refused():
    with pytest.raises(ValidationError, match="min_words 5 is above max_words 4"):
        CleanRules(min_words=5, max_words=4)
    with pytest.raises(ValidationError, match="max_wrods"):
        CleanRules(max_wrods=4)


def test_nulls_stay_null_and_strings_are_taken():
    found = clean_captions(pa.array([None, " a ", None]))
    assert found.text.to_pylist() == [None, "a", None]
    assert found.reasons.tolist() == [KEPT] * 3
    assert len(clean_captions(pa.array([], pa.binary())).text) == 0
    with pytest.raises(TypeError, match="int64"):
        clean_captions(pa.array([1]))


hard = st.text(max_size=40, alphabet=st.sampled_from("&amp;#x39quotlgt \t\n\0\u200b\u00ad\u0301e\u037e\u00a0\u1100\u1161\ufeff;&&"))


@given(st.one_of(st.text(), hard))
@example("&#38;#38;#38;lt;")
@example("&amp\u037eamp;")
@example("e" + "\u0344" * 40 + "\u0323")
@example("&#3" * 30 + "8;" + "&#56;" * 20 + ";" * 30)
def test_cleaning_is_idempotent(text: str):
    once = clean_text(text)
    assert clean_text(once) == once
    assert once == " ".join(once.split())
    assert unicodedata.is_normalized("NFC", once)
    assert not any(unicodedata.category(character) == "Cc" for character in once)


def nested(depth: int) -> str:
    """An entity for "8" whose last digit is an entity whose last digit is one, and so on, `depth` (a multiple of 5) times over."""
    return ("&#5" * 4 + "&#4") * (depth // 5) + "8" + ";" * depth


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        pytest.param("&" + "amp;" * 32_000, "&", id="ampersands"),
        pytest.param("&" + "#38;#x26;am\u200bp;" * 10_000 + "lt;", "<", id="ampersands of all kinds"),
        pytest.param(nested(15), "8", id="entities in entities"),
        pytest.param(nested(20_000), None, id="entities in entities without an end"),
        pytest.param("e" + "\u0301\u0323" * 50_000, "\u1eb9" + "\u0323" * 14 + "\u0301" * 15, id="marks"),
        pytest.param("e" + "\u0f73" * 60_000, None, id="marks that are two"),
        pytest.param("e" + ("\u0301\u0323\u200b" * 20 + " ") * 2_000, None, id="marks in pieces"),
    ],
)
def test_hostile_texts_take_no_longer_than_others(text: str, cleaned: str | None):
    start = time.process_time()
    found = clean_text(text)
    assert time.process_time() - start < 3
    assert cleaned in (None, found) and clean_text(found) == found
    assert unicodedata.is_normalized("NFC", found)


def test_every_combining_mark_is_known():
    marks = _long_mark_runs()
    for character in map(chr, range(sys.maxunicode + 1)):
        combines = unicodedata.combining(unicodedata.normalize("NFD", character)[0]) > 0
        assert bool(marks.fullmatch(character * (_MARKS + 1))) == combines, ascii(character)


def test_marks_of_real_scripts_stay():
    for text in ("Vi\u1ec7t Nam", "\u0e19\u0e49\u0e33", "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd", "x" + "\u0301" * 30):
        assert clean_text(text) == unicodedata.normalize("NFC", text)


@given(st.binary(max_size=60))
def test_any_bytes_are_kept_or_have_a_reason(data: bytes):
    text, reason = one(data)
    assert (text is None) == (reason is not None)
    if text is not None:
        assert one(text.encode()) == (text, None)


def test_real_captions_pass(shared_data: Path):
    annotations = json.loads((shared_data / "coco_val2017" / "captions_val2017.json").read_text())["annotations"]
    found = clean_captions(pa.array([entry["caption"].encode() for entry in annotations], pa.binary()))
    assert len(found.text) == 25_014
    assert np.all(found.reasons == KEPT)
