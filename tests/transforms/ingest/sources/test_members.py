"""A damaged member of an archive is one reject, whatever is wrong with it; the members around it are kept."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import SourceError
from tests.transforms.ingest.source_help import bad, encoded, good, pair_source, read_all, text_source
from transforms.ingest.limits import Limits
from transforms.ingest.sources import opening
from transforms.ingest.sources.base import Source


def coco(name: str) -> bytes:
    note = {"id": 1, "image_id": 1, "caption": f"A dog {name}"}
    return json.dumps({"images": [{"id": 1, "file_name": f"{name}.jpg"}], "annotations": [note] * 40}).encode()


def karpathy(name: str) -> bytes:
    return json.dumps({"images": [{"filename": f"{name}.jpg", "split": "train", "sentences": [{"raw": f"A dog {name}"}] * 40}]}).encode()


KINDS: dict[str, tuple[str, Callable[[str], bytes], dict[str, Any]]] = {
    "csv": ("csv", lambda name: b"image,caption\n" + b"".join(b"%s.jpg,A dog %d\n" % (name.encode(), i) for i in range(40)), {}),
    "tsv": ("tsv", lambda name: b"image\tcaption\n" + b"".join(b"%s.jpg\tA dog %d\n" % (name.encode(), i) for i in range(40)), {}),
    "coco": ("json", coco, {}),
    "karpathy": ("json", karpathy, {"split": "train"}),
    "blip": ("json", lambda name: json.dumps([{"image": f"{name}.jpg", "caption": "A dog"}] * 40).encode(), {}),
    "text": ("txt", lambda name: f"A dog {name}\n\n".encode() * 40, {}),
    "markdown": ("md", lambda name: f"A dog {name}\n\n".encode() * 40, {}),
    "jsonl": ("jsonl", lambda name: json.dumps({"text": f"A dog {name}"}).encode() * 1 + b"\n", {}),
}


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytearray:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return bytearray(data.getvalue())


def header(data: bytearray, name: str) -> int:
    """The offset of a member's entry in the archive's directory."""
    return data.rindex(b"PK\x01\x02", 0, data.rindex(name.encode()))


def local(data: bytearray, name: str) -> int:
    return int(struct.unpack_from("<I", data, header(data, name) + 42)[0])


def flipped(data: bytearray, name: str) -> None:
    start = local(data, name) + 30 + len(name)
    data[start + 3] ^= 0xFF


def wrong_sum(data: bytearray, name: str) -> None:
    data[header(data, name) + 16] ^= 1


def encrypted(data: bytearray, name: str) -> None:
    data[header(data, name) + 8] |= 1
    data[local(data, name) + 6] |= 1


def unknown_method(data: bytearray, name: str) -> None:
    struct.pack_into("<H", data, header(data, name) + 10, 99)


def no_header(data: bytearray, name: str) -> None:
    data[local(data, name)] ^= 0xFF


def renamed(data: bytearray, name: str) -> None:
    data[local(data, name) + 30] = ord("z")


def beyond_the_end(data: bytearray, name: str) -> None:
    struct.pack_into("<I", data, header(data, name) + 42, len(data) + 5)


DAMAGES = (flipped, wrong_sum, encrypted, unknown_method, no_header, renamed, beyond_the_end)


def source_of(kind: str, path: Path) -> Source:
    settings = KINDS[kind][2]
    if kind in ("text", "markdown", "jsonl"):
        return text_source(format=kind, files=str(path), **settings)
    return pair_source(format=kind, captions=str(path), **settings)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_member_of_a_zip_is_its_reject(kind: str, damage: Callable[[bytearray, str], None], tmp_path: Path):
    extension, content, _ = KINDS[kind]
    names = [f"{letter}.{extension}" for letter in "abc"]
    data = zipped({name: content(name[0]) for name in names})
    damage(data, names[1])
    (tmp_path / "x.zip").write_bytes(data)
    rows = read_all(source_of(kind, tmp_path / "x.zip"))
    whole = zipped({name: content(name[0]) for name in (names[0], names[2])})
    (tmp_path / "y.zip").write_bytes(whole)
    expected = [row["where"].rpartition("y.zip")[2] for row in read_all(source_of(kind, tmp_path / "y.zip"))]
    broken = [row for row in rows if row["reason"] == "archive_broken"]
    assert [row["where"] for row in broken] == [f"{tmp_path}/x.zip/{names[1]}"] and names[1] in broken[0]["detail"]
    assert [row["where"].rpartition("x.zip")[2] for row in rows if f"/{names[1]}" not in row["where"]] == expected
    alone = zipped({names[1]: content("b")})
    damage(alone, names[1])
    (tmp_path / "z.zip").write_bytes(alone)
    with pytest.raises(SourceError, match=f"z.zip/{names[1]}"):
        read_all(source_of(kind, tmp_path / "z.zip"))


def test_members_are_decompressed_by_name_and_foreign_ones_rejected(tmp_path: Path):
    table = KINDS["csv"][1]
    members = {
        "a.csv": table("a"),
        "b.csv.gz": gzip.compress(table("b")),
        "c.csv.gz": gzip.compress(table("c"))[:-9],
        "d.zip": bytes(zipped({"d.csv": table("d")})),
        "e.tar": b"x" * 257 + b"ustar" + bytes(250),
        "f.csv": "image,caption\n".encode("utf-16"),
        "g.csv": table("g"),
    }
    (tmp_path / "x.zip").write_bytes(zipped(members))
    rows = read_all(source_of("csv", tmp_path / "x.zip"))
    broken = {row["where"].rpartition("/")[2]: row["detail"] for row in rows if row["reason"] == "archive_broken"}
    assert sorted(broken) == ["c.csv.gz", "d.zip", "e.tar", "f.csv"]
    assert "truncated" in broken["c.csv.gz"] and "zip in a zip" in broken["d.zip"]
    assert "tar archive" in broken["e.tar"] and "UTF-16" in broken["f.csv"]
    assert {row["key"] for row in good(rows)} >= {"a.jpg", "b.jpg", "g.jpg"}


def test_what_expands_too_far_is_a_reject_and_a_failing_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    table = KINDS["csv"][1]
    (tmp_path / "x.zip").write_bytes(
        zipped({"a.csv": table("a"), "b.csv": b"image,caption\n" + b"b.jpg,one\n" * 300_000, "c.csv": table("c")})
    )
    source = source_of("csv", tmp_path / "x.zip").within(Limits(inflated_bytes=1 << 20))
    rows = read_all(source)
    assert {row["key"] for row in good(rows)} >= {"a.jpg", "c.jpg"}
    assert [reason for reason, detail in bad(rows) if "expands to more" in detail] == ["archive_broken"]

    def failing(self: Any, buffer: Any) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(opening._Bounded, "readinto", failing)
    with pytest.raises(SourceError, match=r"a\.csv: Input/output error"):
        read_all(source)


def test_a_member_cannot_raise_its_bound_by_claiming_a_compressed_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(opening, "_FREE", 1 << 10)
    data = zipped({"a.csv": KINDS["csv"][1]("a"), "b.csv": b"image,caption\n" + b"b.jpg,one\n" * 300_000})
    struct.pack_into("<I", data, header(data, "b.csv") + 20, 0x7FFFFFF0)
    (tmp_path / "x.zip").write_bytes(data)
    rows = read_all(source_of("csv", tmp_path / "x.zip").within(Limits(inflation=20)))
    assert [detail for reason, detail in bad(rows) if "expands to more" in detail] and len(good(rows)) < 100_000


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(b"A dog runs.", mtime=0),
        bytes(zipped({"a.txt": b"A dog runs."})),
        b"PAR1" + bytes(40),
        b"%PDF-1.7\nA dog",
        "A dog runs.".encode("utf-16"),
        "A dog runs.".encode("utf-32-be").join([b"\0\0\xfe\xff", b""]),
    ],
)
def test_a_file_that_is_not_text_is_an_error_that_says_what_it_is(data: bytes, tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(SourceError, match=r"a\.txt is (compressed|a zip|a Parquet|a PDF|UTF-)"):
        read_all(source_of("text", tmp_path / "a.txt"))


def test_a_tar_of_texts_is_not_read_as_text(tmp_path: Path):
    with tarfile.open(tmp_path / "t.txt", "w") as archive:
        info = tarfile.TarInfo("a.txt")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"A dog"))
    with pytest.raises(SourceError, match="is a tar archive"):
        read_all(source_of("text", tmp_path / "t.txt"))


def test_a_damaged_text_of_a_shard_is_the_reject_of_its_sample(tmp_path: Path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, data in (
            ("a.jpg", encoded()),
            ("a.json", b"{"),
            ("b.jpg", encoded()),
            ("b.txt", b"A dog"),
            ("c.jpg", b""),
            ("c.txt", b"x"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    rows = read_all(pair_source(format="webdataset", shards=str(tmp_path / "a.tar")))
    assert [row["key"] for row in good(rows)] == ["b", "c"] and [reason for reason, _ in bad(rows)] == ["bad_row"]


@pytest.mark.parametrize("values", [[[""] * 1_100_000], [[None] * 1_100_000], [[[""] * 1_100_000]]])
def test_a_list_of_captions_is_bounded_like_rows(values: list[Any], tmp_path: Path):
    pq.write_table(pa.table({"jpg": [encoded()], "caption": values, "key": ["a"]}), tmp_path / "a.parquet", compression="zstd")
    with pytest.raises(SourceError, match=r"declares 1100000 values.*rows_per_byte"):
        read_all(pair_source(format="parquet", files=str(tmp_path / "a.parquet")))


def test_a_list_of_copies_of_a_long_caption_is_not_expanded(tmp_path: Path):
    texts = pa.DictionaryArray.from_arrays(pa.array([0, None, *[1] * 2000, 2], pa.int32()), pa.array(["A dog", "dog " * 25_000, "A cat"]))
    captions = pa.ListArray.from_arrays(pa.array([0, 2, 2002, 2003], pa.int32()), texts)
    table = pa.table({"jpg": [encoded()] * 3, "caption": captions, "key": ["a", "b", "c"]})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    rows = read_all(pair_source(format="parquet", files=str(tmp_path / "a.parquet")))
    assert [(row["key"], row["caption"]) for row in good(rows)] == [("a", b"A dog"), ("c", b"A cat")]
    assert [reason for reason, _ in bad(rows)] == ["too_long"]
