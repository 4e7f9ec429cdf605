"""Hostile tars: one reject for unreadable parts, the rest unaffected, every walk terminates; captions in .txt members."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import SourceError
from tests.transforms.ingest.source_help import bad, encoded, good, pair_source, read_all, reasons
from transforms.ingest.limits import Limits

JPEG = encoded()


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, form: int = tarfile.GNU_FORMAT) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(form)


def with_size(whole: bytes, size: bytes) -> bytes:
    """A header with these bytes as its size field and a corrected checksum."""
    block = bytearray(whole)
    block[124:136] = size.ljust(12, b"\0")[:12]
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def member(name: str, data: bytes) -> bytes:
    return header(name, len(data)) + padded(data)


def pax(records: bytes) -> bytes:
    return header("pax", len(records), tarfile.XHDTYPE) + padded(records)


def record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n".encode()
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


SOUND = member("1.jpg", JPEG) + member("1.txt", b"one caption")
NEXT = member("9.jpg", JPEG) + member("9.txt", b"the last one")
END = bytes(1024)


def tar_rows(folder: Path, data: bytes, limits: Limits | None = None, **settings: Any) -> list[dict[str, Any]]:
    (folder / "a.tar").write_bytes(data)
    source = pair_source(format="webdataset", shards=str(folder / "a.tar"), **settings)
    return read_all(source.within(limits or Limits()))


@pytest.mark.parametrize(
    "odd",
    [
        with_size(header("x.jpg"), b"\xff" * 10 + b"\xfe\x00"),  # -512 in base 256
        with_size(header("x.jpg"), b"\xff" * 12),  # -1
        with_size(header("x.jpg"), b"\x80" + b"\xff" * 11),  # more than exists in the world
        with_size(header("x.jpg"), b"nonsense"),
        pax(record("size", "-512")) + header("x.jpg"),
        pax(record("size", "9" * 30)) + header("x.jpg"),
        pax(b"99999999999 path=x\n") + header("x.jpg"),
        pax(b"0 path=x\n") + header("x.jpg"),
        pax(b"-5 path=x\n") + header("x.jpg"),
        with_size(header("././@LongLink", 0, tarfile.GNUTYPE_LONGNAME), b"\xff" * 10 + b"\xfe\x00") + header("x.jpg"),
        with_size(header("x", 0, tarfile.XHDTYPE), b"77777777777") + header("x.jpg"),
        b"\x01" * 512,
        header("x.jpg")[:300],
        pax(record("size", "10")),
    ],
)
def test_a_tar_that_cannot_be_followed_is_one_reject(odd: bytes, tmp_path: Path):
    began = time.monotonic()
    rows = tar_rows(tmp_path, SOUND + odd)
    assert [row["key"] for row in good(rows)] == ["1"] and reasons(rows) == ["archive_broken"]
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "odd",
    [
        (header("././@LongLink", 2, tarfile.GNUTYPE_LONGNAME) + padded(b"y\0")) * 3000 + header("x.jpg"),  # a chain
        pax(record("path", "y.jpg")) * 3000 + header("x.jpg"),
        header("././@LongLink", 1 << 20, tarfile.GNUTYPE_LONGNAME) + bytes(1 << 20) + header("x.jpg"),
        pax(record("comment", "c" * 200_000)) + header("x.jpg"),
    ],
)
def test_headers_beyond_bounds_cost_their_member_alone(odd: bytes, tmp_path: Path):
    rows = tar_rows(tmp_path, SOUND + odd + NEXT + END)
    assert [row["key"] for row in good(rows)] == ["1", "9"] and reasons(rows) == ["bad_row"]


def test_long_names_and_pax_within_bounds_are_read(tmp_path: Path):
    name = "é" * 90 + "/" + "a" * 60
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for kind, content in (("jpg", JPEG), ("txt", b"words")):
            info = tarfile.TarInfo(f"{name}.{kind}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    assert [row["key"] for row in good(tar_rows(tmp_path, data.getvalue()))] == [name]


def test_sparse_members_are_neither_text_nor_image(tmp_path: Path):
    old = bytearray(header("2.txt", 512, tarfile.GNUTYPE_SPARSE))
    sparse = with_size(bytes(old), b"00000001000\0") + bytes(512)
    rows = tar_rows(tmp_path, SOUND + member("2.jpg", JPEG) + sparse + NEXT + END)
    assert [row["key"] for row in good(rows)] == ["1", "9"] and "sparse" in bad(rows)[0][1]
    new = pax(record("GNU.sparse.major", "1") + record("GNU.sparse.name", "2.txt")) + member("GNUSparseFile.0/2.txt", b"1\n0\n5\nwords")
    rows = tar_rows(tmp_path, SOUND + member("2.jpg", JPEG) + new + NEXT + END)
    assert b"1\n0\n5" not in b"".join(row["caption"] for row in good(rows))


@pytest.mark.parametrize("between", [END, bytes(512), bytes(10_240), bytes(3 << 20)])
def test_concatenated_tars_are_read_completely(between: bytes, tmp_path: Path):
    rows = tar_rows(tmp_path, SOUND + between + NEXT + END)
    assert [row["key"] for row in good(rows)] == ["1", "9"] and not bad(rows)


def test_garbage_after_an_end_of_archive_marker_is_reported(tmp_path: Path):
    rows = tar_rows(tmp_path, SOUND + END + b"remarks of a careless tool" * 40)
    assert [row["key"] for row in good(rows)] == ["1"] and reasons(rows) == ["archive_broken"]


@given(st.binary(max_size=1500), st.integers(0, 4000), st.integers(0, 511))
def test_no_bytes_in_a_tar_raise_or_hang(data: bytes, at: int, skip: int):
    whole = SOUND + NEXT + END
    at = min(at, len(whole))
    for content in (whole[:at] + data + whole[at + skip :], SOUND + data, whole[:at]):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "a.tar").write_bytes(content)
            try:
                read_all(pair_source(format="webdataset", shards=f"{folder}/a.tar"))
            except SourceError:
                pass


@pytest.mark.parametrize(
    ("text", "json_caption", "captions"),
    [
        (b"one\ntwo\r\nthree\rfour\n\n", None, [b"one", b"two", b"three", b"four"]),
        (b"a caption that\nwas wrapped", "a caption that\nwas wrapped", [b"a caption that\nwas wrapped"]),  # as written by img2dataset
        (b"only one\n", None, [b"only one\n"]),
        (b" \n \nnow\n", None, [b" \n \nnow\n"]),
    ],
)
def test_lines_of_a_txt_are_captions(text: bytes, json_caption: str | None, captions: list[bytes], tmp_path: Path):
    facts = member("1.json", json.dumps({"caption": json_caption}).encode()) if json_caption else b""
    rows = tar_rows(tmp_path, member("1.jpg", JPEG) + member("1.txt", text) + facts + END)
    assert [row["caption"] for row in good(rows)] == captions
    rows = tar_rows(tmp_path, member("1.jpg", JPEG) + member("1.txt", text) + facts + END, txt="whole")
    assert [row["caption"] for row in good(rows)] == [text]


def test_captions_in_a_list_with_nulls(tmp_path: Path):
    facts = json.dumps({"caption": [None, "one", None, "two"]}).encode()
    rows = tar_rows(tmp_path, member("1.jpg", JPEG) + member("1.json", facts) + END)
    assert [row["caption"] for row in rows] == [b"one", b"two"]
    pq.write_table(pa.table({"key": ["a", "b"], "jpg": [JPEG, JPEG], "caption": [["x", None], [None]]}), tmp_path / "a.parquet")
    rows = read_all(pair_source(format="parquet", files=str(tmp_path / "a.parquet")))
    assert [row["caption"] for row in good(rows)] == [b"x"] and reasons(rows) == ["caption_missing"]
