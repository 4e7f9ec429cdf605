"""`transforms.clean`: captions made clean, bad ones given a reason, excluded images found."""

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

from schemas.errors import SourceError
from schemas.rejects import REASONS, Reason
from transforms.clean import (
    _MARKS,
    KEPT,
    CleanRules,
    ExclusionRules,
    Exclusions,
    _long_mark_runs,
    clean_captions,
    clean_text,
    flickr_photo,
    normal_key,
    normal_url,
)

COCO_URL = "http://images.cocodataset.org/val2017/000000179765.jpg"
FLICKR_URL = "http://farm3.staticflickr.com/2824/10213933686_6936eb402b_z.jpg"


def one(data: bytes | None, **rules) -> tuple[str | None, Reason | None]:
    found = clean_captions(pa.array([data], pa.binary()), CleanRules(**rules))
    code = int(found.reasons[0])
    assert (found.details[0].as_py() != "") == (code != KEPT)
    return found.text[0].as_py(), None if code == KEPT else REASONS[code]


@pytest.mark.parametrize(("data", "text"), [
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
])
def test_what_cleaning_does(data: bytes, text: str):
    assert one(data) == (text, None)


@pytest.mark.parametrize(("data", "reason"), [
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
])
def test_what_is_bad(data: bytes, reason: Reason):
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


hard = st.text(max_size=40, alphabet=st.sampled_from(
    "&amp;#x39quotlgt \t\n\0\u200b\u00ad\u0301e\u037e\u00a0\u1100\u1161\ufeff;&&"))


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


@pytest.mark.parametrize(("text", "cleaned"), [
    pytest.param("&" + "amp;" * 32_000, "&", id="ampersands"),
    pytest.param("&" + "#38;#x26;am\u200bp;" * 10_000 + "lt;", "<", id="ampersands of all kinds"),
    pytest.param(nested(15), "8", id="entities in entities"),
    pytest.param(nested(20_000), None, id="entities in entities without an end"),
    pytest.param("e" + "\u0301\u0323" * 50_000, "\u1eb9" + "\u0323" * 14 + "\u0301" * 15, id="marks"),
    pytest.param("e" + "\u0f73" * 60_000, None, id="marks that are two"),
    pytest.param("e" + ("\u0301\u0323\u200b" * 20 + " ") * 2_000, None, id="marks in pieces"),
])
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


@pytest.mark.parametrize(("a", "b", "same"), [
    ("http://Example.org/a/", "https://example.org/a", True),
    ("http://example.org:80/a", "https://example.org:443/a#top", True),
    ("http://example.org/a?x=1", "http://example.org/a?x=2", False),
    ("http://example.org/a", "http://example.org/A", False),
    ("http://[broken", "http://[broken", True),
])
def test_urls_are_compared_by_what_matters(a: str, b: str, same: bool):
    assert (normal_url(a) == normal_url(b)) is same


@pytest.mark.parametrize(("key", "normal"), [
    ("000000000139.jpg", "139"), ("139", "139"), ("000", "0"), ("val/000139.PNG", "val/139"),
    ("a.b", "a.b"), ("12_ab.jpg", "12_ab"),
])
def test_keys_are_compared_by_what_matters(key: str, normal: str):
    assert normal_key(key) == normal


@pytest.mark.parametrize(("url", "photo"), [
    (FLICKR_URL, "10213933686"),
    ("https://live.staticflickr.com/65535/8119368305_4e622c8349_b.jpg", "8119368305"),
    ("https://www.flickr.com/photos/some.one/8119368305/in/album", "8119368305"),
    ("https://example.org/8119368305_4e622c8349.jpg", None),
])
def test_flickr_photos(url: str, photo: str | None):
    assert flickr_photo(url) == photo


def match(exclusions: Exclusions, key: str | None, url: str | None = None, source: str = "coco") -> bool:
    return bool(exclusions.match(source, pa.array([key], pa.string()), pa.array([url], pa.string()))[0])


def test_exclusions_match_by_key_id_url_and_photo():
    both = COCO_URL + "\n" + FLICKR_URL
    assert match(Exclusions(ids=["139"]), "139")
    assert match(Exclusions(ids=["000000000139.jpg"]), "139")
    assert match(Exclusions(ids=["coco/139"]), "139")
    assert match(Exclusions(ids=["coco/000139.jpg"]), "139")
    assert not match(Exclusions(ids=["coco/139"]), "139", source="vg")
    assert not match(Exclusions(ids=["139"]), "1390")
    assert match(Exclusions(urls=["https" + COCO_URL[4:] + "/"]), "1", both)
    assert match(Exclusions(urls=[FLICKR_URL.replace("_z", "_b")]), "1", both)
    assert match(Exclusions(flickr=["10213933686.jpg"]), "1", both)
    assert not match(Exclusions(flickr=["1021393368"]), "1", both)
    assert match(Exclusions(flickr=["106490881"]), "106490881_5a2dd9b7bd.jpg")
    assert not match(Exclusions(), "139", both)
    assert not match(Exclusions(ids=["1"]), None)
    assert not match(Exclusions(urls=[COCO_URL]), "1", "http://[broken")


@pytest.mark.parametrize(("name", "content"), [
    ("list.txt", f"# test images\n139\n\n{COCO_URL}\n"),
    ("list.csv", f"image_id,title,url\n139,nothing,{COCO_URL}\n"),
    ("list.tsv", f"139\n{COCO_URL}\n"),
    ("list.json", json.dumps([139, {"coco_url": COCO_URL}])),
    ("coco.json", json.dumps({"images": [{"id": 139, "coco_url": COCO_URL}], "annotations": []})),
])
def test_lists_are_read_from_files(name: str, content: str, tmp_path: Path):
    (tmp_path / name).write_text(content)
    exclusions = Exclusions.from_rules(ExclusionRules(files=[str(tmp_path / name)]))
    assert len(exclusions) == 2
    assert match(exclusions, "139") and match(exclusions, "1", COCO_URL) and not match(exclusions, "nothing")


@pytest.mark.parametrize(("name", "content"), [
    ("a.json", b"{}"), ("b.json", b"[{}]"), ("c.json", b"not json"), ("d.txt", b"\xff\xfe"), ("missing.txt", None),
])
def test_lists_that_are_none_are_named(name: str, content: bytes | None, tmp_path: Path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=name):
        Exclusions.from_rules(ExclusionRules(files=[str(tmp_path / name)]))


def test_the_fingerprint_is_that_of_what_is_matched():
    a = Exclusions(ids=["1", "2"], urls=[COCO_URL])
    assert a.fingerprint == Exclusions(ids=["2", "01", "1"], urls=["https" + COCO_URL[4:]]).fingerprint
    assert a.fingerprint != Exclusions(ids=["1", "2"]).fingerprint
