"""`format: webdataset` and `format: parquet`, with files written by webdataset, by pyarrow and by img2dataset."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from schemas.errors import SourceError
from tests.transforms.ingest.source_help import bad, encoded, good, pair_source, picture, read_all, reasons
from transforms.ingest.images.probe import Probe, probe_at, read_bytes

JPEG = encoded()


def tar(file: Path, members: list[tuple[str, bytes] | tarfile.TarInfo], **options: Any) -> str:
    """A tar of plain members and prepared headers, in the given order."""
    with tarfile.open(file, options.pop("mode", "w"), **options) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return str(file)


def read(folder: Path, members: list[Any], /, **settings: Any) -> list[dict[str, Any]]:
    return read_all(pair_source(format="webdataset", shards=tar(folder / "a.tar", members), **settings))


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def js(**facts: Any) -> bytes:
    return json.dumps(facts).encode()


def pair(key: str, caption: bytes = b"A dog .") -> list[tuple[str, bytes]]:
    return [(f"{key}.jpg", JPEG), (f"{key}.txt", caption)]


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_rows_point_into_the_tar(tar_format: int, tmp_path: Path):
    name = "folder/" + "long" * 40 if tar_format != tarfile.USTAR_FORMAT else "folder/1"
    file = tar(tmp_path / "a.tar", [*pair(name), *pair("2", b"caf\xe9")], format=tar_format)
    rows = read_all(pair_source(format="webdataset", shards=file))
    assert [(row["key"], row["caption"]) for row in rows] == [(name, b"A dog ."), ("2", b"caf\xe9")]
    for row in rows:
        assert read_bytes(row["uri"], row["offset"], row["length"]) == JPEG
        assert row["uri"] == file and row["stamp"].startswith(f"{os.stat(file).st_size}:")


def test_shards_written_by_webdataset(tmp_path: Path):
    with webdataset.ShardWriter(str(tmp_path / "s-%03d.tar"), maxcount=4, verbose=0) as sink:
        for number in range(10):
            sink.write(
                {
                    "__key__": f"{number:06d}",
                    "png": picture(seed=number),
                    "txt": f"caption {number}",
                    "json": {"url": f"http://e.org/{number}", "width": 40, "height": 30},
                    "cls": 3,
                }
            )
    source = pair_source(format="webdataset", shards=str(tmp_path / "s-*.tar"))
    assert len(source.splits()) == 3
    rows = read_all(source)
    assert not bad(rows)
    assert [(row["key"], row["caption"], row["url"], row["width"]) for row in rows] == [
        (f"{number:06d}", f"caption {number}".encode(), f"http://e.org/{number}", 40) for number in range(10)
    ]
    assert all(isinstance(probe_at(row["uri"], row["offset"], row["length"]), Probe) for row in rows)


@pytest.mark.parametrize(
    ("members", "expected", "kept"),
    [
        pytest.param([("../../evil.jpg", JPEG), ("../../evil.txt", b"x")], ["unsafe_path"] * 2, 0, id="traversal"),
        pytest.param([("/etc/evil.jpg", JPEG)], ["unsafe_path"], 0, id="absolute"),
        pytest.param([("C:\\evil.jpg", JPEG), ("a\\..\\evil.jpg", JPEG)], ["unsafe_path"] * 2, 0, id="paths of Windows"),
        pytest.param(
            [special("1.jpg", tarfile.SYMTYPE, "/etc/passwd"), ("1.txt", b"x")], ["image_missing", "unsafe_path"], 0, id="symlink"
        ),
        pytest.param([special("1.jpg", tarfile.LNKTYPE, "2.jpg"), ("1.txt", b"x")], ["image_missing", "unsafe_path"], 0, id="hard link"),
        pytest.param([special("1.jpg", tarfile.CHRTYPE)], ["unsafe_path"], 0, id="device"),
        pytest.param([special("1.jpg", tarfile.FIFOTYPE)], ["unsafe_path"], 0, id="pipe"),
        pytest.param([special("folder", tarfile.DIRTYPE), *pair("folder/1")], [], 1, id="folders are passed over"),
        pytest.param([("._1.jpg", b"x"), ("__meta__.json", b"x"), *pair("./1")], [], 1, id="hidden members are passed over"),
        pytest.param([("README", b"x"), *pair("1")], ["bad_row"], 1, id="no extension"),
        pytest.param([("1.txt", b"x")], ["image_missing"], 0, id="no image"),
        pytest.param([("1.jpg", JPEG)], ["caption_missing"], 0, id="no caption"),
        pytest.param([("1.jpg", JPEG), ("1.png", JPEG), ("1.txt", b"x")], ["bad_row"], 0, id="two images"),
        pytest.param([*pair("1"), *pair("1")], ["duplicate_id"], 0, id="one key twice in a row"),
        pytest.param([*pair("1"), *pair("2"), *pair("1")], ["duplicate_id"], 2, id="one key twice, apart"),
        pytest.param([("1.jpg", JPEG), ("1.json", b"{broken")], ["bad_row"], 0, id="broken json"),
        pytest.param([("1.jpg", JPEG), ("1.json", b"[1]")], ["bad_row"], 0, id="json is a list"),
        pytest.param([("1.jpg", JPEG), ("1.json", b"[" * 99_999)], ["bad_row"], 0, id="json nested too deep"),
        pytest.param([("1.jpg", JPEG), ("1.json", b'{"caption": "\xff"}')], ["bad_encoding"], 0, id="json with bad UTF-8"),
        pytest.param([("1.jpg", JPEG), ("1.json", js(caption=7))], ["bad_row"], 0, id="number for a caption"),
        pytest.param([("1.jpg", JPEG), ("1.json", js(caption=["a", 7]))], ["bad_row"], 1, id="number among captions"),
        pytest.param([("1.jpg", JPEG), ("1.json", js(caption=None))], ["caption_missing"], 0, id="null caption"),
        pytest.param([("1.jpg", JPEG), ("1.json", js(caption="a", status="failed_to_resize"))], ["image_not_held"], 0, id="failed status"),
        pytest.param([("1.jpg", JPEG), ("1.txt", b"x" * 2_000_000)], ["too_long"], 0, id="text of two megabytes"),
        pytest.param([("caf\udce9.jpg", JPEG), ("caf\udce9.txt", b"x")], ["bad_encoding"], 0, id="undecodable name"),
        pytest.param([("1.JPG", JPEG), ("1.TXT", b"x")], [], 1, id="capitals"),
        pytest.param([("1.npy", b"x"), ("1.cls", b"3")], [], 0, id="no member of ours"),
    ],
)
def test_odd_members(members: list[Any], expected: list[str], kept: int, tmp_path: Path):
    rows = read(tmp_path, members)
    assert reasons(rows) == expected
    assert len(good(rows)) == kept


def test_captions_from_json(tmp_path: Path):
    members = [("1.jpg", JPEG), ("1.json", js(caption="one", captions=["two", "three"])), ("1.txt", b"zero")]
    assert [row["caption"] for row in read(tmp_path, members)] == [b"zero"]
    assert [row["caption"] for row in read(tmp_path, members, caption_from="json")] == [b"one"]
    assert [row["caption"] for row in read(tmp_path, members, caption_from="json", caption="captions")] == [b"two", b"three"]
    assert [row["caption"] for row in read(tmp_path, members[:2], caption_from="txt", keep_uncaptioned=True)] == [None]


def test_choices_of_image_and_keys(tmp_path: Path):
    rows = read(tmp_path, [("1.left.jpg", b"l"), ("1.right.jpg", b"rr"), ("1.txt", b"x")], image="right.jpg", keys="shard")
    assert [(row["key"], row["length"]) for row in rows] == [("a/1", 2)]


@pytest.mark.parametrize("cut", [100, 512, 812, 1536, 2648, -700, -100])
def test_a_truncated_tar_keeps_the_samples_before(cut: int, tmp_path: Path):
    file = Path(tar(tmp_path / "a.tar", [*pair("1"), *pair("2"), *pair("3")]))
    whole = read_all(pair_source(format="webdataset", shards=str(file)))
    data = file.read_bytes().rstrip(b"\0")
    data += bytes(-len(data) % 512)  # the last member is padded to 512 bytes; the end-of-archive marker is missing
    file.write_bytes(data[:cut])
    rows = read_all(pair_source(format="webdataset", shards=str(file)))
    assert reasons(rows).count("archive_broken") == 1
    kept = good(rows)
    assert len(kept) == {-700: 2, -100: 3}.get(cut, 0 if cut < 2500 else 1)
    for row, expected in zip(kept, whole, strict=False):
        assert {**row, "stamp": ""} == {**expected, "stamp": ""}
        assert read_bytes(row["uri"], row["offset"], row["length"]) == JPEG


def test_a_truncated_image_is_not_kept(tmp_path: Path):
    file = Path(tar(tmp_path / "a.tar", [("1.txt", b"A dog ."), ("1.jpg", JPEG)]))
    data = file.read_bytes()
    file.write_bytes(data[: data.index(JPEG) + 600])
    rows = read_all(pair_source(format="webdataset", shards=str(file), keep_uncaptioned=True))
    assert not good(rows) and reasons(rows) == ["archive_broken", "image_missing"]


def test_no_end_mark_keeps_every_sample(tmp_path: Path):
    file = Path(tar(tmp_path / "a.tar", [*pair("1"), *pair("2")]))
    data = file.read_bytes().rstrip(b"\0")
    file.write_bytes(data + bytes(-len(data) % 512))
    rows = read_all(pair_source(format="webdataset", shards=str(file)))
    assert len(good(rows)) == 2 and reasons(rows) == ["archive_broken"]


def test_garbage_in_the_middle_of_a_tar_is_reported(tmp_path: Path):
    file = Path(tar(tmp_path / "a.tar", [*pair("1"), *pair("2")]))
    data = bytearray(file.read_bytes())
    place = data.index(b"2.jpg")
    data[place : place + 512] = b"\xaa" * 512
    file.write_bytes(data)
    rows = read_all(pair_source(format="webdataset", shards=str(file)))
    assert [row["key"] for row in good(rows)] == ["1"] and reasons(rows) == ["archive_broken"]


def test_an_empty_file_is_one_reject(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(b"")
    assert reasons(read_all(pair_source(format="webdataset", shards=str(tmp_path / "a.tar")))) == ["archive_broken"]


@pytest.mark.parametrize(("mode", "command"), [("w:gz", "gunzip"), ("w:bz2", "bunzip2"), ("w:xz", "unxz")])
def test_compressed_tars_are_refused_with_the_cure(mode: str, command: str, tmp_path: Path):
    source = pair_source(format="webdataset", shards=tar(tmp_path / "a.tar", pair("1"), mode=mode))
    with pytest.raises(SourceError, match=command):
        read_all(source)
    os.rename(tmp_path / "a.tar", tmp_path / "a.tar.gz")
    with pytest.raises(SourceError, match="decompress it"):
        pair_source(format="webdataset", shards=str(tmp_path / "a.tar.gz")).splits()


def test_files_that_are_not_tars_are_named(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(b"not a tar " * 200)
    with pytest.raises(SourceError, match="a.tar is not a tar archive"):
        read_all(pair_source(format="webdataset", shards=str(tmp_path / "a.tar")))


# The columns written by img2dataset 1.x.
IMG2DATASET = pa.schema(
    [
        ("caption", pa.string()),
        ("url", pa.string()),
        ("key", pa.string()),
        ("status", pa.string()),
        ("error_message", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("exif", pa.string()),
        ("sha256", pa.string()),
    ]
)


def facts(number: int, status: str = "success") -> dict[str, Any]:
    fine = status == "success"
    return {
        "caption": f"caption {number}",
        "url": f"http://e.org/{number}.jpg",
        "key": f"{number:06d}",
        "status": status,
        "error_message": None if fine else "HTTP Error 404",
        "width": 40 if fine else None,
        "height": 30 if fine else None,
        "original_width": 400 if fine else None,
        "original_height": 300 if fine else None,
        "exif": "{}",
        "sha256": "0",
    }


def img2dataset_folder(folder: Path, kind: str) -> str:
    """img2dataset's output for three images, the last of which failed: tars with separate metadata, or Parquet."""
    rows = [facts(0), facts(1), facts(2, "failed_to_download")]
    if kind == "parquet":
        pq.write_table(
            pa.Table.from_pylist(
                [{**row, "jpg": JPEG if row["width"] else None} for row in rows], schema=IMG2DATASET.append(pa.field("jpg", pa.binary()))
            ),
            folder / "00000.parquet",
        )
    else:
        with webdataset.TarWriter(str(folder / "00000.tar")) as sink:
            for row in rows[:2]:
                sink.write({"__key__": row["key"], "jpg": JPEG, "txt": row["caption"], "json": row})
        pq.write_table(pa.Table.from_pylist(rows, schema=IMG2DATASET), folder / "00000.parquet")
    (folder / "00000_stats.json").write_text("{}")
    return str(folder)


def check_img2dataset(folder: str, kind: str, keys: list[str], captions: list[str], failed: int) -> None:
    if kind == "parquet":
        source = pair_source(format="parquet", files=f"{folder}/*.parquet")
    else:
        source = pair_source(format="webdataset", shards=f"{folder}/*")
    rows = read_all(source)
    kept = sorted(good(rows), key=lambda row: row["key"])
    assert [row["key"] for row in kept] == keys
    assert [row["caption"].decode() for row in kept] == captions
    assert reasons(rows) == (["image_not_held"] * failed if kind == "parquet" else [])
    for row in kept:
        found = probe_at(row["uri"], row["offset"], row["length"])
        assert isinstance(found, Probe) and (found.width, found.height) == (row["width"], row["height"])
        assert row["url"].startswith("http://")


@pytest.mark.parametrize("kind", ["webdataset", "parquet"])
def test_files_in_the_form_of_img2dataset(kind: str, tmp_path: Path):
    check_img2dataset(img2dataset_folder(tmp_path, kind), kind, ["000000", "000001"], ["caption 0", "caption 1"], 1)


def test_metadata_next_to_tars_is_not_a_collection(tmp_path: Path):
    folder = img2dataset_folder(tmp_path, "webdataset")
    with pytest.raises(SourceError, match="format: webdataset"):
        read_all(pair_source(format="parquet", files=f"{folder}/*.parquet"))
    with pytest.raises(SourceError, match="matches no tar shard"):
        pair_source(format="webdataset", shards=f"{folder}/*.parquet").splits()


@pytest.fixture
def web_server(tmp_path: Path) -> Iterator[str]:
    """The URL of a folder with six images and one other file."""
    folder = tmp_path / "www"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.jpg").write_bytes(encoded(image=picture(300 + number, 400, seed=number)))
    (folder / "bad.jpg").write_bytes(b"no image")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["webdataset", "parquet"])
def test_real_img2dataset(kind: str, web_server: str, tmp_path: Path):
    program = os.environ.get("CMCL_IMG2DATASET") or shutil.which("img2dataset")
    if program is None:
        pytest.skip("img2dataset is not installed: `pip install img2dataset` elsewhere and set CMCL_IMG2DATASET to its path")
    names = [*(f"{number}.jpg" for number in range(6)), "bad.jpg", "none.jpg"]
    table = "".join(f"{web_server}/{name}\tcaption é of {name}\n" for name in names)
    (tmp_path / "urls.tsv").write_text("url\tcaption\n" + table)
    subprocess.run(
        [
            program,
            f"--url_list={tmp_path}/urls.tsv",
            "--input_format=tsv",
            "--url_col=url",
            "--caption_col=caption",
            f"--output_format={kind}",
            f"--output_folder={tmp_path}/out",
            "--processes_count=1",
            "--thread_count=2",
            "--image_size=64",
            "--number_sample_per_shard=5",
        ],
        check=True,
        capture_output=True,
        timeout=120,
        env={**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"},
    )
    captions = [f"caption é of {name}" for name in names[:6]]
    keys = [f"{number // 5:05d}{number % 5}"[-6:] for number in range(6)]
    check_img2dataset(str(tmp_path / "out"), kind, keys, captions, 2)
