"""`transforms.ingest.exclusions`: matching of excluded images."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from schemas.errors import SourceError
from transforms.ingest import exclusions
from transforms.ingest.exclusions import ExclusionRules, Exclusions, flickr_photo, normal_key, normal_url

COCO_URL = "http://images.cocodataset.org/val2017/000000179765.jpg"
FLICKR_URL = "http://farm3.staticflickr.com/2824/10213933686_6936eb402b_z.jpg"


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("http://Example.org/a/", "https://example.org/a", True),
        ("http://example.org:80/a", "https://example.org:443/a#top", True),
        ("http://example.org/a?x=1", "http://example.org/a?x=2", False),
        ("http://example.org/a", "http://example.org/A", False),
        ("http://[broken", "http://[broken", True),
    ],
)
def test_urls_are_compared_by_what_matters(a: str, b: str, same: bool):
    assert (normal_url(a) == normal_url(b)) is same


@pytest.mark.parametrize(
    ("key", "normal"),
    [
        ("000000000139.jpg", "139"),
        ("139", "139"),
        ("000", "0"),
        ("val/000139.PNG", "val/139"),
        ("a.b", "a.b"),
        ("12_ab.jpg", "12_ab"),
    ],
)
def test_keys_are_compared_by_what_matters(key: str, normal: str):
    assert normal_key(key) == normal


@pytest.mark.parametrize(
    ("url", "photo"),
    [
        (FLICKR_URL, "10213933686"),
        ("https://live.staticflickr.com/65535/8119368305_4e622c8349_b.jpg", "8119368305"),
        ("https://www.flickr.com/photos/some.one/8119368305/in/album", "8119368305"),
        ("https://example.org/8119368305_4e622c8349.jpg", None),
    ],
)
def test_flickr_photos(url: str, photo: str | None):
    assert flickr_photo(url) == photo


def match(exclusions: Exclusions, key: str | None, url: str | None = None, source: str = "coco", name: str | None = None) -> bool:
    return bool(exclusions.match(source, *(pa.array([value], pa.string()) for value in (key, name, url)))[0])


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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.txt", f"# test images\n139\n\n{COCO_URL}\n"),
        ("list.csv", f"image_id,title,url\n139,nothing,{COCO_URL}\n"),
        ("list.tsv", f"139\n{COCO_URL}\n"),
        ("list.json", json.dumps([139, {"coco_url": COCO_URL}])),
        ("coco.json", json.dumps({"images": [{"id": 139, "coco_url": COCO_URL}], "annotations": []})),
    ],
)
def test_lists_are_read_from_files(name: str, content: str, tmp_path: Path):
    (tmp_path / name).write_text(content)
    exclusions = Exclusions.from_rules(ExclusionRules(files=[str(tmp_path / name)]))
    assert 1 <= len(exclusions) <= 2  # one object or line may identify its image in two ways
    assert match(exclusions, "139") and match(exclusions, "1", COCO_URL) and not match(exclusions, "nothing")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"{}"),
        ("b.json", b"[{}]"),
        ("c.json", b"not json"),
        ("d.txt", b"\xff\xfe"),
        ("missing.txt", None),
    ],
)
def test_invalid_lists_are_named(name: str, content: bytes | None, tmp_path: Path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=name):
        Exclusions.from_rules(ExclusionRules(files=[str(tmp_path / name)]))


def test_the_fingerprint_follows_what_is_matched():
    a = Exclusions(ids=["1", "2"], urls=[COCO_URL])
    assert a.fingerprint == Exclusions(ids=["2", "01", "1"], urls=["https" + COCO_URL[4:]]).fingerprint
    assert a.fingerprint != Exclusions(ids=["1", "2"]).fingerprint


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'image_id\n"1\n2\n3\n4\n'),
        ("b.csv", 'image_id\n"1\n2\n3\n4"\n5\n'),
        ("c.csv", 'id,note\n1,"6 inch\n2,x\n3,y"\n4,z\n'),
        ("d.csv", 'id\n1\n"2"3\n4\n'),
        ("e.tsv", 'id\tnote\n1\t"open\n2\tx\n'),
        ("f.csv", ""),
        ("g.txt", "# nothing\n\n"),
        ("h.json", "[]"),
    ],
)
def test_a_list_that_would_lose_entries_is_an_error(name: str, content: str, tmp_path: Path):
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=name):
        Exclusions.from_rules(ExclusionRules(files=[str(tmp_path / name)]))


@pytest.mark.parametrize(
    ("entry", "key", "name", "found"),
    [
        ("a/b.jpg", "x/a/b.jpg", None, True),
        ("x/a/b.jpg", "a/b.jpg", None, True),
        ("train/b.jpg", "val/b.jpg", None, False),
        ("b.jpg", "any/where/b.png", None, True),
        ("b", "any/where/b.jpg", None, True),
        ("c/b", "b.jpg", None, False),
        ("COCO_val2014_000000391895.jpg", "391895", "000000391895.jpg", True),
        ("000000391895.jpg", "7", "COCO_train2014_000000391895.jpg", True),
        ("val2014/COCO_val2014_000000391895.jpg", "train2017/000000391895.jpg", None, True),
        ("391895", "7", "x/000000391895.jpg", True),
        ("COCO_val2014_000000391895.jpg", "391896", "000000391896.jpg", False),
        ("b.jpg#3", "b.jpg", None, True),
        ('"b.jpg"', "b.jpg", None, True),
        ("cafe\u0301.jpg", "caf\u00e9.jpg", None, True),
        ("train/139.jpg", "139", None, False),
    ],
)
def test_file_names_match_with_folder_and_without(entry: str, key: str, name: str | None, found: bool, tmp_path: Path):
    (tmp_path / "list.txt").write_text(entry + "\n")
    assert match(Exclusions.from_rules(ExclusionRules(files=[str(tmp_path / "list.txt")])), key, name=name) is found


@pytest.mark.parametrize(
    ("entry", "key", "name", "found"),
    [
        ("1000092795.jpg", "1000092795.jpg", None, True),
        ("1000092795", "flickr30k-images/1000092795.jpg", None, True),
        ("1000092795.jpg#2", "1000092795", None, True),
        ("106490881_5a2dd9b7bd.jpg", "106490881_5a2dd9b7bd.jpg", None, True),
        ("134206.jpg", "134206", "000000134206.jpg", False),  # a COCO id, not a photo id
        ("134206.jpg", "000000134206.jpg", None, False),
    ],
)
def test_flickr_lists_know_names_of_both_sets(entry: str, key: str, name: str | None, found: bool, tmp_path: Path):
    (tmp_path / "list.txt").write_text(entry + "\n")
    assert match(Exclusions.from_rules(ExclusionRules(flickr_files=[str(tmp_path / "list.txt")])), key, name=name) is found


def test_lists_are_read_once_and_again_when_they_change(tmp_path, monkeypatch):
    path = tmp_path / "list.txt"
    path.write_text("a.jpg\n")
    seen: list[str] = []
    real = exclusions.read_list
    monkeypatch.setattr(exclusions, "read_list", lambda file, *args, **options: (seen.append(str(file)), real(file, *args, **options))[1])
    rules = ExclusionRules(files=[str(path)], ids=["b"])
    first = [Exclusions.from_rules(rules) for _ in range(5)]
    assert len(seen) == 1 and len({one.fingerprint for one in first}) == 1
    path.write_text("c.jpg\nd.jpg\n")
    assert Exclusions.from_rules(rules).fingerprint != first[0].fingerprint and len(seen) == 2
    path.unlink()
    with pytest.raises(SourceError, match="no such file"):
        Exclusions.from_rules(rules)
