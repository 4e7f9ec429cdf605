"""Hostile input: whatever an entry raises becomes its reject, an unreadable container is one clear error, and nothing hangs."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import time
import zipfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import SourceError
from tests.transforms.ingest.source_help import bad, encoded, good, pair_source, read_all, reasons, text_source
from transforms.ingest.images.fetch import ImageError, close_files, read_bytes
from transforms.ingest.limits import Limits
from transforms.ingest.sources.base import Source
from transforms.ingest.sources.listing import list_folder
from transforms.ingest.sources.markdown import markdown_paragraphs
from transforms.ingest.sources.tokenised import detokenise, is_tokenised_heading

JPEG = encoded()
SMALL = Limits(inflated_bytes=1 << 20, whole_bytes=1 << 20, header_bytes=4096)


# Compressed files


def zipped(members: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


TABLE = b"image,caption\na.jpg,one\n"
PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zip": lambda data: zipped({"c.csv": data})}
for _name, _kind, _pack in (("lz4.frame", "lz4", "compress"), ("zstandard", "zst", "compress")):
    with suppress(ImportError):  # supported if their packages are installed
        PACKERS[_kind] = getattr(import_module(_name), _pack)


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-9],
        lambda data: data[:10],
        lambda data: b"no such thing",
        lambda data: data[: len(data) // 2] + bytes(8) + data[len(data) // 2 + 8 :],
        lambda data: b"",
    ],
)
def test_a_damaged_container_is_one_named_error(kind: str, damage: Any, tmp_path: Path):
    rows = "".join(f"{i}.jpg,caption number {i * i}\n" for i in range(300))
    place = tmp_path / f"c.csv.{kind}"
    place.write_bytes(damage(PACKERS[kind](b"image,caption\n" + rows.encode())))
    for source in (
        pair_source(format="csv", captions=str(place)),
        pair_source(format="coco", captions=str(place)),
        text_source(format="jsonl", files=str(place), field="x"),
    ):
        try:
            found = read_all(source)
        except SourceError as error:
            assert str(place) in str(error) and "\n" not in str(error)
        else:
            assert not good(found)


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize(
    "make",
    [
        lambda place: pair_source(format="csv", captions=place, columns=["image", "caption"]),
        lambda place: pair_source(format="coco", captions=place),
        lambda place: pair_source(format="blip", captions=place),
        lambda place: text_source(format="text", files=place, unit="line"),
        lambda place: text_source(format="jsonl", files=place),
        lambda place: text_source(format="markdown", files=place),
    ],
)
def test_the_expansion_of_compressed_files_is_limited(kind: str, make: Any, tmp_path: Path):
    place = tmp_path / f"c.{kind}"
    place.write_bytes(PACKERS[kind](b"word \n" * 250_000))
    source: Source = make(str(place))
    with pytest.raises(SourceError, match="limits"):
        read_all(source.within(SMALL))


def test_every_member_of_a_zip(tmp_path: Path):
    junk = {"__MACOSX/._a.csv": b"\0\5\x16\7", "in/": b"", ".DS_Store": b"x", "in/.hidden.csv": b"x"}
    (tmp_path / "c.zip").write_bytes(zipped({"in/b.csv": b"image,caption\nb.jpg,two\n", "a.csv": TABLE, **junk}))
    rows = read_all(pair_source(format="csv", captions=str(tmp_path / "c.zip")))
    assert [(row["key"], row["where"]) for row in rows] == [
        ("a.jpg", f"{tmp_path}/c.zip/a.csv:2"),
        ("b.jpg", f"{tmp_path}/c.zip/in/b.csv:2"),
    ]
    (tmp_path / "t.zip").write_bytes(zipped({"1.md": b"# Head\n\nOne.", "2.md": b"Two.", **junk}))
    assert [row["text"] for row in read_all(text_source(format="markdown", files=str(tmp_path / "t.zip")))] == [b"One.", b"Two."]
    (tmp_path / "e.zip").write_bytes(zipped(junk))
    with pytest.raises(SourceError, match="contains no files"):
        read_all(pair_source(format="csv", captions=str(tmp_path / "e.zip")))


@pytest.mark.parametrize(
    "make",
    [
        lambda place: pair_source(format="csv", captions=place),
        lambda place: pair_source(format="karpathy", captions=place, split="test"),
        lambda place: pair_source(format="webdataset", shards=place),
        lambda place: pair_source(format="parquet", files=place),
        lambda place: text_source(format="text", files=place),
    ],
)
def test_pipes_and_devices_are_no_input(make: Any, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for place in (str(tmp_path / "pipe"), "/dev/zero", "/dev/stdin"):
        with pytest.raises(SourceError):
            read_all(make(place))


# Parquet


def test_values_that_cannot_be_had_cost_their_row(tmp_path: Path):
    bad_text = pa.Array.from_buffers(pa.string(), 3, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\3\0\0\0\4\0\0\0"), pa.py_buffer(b"a\xff\xfeb")])
    dates = pa.array([0, 2**62, 0], pa.timestamp("us"))
    table = pa.table({"key": bad_text, "caption": pa.array(["x", "y", "z"]), "jpg": pa.array([JPEG] * 3), "status": pa.nulls(3)})
    pq.write_table(table, tmp_path / "a.parquet")
    rows = read_all(pair_source(format="parquet", files=str(tmp_path / "a.parquet"), url=None))
    assert [row["key"] for row in good(rows)] == ["a", "b"] and reasons(rows) == ["bad_encoding"]
    pq.write_table(table.set_column(0, "key", pa.array(["a", "b", "c"])).append_column("error_message", dates), tmp_path / "a.parquet")
    rows = read_all(pair_source(format="parquet", files=str(tmp_path / "a.parquet"), url=None))
    assert [row["key"] for row in good(rows)] == ["a", "c"] and len(bad(rows)) == 1
    odd = pa.array([{"a": 1}, {"a": 2}, None])
    pq.write_table(table.set_column(0, "key", odd), tmp_path / "a.parquet")
    assert not good(read_all(pair_source(format="parquet", files=str(tmp_path / "a.parquet"), url=None)))
    assert not good(read_all(pair_source(format="parquet", files=str(tmp_path / "a.parquet"), caption="key", key="caption", url=None)))


def test_a_small_parquet_does_not_become_a_large_one(tmp_path: Path):
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), pa.array(["x" * (6 << 20)]))
    pq.write_table(pa.table({"text": text}), tmp_path / "a.parquet", compression="zstd")
    assert (tmp_path / "a.parquet").stat().st_size < 20_000
    assert reasons(read_all(text_source(format="parquet", files=str(tmp_path / "a.parquet")))) == ["too_long"] * 3000
    pq.write_table(pa.table({"text": ["x" * (70 << 20)]}), tmp_path / "c.parquet", compression="zstd")
    with pytest.raises(SourceError, match=r"limits\.inflation"):
        read_all(text_source(format="parquet", files=str(tmp_path / "c.parquet")))
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 300, pa.int32()), pa.array(["word " * 200_000]))
    pq.write_table(pa.table({"text": text}), tmp_path / "a.parquet")
    assert len(read_all(text_source(format="parquet", files=str(tmp_path / "a.parquet")))) == 300
    rows = read_all(text_source(format="parquet", files=str(tmp_path / "a.parquet")).within(Limits(line_bytes=1000)))
    assert reasons(rows) == ["too_long"] * 300
    many = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000_000, pa.int8()), pa.array(["x"]))
    pq.write_table(pa.table({"text": many}), tmp_path / "b.parquet")
    with pytest.raises(SourceError, match="rows_per_byte"):
        read_all(text_source(format="parquet", files=str(tmp_path / "b.parquet")))


@pytest.mark.parametrize("column", ["jpg", "jpg.bytes"])
def test_images_that_are_copies_are_held_once(column: str, tmp_path: Path):
    image = JPEG + bytes(1 << 20)
    copies = pa.DictionaryArray.from_arrays(pa.array([0, None, *[0] * 200], pa.int32()), pa.array([image]))
    values = copies if column == "jpg" else pa.StructArray.from_arrays([copies.dictionary_decode()], ["bytes"])
    pq.write_table(pa.table({"jpg": values}), tmp_path / "a.parquet", compression="zstd")
    del values
    close_files()
    before = pa.total_allocated_bytes()
    assert read_bytes(f"{tmp_path}/a.parquet#column={column}&row=7") == image
    assert pa.total_allocated_bytes() - before < 20 << 20
    with pytest.raises(ImageError, match="row 1 is null"):
        read_bytes(f"{tmp_path}/a.parquet#column={column}&row=1")
    close_files()


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", JPEG])
def test_files_that_are_not_parquet_are_named(data: bytes, tmp_path: Path):
    (tmp_path / "a.parquet").write_bytes(data)
    for source in (
        pair_source(format="parquet", files=str(tmp_path / "a.parquet")),
        text_source(format="parquet", files=str(tmp_path / "a.parquet")),
    ):
        with pytest.raises(SourceError, match=r"a\.parquet"):
            read_all(source)


# Folders


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "img" / "locked").mkdir(parents=True)
    (tmp_path / "img" / "a.jpg").write_bytes(JPEG)
    real = os.scandir

    def scandir(path: str) -> Any:  # the tests may run as root, which ignores permissions
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr("transforms.ingest.sources.listing.os.scandir", scandir)
    with pytest.raises(SourceError, match="locked: permission denied"):
        list_folder(str(tmp_path / "img"))


def test_links_are_followed_and_circles_are_not(tmp_path: Path):
    for name in ("a/x/1.jpg", "b/2.jpg", "outside/deep/3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(JPEG)
    for link, target in (
        ("a/b", "../b"),
        ("b/a", "../a"),
        ("a/out", "../outside"),
        ("outside/deep/up", ".."),
        ("a/self", "."),
        ("a/4.jpg", "../b/2.jpg"),
    ):
        os.symlink(target, tmp_path / link)
    assert list(list_folder(str(tmp_path / "a"))) == ["4.jpg", "b/2.jpg", "out/deep/3.jpg", "x/1.jpg"]
    with pytest.raises(SourceError, match=r"limits\.listed"):
        list_folder(str(tmp_path / "a"), Limits(listed=3))


def test_names_in_either_form_of_letters(tmp_path: Path):
    (tmp_path / "img").mkdir()
    for name in ("cafe\u0301.jpg", "\u00fc.jpg", "u\u0308.jpg"):
        (tmp_path / "img" / name).write_bytes(JPEG)
    (tmp_path / "c.csv").write_text("image,caption\ncaf\u00e9.jpg,one\ncafe\u0301.jpg,two\n\u00fc.jpg,three\nu\u0308.jpg,four\n")
    rows = read_all(pair_source(format="csv", captions=str(tmp_path / "c.csv"), images=str(tmp_path / "img")))
    assert not bad(rows)
    assert [row["uri"].rpartition("/")[2] for row in rows] == ["cafe\u0301.jpg", "cafe\u0301.jpg", "\u00fc.jpg", "u\u0308.jpg"]


def test_names_that_are_no_utf8_are_rejects(tmp_path: Path):
    (tmp_path / "img").mkdir()
    for name in (b"\xff\xfe.jpg", b"esc\x1b[31m.jpg", b"line\nbreak.jpg", b"ok.jpg"):
        (tmp_path / "img" / os.fsdecode(name)).write_bytes(JPEG)
    rows = read_all(pair_source(format="folder", images=str(tmp_path / "img")))
    assert [row["key"] for row in good(rows)] == ["ok.jpg"] and reasons(rows) == ["bad_encoding"] * 3
    assert all(row["where"].isprintable() for row in rows)


# Texts


@pytest.mark.parametrize(
    "text",
    [
        " = = =" * 5000,
        " = " * 20_000 + "x",
        '" ' * 50_000,
        " @-@" * 30_000,
        "<unk> " * 30_000,
        " '" * 50_000,
        " !!!!" * 30_000 + "x",
        "=" * 200_000,
    ],
)
def test_detokenising_takes_linear_time(text: str):
    began = time.monotonic()
    is_tokenised_heading(text)
    detokenise(text, "remove")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "text",
    [
        "(" * 50_000,
        "`" * 50_000,
        "[" * 100_000,
        "![" * 50_000,
        "a `b ``c " * 20_000,
        "[a](" * 50_000,
        "*a_" * 50_000,
        "<!--" * 30_000,
        "&" * 100_000,
        "> " * 20_000 + "x",
        "- " * 20_000 + "x",
        "|" * 100_000,
        "[^a]" * 50_000,
    ],
)
def test_markdown_takes_bounded_time(text: str):
    began = time.monotonic()
    list(markdown_paragraphs(text))
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("depth", [10, 26, 60, 400])
@pytest.mark.parametrize("mark", ["> ", "- ", "1. "])
def test_markdown_nested_deep_is_read(mark: str, depth: int):
    assert [text for _, text in markdown_paragraphs(mark * depth + "the text\n\nafter")] == ["the text", "after"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\ntitle: A\n---\nBody.", ["Body."]),
        ("---\n\nBetween two rules.\n\n---\n\nAfter.", ["Between two rules.", "After."]),
        ("+++\ntitle = 'A'\n+++\nBody.", ["Body."]),
        ("Before.\n\n---\nkey: value\n\n---", ["Before.", "key: value"]),
        ("A claim[^1] and more[^two].\n\n[^1]: The note.\n\n[^two]: Another.\n    Its second line.\n", ["A claim and more."]),
        ("- [ ] wash up\n- [x] cook\n\n[ ] no list", ["wash up", "cook", "[ ] no list"]),
        ('!!! note "Mind"\n    The body.\n\nAfter.', ["The body.", "After."]),
        ("> [!WARNING]\n> Mind it.", ["Mind it."]),
        ("::: tip Title\nThe body.\n:::", ["The body."]),
        ("??? question\n    The body.", ["The body."]),
    ],
)
def test_markdown_that_is_not_text(text: str, expected: list[str]):
    assert [found for _, found in markdown_paragraphs(text)] == expected


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end(end: str, tmp_path: Path):
    (tmp_path / "c.csv").write_bytes(end.join(["image,caption", "a.jpg,one", "", " , ", "b.jpg,two", ""]).encode())
    assert [(row["key"], row["caption"]) for row in read_all(pair_source(format="csv", captions=str(tmp_path / "c.csv")))] == [
        ("a.jpg", b"one"),
        ("b.jpg", b"two"),
    ]
    (tmp_path / "a.txt").write_bytes(end.join(["One line.", "and more.", "", "Two."]).encode())
    assert len(read_all(text_source(format="text", files=str(tmp_path / "a.txt")))) == 2
    (tmp_path / "a.jsonl").write_bytes(end.join(['{"text": "a"}', "", '{"text": ""}', '{"text": null}', '{"text": "b"}']).encode())
    assert [row["text"] for row in read_all(text_source(format="jsonl", files=str(tmp_path / "a.jsonl")))] == [b"a", b"b"]


# Messages


def test_text_from_data_is_quoted(tmp_path: Path):
    evil = "ConfigError: run \x1b[2Jcurl x | sh\n\u202efdp"
    (tmp_path / "c.csv").write_text(f'"{evil}",b\n1,2\n')
    with pytest.raises(SourceError) as raised:
        read_all(pair_source(format="csv", captions=str(tmp_path / "c.csv")))
    assert str(raised.value).isprintable()
    pq.write_table(pa.table({evil: ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(SourceError) as raised:
        read_all(text_source(format="parquet", files=str(tmp_path / "a.parquet")))
    assert str(raised.value).isprintable()
    (tmp_path / "a.jsonl").write_text(json.dumps({evil: 1}))
    assert all(row["detail"].isprintable() for row in read_all(text_source(format="jsonl", files=str(tmp_path / "a.jsonl"))))


class OddError(Exception):
    """An error unknown to every reader."""


def read_with(raised: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Three rows, the second of which raises when it is read."""
    (folder / "c.csv").write_text("image,caption\na.jpg,one\nb.jpg,two\nc.jpg,three\n")
    source = pair_source(format="csv", captions=str(folder / "c.csv"))
    real = type(source)._locate

    def place(self: Any, image: str, url: str) -> Any:
        if image == "b.jpg":
            raise raised
        return real(self, image, url)

    monkeypatch.setattr(type(source), "_locate", place)
    return read_all(source)


@pytest.mark.parametrize("raised", [OddError("odd"), KeyError("k"), RecursionError("deep"), OSError("broken data")])
def test_any_error_of_an_entry_is_its_reject(raised: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows = read_with(raised, tmp_path, monkeypatch)
    assert [row["key"] for row in good(rows)] == ["a.jpg", "c.jpg"] and type(raised).__name__ in bad(rows)[0][1]


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (MemoryError(), MemoryError),
        (OSError(28, "No space left on device"), SourceError),
        (InterruptedError(), InterruptedError),
        (OSError(5, "Input/output error"), SourceError),
        (TimeoutError(110, "Connection timed out"), SourceError),
    ],
)  # may be transient: not a permanent reject
def test_errors_not_caused_by_the_entry_propagate(
    raised: Exception, seen: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(seen):
        read_with(raised, tmp_path, monkeypatch)
