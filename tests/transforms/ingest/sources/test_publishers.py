"""Files as publishers and their users have them, with the faults that they come with: each is read, rejected or refused by name."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import SourceError
from tests.transforms.ingest.source_help import bad, encoded, good, pair_source, read_all, reasons, text_source

JPEG = encoded()
CC3M = "a very typical bus station\thttp://x.org/a.jpg\nsierra looked stunning\thttps://y.org/b.jpg?x=1\n"


def file(tmp_path: Path, data: str | bytes, name: str) -> str:
    (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(tmp_path / name)


@pytest.mark.parametrize(
    ("columns", "data", "kept", "rejected"),
    [
        (["caption", "url"], CC3M, 2, 0),
        (["url", "caption"], CC3M, 0, 2),
        (["caption", "url"], "caption\turl\n" + CC3M, 2, 1),
        (["caption", "url"], CC3M + "no url\t\n" + "a bus\n", 2, 2),
    ],
)
def test_conceptual_captions_with_columns_in_either_order(columns: list[str], data: str, kept: int, rejected: int, tmp_path: Path):
    source = pair_source(format="tsv", captions=file(tmp_path, data, "cc.tsv"), columns=columns, image=None, url="url")
    rows = read_all(source)
    assert len(good(rows)) == kept and reasons(rows) == ["bad_row"] * rejected
    assert all(row["uri"].startswith("http") for row in good(rows))
    if columns[0] == "url":
        assert "are the columns swapped" in bad(rows)[0][1]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_flickr30ks_token_file(ends: str, mark: bytes, tmp_path: Path):
    lines = ["1000092795.jpg#0\tTwo young guys", '1000092795.jpg#1\tTwo "men', "36979.jpg#0\tA group"]
    path = file(tmp_path, mark + ends.join(lines).encode(), "results_20130124.token")
    rows = read_all(pair_source(format="tsv", captions=path, columns=["image", "caption"]))
    assert [(row["key"], row["caption"]) for row in rows] == [
        ("1000092795.jpg", b"Two young guys"),
        ("1000092795.jpg", b'Two "men'),
        ("36979.jpg", b"A group"),
    ]


def shard(tmp_path: Path, members: list[tuple[str, bytes]]) -> str:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return str(tmp_path / "a.tar")


@pytest.mark.parametrize(
    "members",
    [
        [("a.JPG", JPEG), ("a.TXT", b"A dog")],
        [("a.jpeg", JPEG), ("a.jpeg.json", b'{"caption": "A dog"}')],
        [("a.jpg", JPEG), ("a.jpg.txt", b"A dog")],
        [("a.Png", JPEG), ("a.PNG.Json", b'{"caption": ["A dog", null]}')],
    ],
)
def test_names_of_members_in_capitals_and_after_the_image(members: list[tuple[str, bytes]], tmp_path: Path):
    rows = read_all(pair_source(format="webdataset", shards=shard(tmp_path, members)))
    assert [(row["key"], row["caption"], row["reason"]) for row in rows] == [("a", b"A dog", None)]


def test_two_texts_of_a_sample_are_not_merged(tmp_path: Path):
    members = [("a.jpg", JPEG), ("a.json", b'{"caption": "A dog"}'), ("a.jpg.json", b'{"caption": "A cat"}')]
    assert reasons(read_all(pair_source(format="webdataset", shards=shard(tmp_path, members)))) == ["duplicate_id"]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["jpg", "key", "caption", "caption"], "several columns 'caption'"),
        (["jpg", "key", "key", "caption"], "several columns 'key'"),
        (["jpg", "key", "caption", "url", "url"], "several columns 'url'"),
        (["jpg", "jpg", "key", "caption"], "no image column"),
    ],
)
def test_columns_of_the_same_name_are_not_chosen_between(names: list[str], text: str, tmp_path: Path):
    columns = [pa.array([JPEG]) if name == "jpg" else pa.array([f"{name} {at}"]) for at, name in enumerate(names)]
    pq.write_table(pa.Table.from_arrays(columns, names=names), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=text):
        read_all(pair_source(format="parquet", files=str(tmp_path / "a.parquet")))


@pytest.mark.parametrize("code", ["utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("kind", ["karpathy", "blip", "sbu", "coco"])
def test_json_in_another_encoding_is_named(kind: str, code: str, tmp_path: Path):
    mark = b"\xfe\xff" if code == "utf-16-be" else b""
    path = file(tmp_path, mark + json.dumps([{"image": "1.jpg", "caption": "A dog"}]).encode(code), "a.json")
    split = {"split": "train"} if kind == "karpathy" else {}
    with pytest.raises(SourceError, match=r"a\.json is UTF-(16|32); convert it"):
        read_all(pair_source(format=kind, captions=path, **split))


def test_karpathys_images_without_sentences_or_names(tmp_path: Path):
    images = [
        {"sentids": [0], "imgid": 0, "sentences": [{"tokens": ["a", "dog"], "raw": "A dog."}], "split": "train", "filename": "1.jpg"},
        {"filename": "2.jpg", "split": "train", "sentences": None},
        {"filename": "2.jpg", "split": "train", "sentences": {"raw": "x"}},
        {"split": "train"},
        {"filename": "3.jpg", "split": "test", "sentences": [{"raw": "not chosen"}]},
    ]
    path = file(tmp_path, b"\xef\xbb\xbf" + json.dumps({"images": images}).encode(), "dataset_flickr30k.json")
    rows = read_all(pair_source(format="karpathy", captions=path, split="train"))
    assert [row["caption"] for row in good(rows)] == [b"A dog."] and reasons(rows) == ["bad_row", "bad_row", "caption_missing"]


def test_localized_narratives_are_lines_of_json(tmp_path: Path):
    lines = [{"dataset_id": "x", "image_id": "1", "caption": "In the picture I can see"}, {"image_id": "2"}]
    path = file(tmp_path, "\r\n".join(map(json.dumps, lines)) + "\r\n{\n", "open_images.jsonl")
    rows = read_all(text_source(format="jsonl", files=path, field="caption"))
    assert [row["text"] for row in good(rows)] == [b"In the picture I can see"] and reasons(rows) == ["bad_row", "bad_row"]
