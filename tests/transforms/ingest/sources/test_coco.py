"""`format: coco`, `format: folder`, and the parts common to all sources."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import fsspec
import pytest
from pydantic import ValidationError

from schemas.errors import SourceError
from tests.transforms.ingest.source_help import bad, encoded, good, pair_source, read_all, reasons, text_source
from transforms.ingest.sources.base import BATCH, Split
from transforms.ingest.sources.listing import expand, list_folder, listing_stamp
from transforms.ingest.sources.opening import read_lines


def image(number: Any, name: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": number, "file_name": name or f"{number}.jpg", "width": 40, "height": 30, **more}


def note(number: int, about: Any, caption: Any = "A dog .") -> dict[str, Any]:
    return {"id": number, "image_id": about, "caption": caption}


def write(folder: Path, images: Any, annotations: Any, name: str = "captions.json") -> str:
    (folder / name).write_text(json.dumps({"info": {}, "images": images, "annotations": annotations}))
    return str(folder / name)


def read(folder: Path, images: Any, annotations: Any, /, **settings: Any) -> list[dict[str, Any]]:
    return read_all(pair_source(format="coco", captions=write(folder, images, annotations), **settings))


def photos(folder: Path, *names: str) -> str:
    for name in names:
        (folder / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "photos" / name).write_bytes(encoded())
    return str(folder / "photos")


def test_a_row_says_all_that_is_known(tmp_path: Path):
    folder = photos(tmp_path, "val/1.jpg")
    one = image(1, coco_url="http://a/1.jpg", flickr_url="http://f/1_ab.jpg")
    rows = read(tmp_path, [one], [note(7, 1, "café")], images=folder)
    size = os.stat(f"{folder}/val/1.jpg").st_size
    assert len(rows) == 1
    row = rows[0]
    assert row.pop("stamp").startswith(f"{size}:")
    assert row == {
        "key": "1",
        "name": "1.jpg",
        "caption": "café".encode(),
        "uri": f"{folder}/val/1.jpg",
        "offset": None,
        "length": None,
        "width": 40,
        "height": 30,
        "url": "http://a/1.jpg\nhttp://f/1_ab.jpg",
        "where": f"{tmp_path}/captions.json: annotation 7",
        "reason": None,
        "detail": None,
    }


def test_captions_alone_have_no_uri(tmp_path: Path):
    assert [row["uri"] for row in read(tmp_path, [image(1)], [note(1, 1)])] == [None]


@pytest.mark.parametrize(
    ("images", "annotations", "expected"),
    [
        pytest.param([image(1)], [note(1, 1), note(2, 9)], ["image_missing"], id="unknown image"),
        pytest.param([image(1), image(2)], [note(1, 1)], ["caption_missing"], id="image without a caption"),
        pytest.param([image(1), image(1, "b.jpg")], [note(1, 1), note(2, 1)], ["duplicate_id"] * 3, id="two images of one id"),
        pytest.param([image(1), image("1", "b.jpg")], [note(1, 1)], ["duplicate_id"] * 2, id="one id as number and text"),
        pytest.param([image(1), image(1)], [note(1, 1)], [], id="the same image twice is no conflict"),
        pytest.param([image(1)], [note(1, 1), note(2, 1, 5)], ["bad_row"], id="number for a caption"),
        pytest.param([image(1)], [note(1, 1), note(2, 1, ["a"])], ["bad_row"], id="list for a caption"),
        pytest.param([image(1)], [note(1, 1), note(2, 1, None)], ["caption_missing"], id="null for a caption"),
        pytest.param([image(1)], [note(1, 1), {"id": 2, "image_id": 1}], ["bad_row"], id="no caption field"),
        pytest.param([image(1)], [note(1, 1), {"id": 2, "caption": "a"}], ["bad_row"], id="no image_id field"),
        pytest.param([image(1)], [note(1, 1), "text"], ["bad_row"], id="annotation is a string"),
        pytest.param([image(1), {"id": 2}], [note(1, 1)], ["bad_row"], id="image without a file_name"),
        pytest.param([image(1), 5, None], [note(1, 1)], ["bad_row", "bad_row"], id="image is a number"),
        pytest.param([image(1), image(True, "t.jpg")], [note(1, 1)], ["bad_row"], id="id is a boolean"),
        pytest.param([image(1), image([1], "t.jpg")], [note(1, 1), note(2, [1])], ["bad_row", "image_missing"], id="id is a list"),
        pytest.param([image(1, extra={"x": 1})], [{**note(1, 1), "more": "fields"}], [], id="extra fields"),
    ],
)
def test_bad_entries_become_rejects(images: Any, annotations: Any, expected: list[str], tmp_path: Path):
    rows = read(tmp_path, images, annotations)
    assert reasons(rows) == expected
    assert len(good(rows)) == (0 if "duplicate_id" in expected else 1)


def test_undecodable_bytes_stay_in_their_caption(tmp_path: Path):
    file = write(tmp_path, [image(1)], [note(1, 1, "fine"), note(2, 1, "BAD"), note(3, 1, "\ud800")])
    data = Path(file).read_bytes().replace(b"BAD", b"caf\xe9")
    Path(file).write_bytes(b"\xef\xbb\xbf" + data)
    rows = read_all(pair_source(format="coco", captions=file))
    assert [row["caption"] for row in rows] == [b"fine", b"caf\xe9", b"\xed\xa0\x80"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1, 2]", "found a list"),
        (b"{}", "the lists 'images' and 'annotations'"),
        (b"", "is empty"),
        (b"{broken", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b'{"images": {}, "annotations": []}', "the lists"),
        (b'{"images": [], "annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}]}', "contains no captions"),
        (b"\x89PNG\r\n", "is not valid JSON"),
    ],
)
def test_files_that_are_not_coco_are_named(content: bytes, message: str, tmp_path: Path):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(SourceError, match=message) as error:
        read_all(pair_source(format="coco", captions=str(tmp_path / "x.json")))
    assert "x.json" in str(error.value)


@pytest.mark.parametrize(("missing", "reason"), [("reject", "image_missing"), ("exclude", "image_not_held")])
def test_missing_images(missing: str, reason: str, tmp_path: Path):
    folder = photos(tmp_path, "1.jpg")
    rows = read(
        tmp_path, [image(1), image(2), image(3)], [note(1, 1), note(2, 2)], images=folder, missing_images=missing, keep_uncaptioned=True
    )
    assert [row["key"] for row in good(rows)] == ["1"]
    assert reasons(rows) == [reason] * 2


def test_uncaptioned_images_can_be_kept(tmp_path: Path):
    rows = read(tmp_path, [image(1), image(2)], [note(1, 1)], keep_uncaptioned=True)
    assert [(row["key"], row["caption"]) for row in rows] == [("1", b"A dog ."), ("2", None)]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../secret.jpg", "unsafe_path"),
        ("/etc/passwd", "unsafe_path"),
        ("..\\secret.jpg", "unsafe_path"),
        ("same.jpg", "bad_row"),
        ("none.jpg", "image_missing"),
        (".hidden.jpg", "image_missing"),
    ],
)
def test_only_images_of_the_folder_are_found(name: str, reason: str, tmp_path: Path):
    folder = photos(tmp_path, "a/same.jpg", "b/same.jpg", ".hidden.jpg")
    (tmp_path / "secret.jpg").write_bytes(encoded())
    rows = read(tmp_path, [image(1, name)], [note(1, 1)], images=folder)
    assert reasons(rows) == [reason] and not good(rows)


@pytest.mark.parametrize("name", ["a/1.jpg", "./a/1.jpg", "a//1.jpg", "a\\1.jpg", "1.jpg", "{folder}/a/1.jpg"])
def test_ways_to_name_an_image(name: str, tmp_path: Path):
    folder = photos(tmp_path, "a/1.jpg", "a/2.jpg")
    rows = read(tmp_path, [image(1, name.format(folder=folder))], [note(1, 1)], images=folder)
    assert [row["uri"] for row in rows] == [f"{folder}/a/1.jpg"]


def test_many_captions_come_in_batches_and_files_by_glob(tmp_path: Path):
    for part in "ab":
        write(tmp_path, [image(part)], [note(i, part, f"caption {i}") for i in range(BATCH + 5)], f"{part}.json")
    source = pair_source(format="coco", captions=str(tmp_path / "*.json"))
    splits = source.splits()
    assert [split.url for split in splits] == [f"{tmp_path}/a.json", f"{tmp_path}/b.json"]
    assert [batch.num_rows for batch in source.read(splits[1])] == [BATCH, 5]
    assert len(good(read_all(source))) == 2 * (BATCH + 5)


def test_gzip_and_memory(tmp_path: Path):
    data = gzip.compress(Path(write(tmp_path, [image(1)], [note(1, 1)])).read_bytes())
    fsspec.filesystem("memory").pipe("/cmcl_coco/c.json.gz", data)
    assert len(good(read_all(pair_source(format="coco", captions="memory://cmcl_coco/c.json.gz")))) == 1
    fsspec.filesystem("memory").pipe("/cmcl_coco/d.json.gz", data[:-20])
    with pytest.raises(SourceError, match="d.json.gz.*truncated"):
        read_all(pair_source(format="coco", captions="memory://cmcl_coco/d.json.gz"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("{0}/none.json", "no such file"),
        ("{0}/*.none", "matches no file"),
        ("{0}", "is a folder"),
        ("nosuch://a/b", "nosuch"),
    ],
)
def test_missing_inputs_are_named_when_listed(url: str, message: str, tmp_path: Path):
    with pytest.raises(SourceError, match=message):
        pair_source(format="coco", captions=url.format(tmp_path)).splits()


def test_a_missing_folder_of_images_is_named(tmp_path: Path):
    file = write(tmp_path, [image(1)], [note(1, 1)])
    for folder, message in ((f"{tmp_path}/none", "no such folder"), (file, "is a file, not a folder")):
        source = pair_source(format="coco", captions=file, images=folder)
        with pytest.raises(SourceError, match=message):
            read_all(source)
        with pytest.raises(SourceError, match=message):
            source.extra_inputs()


@pytest.mark.parametrize(
    "settings",
    [
        {"format": "coco"},
        {"format": "coco", "captions": "a", "mising_images": "reject"},
        {"format": "coco", "captions": "a", "name": "a/b"},
        {"format": "coco", "captions": "a", "name": "a b"},
        {"format": "coco", "captions": "a", "name": ""},
        {"format": "xml"},
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any]):
    with pytest.raises(ValidationError):
        pair_source(**settings)


def test_stamps_follow_the_files(tmp_path: Path):
    folder = photos(tmp_path, "1.jpg", "2.jpg")
    source = pair_source(format="coco", captions=write(tmp_path, [image(1)], [note(1, 1)]), images=folder)
    before, split = source.extra_inputs(), source.splits()[0]
    assert source.extra_inputs() == before and source.splits() == [split]
    (Path(folder) / "1.jpg").write_bytes(b"changed")
    changed = source.extra_inputs()
    assert changed != before
    os.rename(f"{folder}/2.jpg", f"{folder}/3.jpg")
    assert source.extra_inputs() != changed
    write(tmp_path, [image(1)], [note(1, 1), note(2, 1)])
    assert source.splits()[0].stamp != split.stamp
    assert Split(**json.loads(json.dumps(split.to_json()))) == split


def test_files_written_by_a_run_do_not_change_the_stamp_of_images(tmp_path: Path):
    folder = photos(tmp_path, "a/1.jpg", "corpus.d/2.jpg")
    source = pair_source(format="coco", captions=write(tmp_path, [image(1)], [note(1, 1)]), images=folder)
    before = source.extra_inputs()
    (Path(folder) / "run.log").write_text("one line\n")
    (Path(folder) / "corpus" / "report").mkdir(parents=True)
    (Path(folder) / "corpus" / "corpus.json").write_text("{}")
    (Path(folder) / "corpus" / "report" / "sample.png").write_bytes(encoded("PNG"))
    assert source.extra_inputs() == before
    photos(tmp_path, "corpus.d/3.JPEG")
    assert source.extra_inputs() != before


def test_a_path_may_hold_two_colons(tmp_path: Path):
    folder = tmp_path / "zip::data"
    folder.mkdir()
    images = photos(folder, "a::1.jpg")
    source = pair_source(format="coco", captions=write(folder, [image(1, "a::1.jpg")], [note(1, 1)], "c::1.json"), images=images)
    rows = read_all(source)
    assert [row["uri"] for row in rows] == [f"{images}/a::1.jpg"] and not bad(rows)
    assert [found.url for found in expand(f"{folder}/c::*.json")] == [f"{folder}/c::1.json"]
    (folder / "t::1.txt.gz").write_bytes(gzip.compress(b"A dog."))
    assert read_all(text_source(format="text", files=f"{folder}/*.gz"))[0]["text"] == b"A dog."


def test_settings_travel_without_their_listing(tmp_path: Path):
    folder = photos(tmp_path, "1.jpg")
    source = pair_source(format="coco", captions=write(tmp_path, [image(1)], [note(1, 1)]), images=folder)
    size = len(pickle.dumps(source))
    read_all(source)
    assert source._listed.index is not None
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301 - as Beam sends it to its workers
    assert copy == source and copy._listed.index is None and len(pickle.dumps(source)) == size
    assert read_all(copy) == read_all(source)


def test_a_folder_of_images(tmp_path: Path):
    folder = photos(tmp_path, "a/1.jpg", "1.JPG", "1.png", "notes.txt", ".hidden.jpg", ".git/2.jpg", "a/no_extension")
    os.symlink(f"{folder}/1.png", f"{folder}/link.png")
    os.symlink(f"{folder}/gone.png", f"{folder}/dangling.png")
    os.symlink(folder, f"{folder}/loop")
    source = pair_source(format="folder", images=folder)
    rows = read_all(source)
    assert [bad for bad in reasons(rows)] == ["image_missing"]  # the dangling link
    rows = good(rows)
    assert [row["key"] for row in rows] == ["1.JPG", "1.png", "a/1.jpg", "link.png"]
    assert [row["uri"] for row in rows] == [f"{folder}/{row['key']}" for row in rows]
    assert all(row["caption"] is None and row["stamp"] for row in rows)
    stamp = source.splits()[0].stamp
    (Path(folder) / "notes.txt").write_text("more")
    assert source.splits()[0].stamp == stamp
    (Path(folder) / "a/1.jpg").write_bytes(b"changed")
    assert source.splits()[0].stamp != stamp


def test_a_folder_with_an_undecodable_name(tmp_path: Path):
    folder = photos(tmp_path, "1.jpg")
    with open(os.fsencode(folder) + b"/caf\xe9.jpg", "wb") as file:
        file.write(encoded())
    rows = read_all(pair_source(format="folder", images=folder))
    assert reasons(rows) == ["bad_encoding"] and len(good(rows)) == 1


def test_a_folder_without_images_is_named(tmp_path: Path):
    with pytest.raises(SourceError, match="contains no images"):
        pair_source(format="folder", images=str(tmp_path)).splits()
    with pytest.raises(SourceError, match="no such folder"):
        pair_source(format="folder", images=str(tmp_path / "none")).splits()


def test_lines_of_any_length(tmp_path: Path):
    file = tmp_path / "lines"
    file.write_bytes(b"\xef\xbb\xbfone\r\n" + b"x" * 3_000_000 + b"\n\ntwo")
    with open(file, "rb") as handle:
        assert list(read_lines(handle, limit=1000)) == [(1, b"one"), (2, None), (3, b""), (4, b"two")]
    with open("/dev/zero", "rb") as zeros:  # an endless line does not fill the memory

        class Endless:
            left = 40

            def read(self, size: int) -> bytes:
                self.left -= 1
                return zeros.read(size) if self.left else b""

        tracemalloc.start()
        assert list(read_lines(Endless())) == [(1, None)]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 20 << 20
    file.write_bytes("one".encode("utf-16"))
    with open(file, "rb") as handle, pytest.raises(SourceError, match="UTF-16"):
        list(read_lines(handle))


def test_text_sources_are_selected_by_format():
    assert type(text_source(format="parquet", files="a")).__name__ == "ParquetTextSource"
    assert type(pair_source(format="parquet", files="a")).__name__ == "ParquetSource"


def test_real_coco(shared_data: Path):
    place = shared_data / "coco_val2017"
    rows = read_all(pair_source(format="coco", captions=str(place / "captions_val2017.json")))
    assert len(rows) == 25_014 and not bad(rows) and len({row["key"] for row in rows}) == 5000
    rows = read_all(
        pair_source(format="coco", captions=str(place / "captions_val2017.json"), images=str(place / "images"), missing_images="exclude")
    )
    assert len({row["key"] for row in good(rows)}) == 251 == len(expand(str(place / "images" / "*")))
    assert set(reasons(rows)) == {"image_not_held"} and len(rows) == 25_014


def test_real_instances_are_no_captions(shared_data: Path):
    with pytest.raises(SourceError, match="contains no captions"):
        read_all(pair_source(format="coco", captions=str(shared_data / "coco_val2017" / "instances_val2017_subset.json")))


def test_real_folder(shared_data: Path):
    rows = read_all(pair_source(format="folder", images=str(shared_data / "image_only" / "images")))
    assert len(rows) == 160 and not bad(rows)
    assert listing_stamp(list_folder(str(shared_data / "image_only" / "images"))) != ""
