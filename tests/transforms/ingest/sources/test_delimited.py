"""`format: csv` and `format: tsv`."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.errors import SourceError
from schemas.ids import content_id
from tests.transforms.ingest.source_help import bad, encoded, good, pair_source, read_all, reasons


def read(folder: Path, content: str | bytes, name: str = "c.csv", **settings: Any) -> list[dict[str, Any]]:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    return read_all(pair_source(**{"format": "csv", "captions": str(folder / name), **settings}))


def captions(rows: list[dict[str, Any]]) -> list[bytes]:
    return [row["caption"] for row in good(rows)]


def test_a_plain_table(tmp_path: Path):
    rows = read(tmp_path, 'image,caption,more\na.jpg,A dog .,1\na.jpg,"A ""big"" dog, running",2\n\nb.jpg,,3\n')
    assert [(row["key"], row["caption"], row["where"].rpartition(":")[2]) for row in rows] == [
        ("a.jpg", b"A dog .", "2"),
        ("a.jpg", b'A "big" dog, running', "3"),
        ("b.jpg", b"", "5"),
    ]
    assert not bad(rows)


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        ("only_one_field", "bad_row", "1 fields instead of 2"),
        ("a.jpg,too,many", "bad_row", "3 fields instead of 2"),
        ('a.jpg,"open"rest', "bad_row", "line 3"),
        (",no image", "bad_row", "empty"),
        (b"caf\xe9.jpg,text", "bad_encoding", "UTF-8"),
        ("a\x07b.jpg,text", "bad_row", "not printable"),
        ("x" * 200_000 + ",text", "bad_row", "field larger than field limit"),
        ("a.jpg," + "x" * 5_000_000, "bad_row", "too long"),
        ("../../etc/passwd,text", "unsafe_path", "outside"),
        ("none.jpg,text", "image_missing", "no image"),
    ],
)
def test_bad_rows_become_rejects_and_the_rest_is_read(line: str | bytes, reason: str, detail: str, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(encoded())
    data = line if isinstance(line, bytes) else line.encode()
    rows = read(tmp_path, b"image,caption\na.jpg,first\n" + data + b"\na.jpg,last\n", images=str(tmp_path / "photos"))
    assert captions(rows) == [b"first", b"last"]
    assert [found for found, _ in bad(rows)] == [reason]
    assert detail in bad(rows)[0][1]


def test_bad_bytes_in_a_caption_are_left_to_cleaning(tmp_path: Path):
    assert captions(read(tmp_path, b"image,caption\na.jpg,caf\xe9\nb.jpg,nul\0l\n")) == [b"caf\xe9", b"nul\0l"]


def test_quotes_over_lines_and_quotes_left_open(tmp_path: Path):
    assert captions(read(tmp_path, 'image,caption\r\na.jpg,"two\nlines"\r\nb.jpg,next\r\n')) == [b"two\nlines", b"next"]
    rows = read(tmp_path, 'image,caption\na.jpg,"never closed\nb.jpg,swallowed\n')
    assert [reason for reason, _ in bad(rows)] == ["bad_row"] and "line 2: " in bad(rows)[0][1] and "at line 3" in bad(rows)[0][1]
    assert captions(rows) == [b"swallowed"]
    many = "".join(f"{i}.jpg,row {i}\n" for i in range(500))
    rows = read(tmp_path, f'image,caption\na.jpg,"never closed\n{many}')
    assert reasons(rows) == ["bad_row"] and captions(rows) == [f"row {i}".encode() for i in range(500)]


@pytest.mark.parametrize(
    ("opened", "closed", "rejected"),
    [
        ('b.jpg,"six inch pizza', 'd.jpg,a 6" pizza', 1),  # detected where the quote seems to close
        ('b.jpg,"six inch pizza', 'd.jpg,6",a pizza', 2),  # closes well, but with a field too many
        ('b.jpg,"six inch pizza', "d.jpg,a pizza", 1),  # never closes
        ('b.jpg,"six inch pizza', "d.jpg," + "x" * 5_000_000, 2),  # runs into a line that is too long
    ],
)
def test_a_stray_quote_costs_its_own_line(opened: str, closed: str, rejected: int, tmp_path: Path):
    lines = [
        *(f"a.jpg,first {i}" for i in range(5)),
        opened,
        *(f"c.jpg,row {i}" for i in range(90)),
        closed,
        *(f"e.jpg,last {i}" for i in range(5)),
    ]
    rows = read(tmp_path, "image,caption\n" + "\n".join(lines) + "\n")
    assert len(rows) == len(lines) and reasons(rows) == ["bad_row"] * rejected
    assert [row["where"].rpartition(":")[2] for row in rows] == [str(i + 2) for i in range(len(lines))]
    assert captions(rows)[5:95] == [f"row {i}".encode() for i in range(90)]


def test_byte_order_mark_compression_and_other_delimiters(tmp_path: Path):
    assert captions(read(tmp_path, b"\xef\xbb\xbfimage,caption\na.jpg,one\n")) == [b"one"]
    assert captions(read(tmp_path, gzip.compress(b"image;caption\na.jpg;o,ne\n"), "c.csv.gz", delimiter=";")) == [b"o,ne"]
    assert captions(read(tmp_path, 'image\tcaption\na.jpg\t"hello" she\n', "c.tsv", format="tsv")) == [b'"hello" she']
    rows = read(tmp_path, 'image\tcaption\na.jpg\t"hel\tlo"\n', "c.tsv", format="tsv", quoting="minimal")
    assert captions(rows) == [b"hel\tlo"]
    with pytest.raises(SourceError, match="UTF-16"):
        read(tmp_path, "image,caption\n".encode("utf-16"))


def test_conceptual_captions(tmp_path: Path):
    url = "http://example.org/a.jpg?x=1"
    rows = read(tmp_path, f'a very "typical" bus\t{url}\n', "cc.tsv", format="tsv", columns=["caption", "url"], image=None, url="url")
    assert [(row["key"], row["uri"], row["url"], row["caption"]) for row in rows] == [(content_id(url), url, url, b'a very "typical" bus')]


def test_ids_and_urls(tmp_path: Path):
    rows = read(tmp_path, "n,image,caption,link\n7,x/a.jpg,one,http://e.org/a\n,b.jpg,two,\n", id="n", url="link")
    assert [(row["key"], row["url"], row["uri"]) for row in good(rows)] == [("7", "http://e.org/a", "http://e.org/a")]
    assert reasons(rows) == ["bad_row"]
    rows = read(tmp_path, "image,caption\n./x//a.jpg,one\nhttp://e.org/b,two\nfile:///etc/passwd,three\n/etc/passwd,four\n")
    assert [row["uri"] for row in rows] == [None, "http://e.org/b", None, None]
    assert [row["key"] for row in rows][:2] == ["x/a.jpg", content_id("http://e.org/b")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,text\na.jpg,one\n", r"exactly one column 'caption'; it has \['file', 'text'\]"),
        ("image,caption,caption\na.jpg,one,two\n", "exactly one column 'caption'"),
        ("", "has no header"),
        ("\n\n", "has no header"),
    ],
)
def test_missing_columns_are_named(content: str, message: str, tmp_path: Path):
    with pytest.raises(SourceError, match=message):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image": None}, "image and url are both null"),
        ({"columns": ["a", "a"]}, "duplicates"),
        ({"columns": ["image", "text"]}, "lacks"),
        ({"delimiter": "ab"}, "delimiter"),
        ({"delimeter": ","}, "delimeter"),
        ({"quoting": "all"}, "quoting"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        pair_source(format="csv", captions="a", **settings)


def test_real_flickr8k(shared_data: Path):
    place = shared_data / "flickr8k"
    rows = read_all(pair_source(format="csv", captions=str(place / "captions.csv"), images=str(place / "images")))
    assert len(rows) == 2950 and not bad(rows)
    assert len({row["uri"] for row in rows}) == 590
    assert rows[0]["key"] == "106490881_5a2dd9b7bd.jpg"
    assert rows[0]["caption"] == b"A boy in his blue swim shorts at the beach ."
