"""`format: karpathy`, `format: blip` and `format: sbu`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.errors import SourceError
from schemas.ids import content_id
from tests.transforms.ingest.source_help import bad, encoded, good, pair_source, read_all, reasons


def read(folder: Path, value: Any, **settings: Any) -> list[dict[str, Any]]:
    (folder / "c.json").write_text(value if isinstance(value, str) else json.dumps(value))
    return read_all(pair_source(captions=str(folder / "c.json"), **settings))


def photos(folder: Path, *names: str) -> str:
    for name in names:
        (folder / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "photos" / name).write_bytes(encoded())
    return str(folder / "photos")


def entry(name: str, split: str, *texts: Any, **more: Any) -> dict[str, Any]:
    return {
        "filename": name,
        "imgid": 7,
        "split": split,
        "sentids": [1],
        **more,
        "sentences": [{"raw": text, "tokens": str(text).split()} for text in texts],
    }


KARPATHY = {"dataset": "coco", "images": [
    entry("COCO_val2014_000000000042.jpg", "train", "One.", "Two.", filepath="val2014", cocoid=42),
    entry("COCO_train2014_000000000073.jpg", "restval", "Three.", filepath="train2014", cocoid=73),
    entry("COCO_val2014_000000000139.jpg", "test", "Four.", filepath="val2014", cocoid=139)]}  # fmt: skip


@pytest.mark.parametrize(("split", "keys"), [("train", ["42", "42"]), (["train", "restval"], ["42", "42", "73"]), ("test", ["139"])])
def test_karpathy_reads_the_splits_asked_for(split: Any, keys: list[str], tmp_path: Path):
    rows = read(tmp_path, KARPATHY, format="karpathy", split=split)
    assert [row["key"] for row in rows] == keys and not bad(rows)  # numbered as in COCO's own files
    assert rows[0]["name"].startswith(("val2014/COCO", "train2014/COCO"))


def test_karpathy_finds_images_with_and_without_their_folder(tmp_path: Path):
    folder = photos(tmp_path, "val2014/COCO_val2014_000000000042.jpg", "COCO_train2014_000000000073.jpg")
    rows = read(tmp_path, KARPATHY, format="karpathy", split=["train", "restval"], images=folder)
    assert len(good(rows)) == 3 and all(row["uri"].startswith(folder) for row in rows)


def test_karpathy_of_flickr30k_and_bad_entries(tmp_path: Path):
    value = {
        "dataset": "flickr30k",
        "images": [
            entry("1000092795.jpg", "train", "One."),
            entry("", "train", "x"),
            entry("2.jpg", "train"),
            "nothing",
            {"filename": "3.jpg", "split": "train"},
            {"filename": "4.jpg", "split": "train", "sentences": [{"tokens": ["two", "words"]}, {"raw": 5}, None, {"raw": "good"}]},
        ],
    }
    rows = read(tmp_path, value, format="karpathy", split="train")
    assert [(row["key"], row["caption"]) for row in good(rows)] == [
        ("1000092795.jpg", b"One."),
        ("4.jpg", b"two words"),
        ("4.jpg", b"good"),
    ]
    assert reasons(rows) == ["bad_row", "bad_row", "bad_row", "caption_missing", "caption_missing"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"format": "karpathy", "split": "val"}, "no split 'val'; it has restval, test, train"),
        ({"format": "blip"}, "not one of BLIP's files"),
        ({"format": "sbu"}, "not SBU's file"),
        ({"format": "coco"}, "not a COCO captions file"),
    ],
)
def test_the_wrong_format_is_named(settings: dict[str, Any], message: str, tmp_path: Path):
    with pytest.raises(SourceError, match=message):
        read(tmp_path, KARPATHY, **settings)


def test_karpathy_wants_a_split(tmp_path: Path):
    for more in ({}, {"split": ""}, {"split": []}):
        with pytest.raises(ValidationError, match="split"):
            pair_source(format="karpathy", captions="c.json", **more)


def test_blip(tmp_path: Path):
    folder = photos(tmp_path, "val2014/1.jpg", "b/2.jpg")
    value = [
        {"image": "/export/home/x/val2014/1.jpg", "caption": "One.", "image_id": "coco_1"},
        {"image": "b/2.jpg", "caption": ["Two.", None, "Three.", 4]},
        {"image": "none.jpg", "caption": "x"},
        {"caption": "no image"},
        {"image": "b/2.jpg"},
        7,
        {"image": "../../etc/passwd", "caption": "x"},
    ]
    rows = read(tmp_path, value, format="blip", images=folder)
    assert [(row["key"], row["caption"]) for row in good(rows)] == [
        ("val2014/1.jpg", b"One."),
        ("b/2.jpg", b"Two."),
        ("b/2.jpg", b"Three."),
    ]
    assert reasons(rows) == ["bad_row", "bad_row", "bad_row", "caption_missing", "image_missing", "unsafe_path"]
    rows = read(
        tmp_path,
        [{"image": "1.jpg", "caption": "a", "split": "val"}, {"image": "2.jpg", "caption": "b", "split": "train"}],
        format="blip",
        split="train",
    )
    assert [row["key"] for row in rows] == ["2.jpg"]
    rows = read(tmp_path, [{"url": "http://e.org/1.jpg", "caption": "a"}, {"url": "file:///etc/passwd", "caption": "b"}], format="blip")
    assert [row["uri"] for row in rows] == ["http://e.org/1.jpg", None]


def test_sbu(tmp_path: Path):
    urls = ["http://static.flickr.com/2723/4385058960_b0f291553e.jpg", None, "file:///etc/passwd"]
    rows = read(tmp_path, {"image_urls": urls, "captions": ["A wooden chair.", "x", "y"], "user_ids": [1, 2, 3]}, format="sbu")
    assert (rows[0]["key"], rows[0]["uri"], rows[0]["url"]) == (content_id(urls[0]), urls[0], urls[0])
    assert reasons(rows) == ["bad_row"] and good(rows)[1]["uri"] is None
    with pytest.raises(SourceError, match="3 URLs but 1 captions"):
        read(tmp_path, {"image_urls": urls, "captions": ["x"]}, format="sbu")


@pytest.mark.parametrize("text", ["", "[", "{}", "[1, 2]", "[" * 100_000, '"text"', "null"])
def test_files_in_another_format_are_named(text: str, tmp_path: Path):
    for more in ({"format": "karpathy", "split": "train"}, {"format": "blip"}, {"format": "sbu"}):
        with pytest.raises(SourceError, match=r"c\.json"):
            read(tmp_path, text, **more)


def test_numbers_beyond_bounds_cost_their_entry(tmp_path: Path):
    number = "9" * 5000
    text = f'[{{"image": "a.jpg", "caption": "x"}}, {{"image": {number}, "caption": "y"}}, {{"image": "b.jpg", "caption": {number}}}]'
    rows = read(tmp_path, text, format="blip")
    assert [row["key"] for row in good(rows)] == ["a.jpg"] and reasons(rows) == ["bad_row", "bad_row"]
    text = f'{{"images": [{{"id": 1, "file_name": "a.jpg", "width": {number}}}], "annotations": [{{"image_id": 1, "caption": "x"}}]}}'
    rows = read(tmp_path, text, format="coco")
    assert [(row["key"], row["width"]) for row in rows] == [("1", None)]
