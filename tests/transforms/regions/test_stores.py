"""Damaged, truncated and malicious npz files and LMDBs of UNITER: each entry is a reject, no process dies, no code is executed."""

from __future__ import annotations

import io
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ConfigError
from tests.transforms.regions.test_files import msgpack_array
from transforms.regions.files.base import Bounds, RawRegions, RegionFileError, count_of, to_regions
from transforms.regions.files.lmdb_pages import LmdbError, LmdbFile
from transforms.regions.files.stage import RegionFileSettings, widths
from transforms.regions.files.uniter import LmdbStore, NpzStore, read_msgpack, read_npz

BOX = np.float16([[0.1, 0.2, 0.5, 0.9, 0.4, 0.7]])


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode().ljust(64)
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def npz(method: int = zipfile.ZIP_STORED, **members: bytes | np.ndarray) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, member in members.items():
            if isinstance(member, np.ndarray):
                held = io.BytesIO()
                np.save(held, member)
                member = held.getvalue()
            archive.writestr(f"{name}.npy", member)
    return out.getvalue()


def encrypted() -> bytes:
    data = bytearray(npz(norm_bb=BOX, features=np.ones((1, 4), np.float16)))
    at = data.index(b"PK\x01\x02")
    while at >= 0:  # set the flag in each entry of the central directory
        data[at + 8] |= 1
        at = data.find(b"PK\x01\x02", at + 4)
    return bytes(data)


SHAPE = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}"
HOSTILE = {
    "a huge shape": npy(SHAPE.format("<f4", (1 << 40, 1 << 20))), "a shape of 2 ** 70": npy(SHAPE.format("<f4", (1 << 70, 4))),
    "a negative shape": npy(SHAPE.format("<f4", (-1, 4)), bytes(16)), "a shape of no numbers": npy(SHAPE.format("<f4", ("1", 4)), bytes(16)),
    "a shape of truth": npy(SHAPE.format("<f4", (True, 4)), bytes(16)), "nested": npy("(" * 60), "deeply nested": npy("[" * 9000 + "]" * 9000),
    "code": npy("__import__('os').system('true')"), "objects": npy(SHAPE.format("|O", (1, 4)), bytes(32)),
    "times": npy(SHAPE.format("<M8[s]", (1, 4)), bytes(32)), "text": npy(SHAPE.format("<U4", (1, 4)), bytes(64)),
    "wide floats": npy(SHAPE.format("<f16", (1, 4)), bytes(64)), "fewer bytes": npy(SHAPE.format("<f4", (1, 4)), bytes(15)),
    "more bytes": npy(SHAPE.format("<f4", (1, 4)), bytes(17)), "nothing": b"", "another file": b"GIF89a", "version 9": b"\x93NUMPY\x09\x00" + bytes(90),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_arrays_of_npz_files_are_refused(what):
    with pytest.raises(RegionFileError, match="x.npz is not a valid npz file") as caught:
        read_npz("x.npz", npz(norm_bb=BOX, features=HOSTILE[what]))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "data",
    [
        encrypted(),
        b"",
        b"PK\x05\x06",
        npz(features=bytes(9))[:-30],
        npz(zipfile.ZIP_LZMA, features=BOX)[:60] + b"\xff" * 30 + npz(zipfile.ZIP_LZMA, features=BOX)[90:],
        npz(zipfile.ZIP_BZIP2, features=BOX)[:60] + b"\0" * 30 + npz(zipfile.ZIP_BZIP2, features=BOX)[90:],
    ],
)
def test_hostile_archives_are_refused(data):
    with pytest.raises(RegionFileError, match="not a valid npz"):
        read_npz("x.npz", data)


@pytest.mark.parametrize(
    ("boxes", "features", "count"),
    [
        (np.zeros((0, 6), np.float16), np.zeros((0, 4), np.float16), 0),
        (np.zeros(0, np.float16), np.zeros(0, np.float16), 0),
        (np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32), 0),
        (BOX, np.ones((1, 4), np.float16), 1),
        (BOX[0], np.ones(4, np.float16), None),
        (BOX, np.ones((1, 0), np.float16), None),
        (BOX, np.zeros((0, 4), np.float16), None),
        (np.float16(0.5), np.ones((1, 4), np.float16), None),
        (BOX, np.ones((1, 4, 1), np.float16), None),
    ],
)
def test_first_entries_of_odd_shapes(boxes, features, count, tmp_path):
    (tmp_path / "a.npz").write_bytes(npz(norm_bb=np.asarray(boxes), features=features))
    (tmp_path / "b.npz").write_bytes(npz(norm_bb=BOX, features=np.ones((1, 4), np.float16)))
    assert widths(RegionFileSettings(format="uniter_npz", files=(str(tmp_path),))) == (4, 1)
    store = NpzStore(str(tmp_path))
    if count is None:
        with pytest.raises(RegionFileError):
            to_regions(store.get("a.npz"), 64, 48, 4, 1)
    else:
        assert count_of(store.get("a.npz")) == count
        assert to_regions(store.get("a.npz"), 64, 48, 4, 1).features.shape == (count, 4)


def test_entries_have_bounds_that_can_be_set(tmp_path):
    (tmp_path / "a.npz").write_bytes(npz(zipfile.ZIP_DEFLATED, norm_bb=np.tile(BOX, (50, 1)), features=np.ones((50, 40), np.float16)))
    for bounds, text in (
        (Bounds(max_boxes=49), "max_boxes"),
        (Bounds(max_bytes=3000), "max_entry_bytes"),
        (Bounds(max_bytes=9), "max_entry"),
    ):
        with pytest.raises(RegionFileError, match=text):
            NpzStore(str(tmp_path), bounds).get("a.npz")
    assert len(NpzStore(str(tmp_path)).get("a.npz").boxes) == 50


@pytest.mark.parametrize(
    "change",
    [
        {b"shape": [float("inf"), 4]},
        {b"shape": [float("nan")]},
        {b"shape": [1 << 62, 1 << 62]},
        {b"shape": [-1, 4]},
        {b"shape": None},
        {b"shape": {"a": 1}},
        {b"type": "|O"},
        {b"type": [["a", "<f4"]]},
        {b"type": b"<f4"},
        {b"type": "<f16"},
        {b"type": "<c8"},
        {b"type": None},
        {b"data": "text"},
        {b"data": 7},
        {b"data": b"123"},
        {b"nd": False},
        {b"nd": 1},
    ],
)
def test_hostile_arrays_of_msgpack_are_refused(change):
    msgpack = pytest.importorskip("msgpack")
    array = msgpack_array(np.ones((1, 4), np.float32))
    assert read_msgpack("x", msgpack.dumps({"features": array}))["features"].shape == (1, 4)
    with pytest.raises(RegionFileError, match="not a valid msgpack"):
        read_msgpack("x", msgpack.dumps({"features": {**array, **change}}))


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x90", b"\x81\xa8features", b"\x91" * 3000, b"\xdf\xff\xff\xff\xff", b"\x81\xa8features\xc9\0\0\0\1\5x"]
)
def test_hostile_msgpack_is_refused(data):
    pytest.importorskip("msgpack")
    with pytest.raises(RegionFileError, match="not a valid msgpack"):
        read_msgpack("x", data)


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    """An LMDB of 300 entries on branch, leaf and overflow pages."""
    lmdb, msgpack = pytest.importorskip("lmdb"), pytest.importorskip("msgpack")
    folder = tmp_path_factory.mktemp("db")
    with lmdb.open(str(folder), map_size=1 << 26) as env, env.begin(write=True) as out:
        for number in range(300):
            arrays = {"norm_bb": BOX, "features": np.full((1, 2000 if number % 7 == 0 else 8), number, np.float16)}
            out.put(f"coco_{number:04d}.npz".encode(), msgpack.dumps({name: msgpack_array(array) for name, array in arrays.items()}))
        out.put(b"__keys__", b"[]")
    return folder


def test_an_lmdb_reads_as_the_library_reads_it(database, tmp_path):
    import lmdb

    own = LmdbFile(str(database))
    with lmdb.open(str(database), readonly=True, lock=False) as env, env.begin() as view:
        held = {bytes(key): bytes(value) for key, value in view.cursor()}
    assert list(own.keys()) == list(held) and own.entries == len(held)
    assert all(own.get(key, 1 << 20) == value for key, value in held.items())
    assert [own.get(key, 99) for key in (b"", b"a", b"coco_0000.npy", b"coco_9999", b"\xff")] == [None] * 5
    with pytest.raises(LmdbError, match="max_entry_bytes"):
        own.get(b"coco_0007.npz", 100)
    own.close()
    (tmp_path / "empty").mkdir()
    lmdb.open(str(tmp_path / "empty")).close()
    assert list(LmdbFile(str(tmp_path / "empty")).keys()) == []
    assert LmdbFile(str(database / "data.mdb")).get(b"__keys__", 9) == b"[]"


def test_a_truncated_lmdb_is_an_error_not_a_crash(database, tmp_path):
    whole = (database / "data.mdb").read_bytes()
    for size in (0, 15, 4000, 4096, 8192, 20_000, len(whole) // 2, len(whole) - 4096, len(whole) - 1):
        (tmp_path / "data.mdb").write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"is truncated|is not an LMDB"):
            widths(RegionFileSettings(format="uniter_lmdb", files=(str(tmp_path),)))
    shutil.copy(database / "data.mdb", tmp_path / "data.mdb")
    store = LmdbStore(str(tmp_path))
    (tmp_path / "data.mdb").write_bytes(whole[:8192])  # truncated while it is open
    with pytest.raises(RegionFileError, match="damaged"):
        store.get("coco_0001.npz")


def test_other_kinds_of_lmdb_are_named(tmp_path):
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(tmp_path), max_dbs=2) as env:
        env.open_db(b"inner")
    store = LmdbStore(str(tmp_path))
    with pytest.raises(RegionFileError, match="several values per key"):
        store.get("inner")


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 1 << 20))
def test_damaged_pages_never_do_more_than_raise(database, tmp_path_factory, changes, at):
    data = bytearray((database / "data.mdb").read_bytes())
    for place, value in changes:
        data[(place if place % 2 else place % 4096 + at // 4096 * 4096) % len(data)] = value
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "data.mdb").write_bytes(data)
    try:
        store = LmdbStore(str(folder))
        for key in (*list(store.keys())[:9], "coco_0007.npz", "coco_0123.npz"):
            try:
                entry = store.get(key)
                assert entry is None or isinstance(entry, RawRegions)
            except RegionFileError as error:
                assert error.detail
    except ValueError as error:
        assert str(error)
    shutil.rmtree(folder)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=8), st.integers(0, 40), st.booleans())
def test_damaged_npz_files_never_do_more_than_raise(changes, cut, packed):
    data = bytearray(npz(zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED, norm_bb=BOX, features=np.ones((1, 40), np.float16)))
    for place, value in changes:
        data[place % len(data)] = value
    try:
        assert set(read_npz("x", bytes(data[: len(data) - cut]))) <= {"norm_bb", "features"}
    except RegionFileError as error:
        assert error.detail


def test_a_missing_or_invalid_store_is_named(tmp_path):
    from pipelines.build import stages_of
    from pipelines.config import parse_config

    base = {"corpus": str(tmp_path / "c"), "tfidf": None, "pairs": [{"format": "csv", "name": "x", "captions": "c.csv", "images": "i"}]}
    (tmp_path / "data.mdb").mkdir()
    for told in (
        {"format": "uniter_lmdb", "files": [str(tmp_path / "none")]},
        {"format": "uniter_lmdb", "files": [str(tmp_path)]},
        {"format": "uniter_npz", "files": [str(tmp_path / "none")]},
        {"format": "uniter_npz", "files": [str(tmp_path), "b"]},
        {"format": "lxmert", "files": ["/dev/zero"]},
        {"format": "vinvl", "files": [str(tmp_path)]},
    ):
        with pytest.raises(ConfigError, match="region_files: ") as caught:
            stages_of(parse_config({**base, "region_files": told}, str(tmp_path)))
        assert "\n" not in str(caught.value)
