"""Every published layout of region files, and typical faults: types of numbers, duplicate, truncated and empty lines."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import ConfigError, SourceError
from schemas.regions import attribute_names, class_names
from schemas.rejects import Reason
from tests.cases import case, made, rows
from transforms.regions.columns import regions_batch
from transforms.regions.files.base import Bounds, RegionFileError, check_template, to_regions
from transforms.regions.files.layouts import MOST_FIELDS, PARSERS
from transforms.regions.files.stage import ImportRegions, RegionFileSettings, open_store, widths
from transforms.regions.files.tsv import TsvStore
from transforms.regions.labels import labels_in

WIDTH, HEIGHT, FEATURES = 64, 48, 16
RNG = np.random.default_rng(5)
BOXES = np.float32([[1, 2, 30, 40], [0, 0, 64, 48], [10.5, 20, 11, 20.25]])
VALUES = np.maximum(RNG.normal(0.5, 1, (3, FEATURES)), 0).astype(np.float16)
SHARES = BOXES / np.float32([WIDTH, HEIGHT] * 2)
GEOMETRY = np.concatenate([SHARES, SHARES[:, 2:] - SHARES[:, :2]], 1)


def b64(values, dtype="<f4") -> bytes:
    return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes())


def line(key, *fields) -> bytes:
    return b"\t".join(field if isinstance(field, bytes) else str(field).encode() for field in (key, *fields)) + b"\n"


def bottom_up(key="1", boxes="<f4", features="<f4", count=3, extra=()) -> bytes:
    return line(key, WIDTH, HEIGHT, count, b64(BOXES[:count], boxes), b64(VALUES[:count], features), *extra)


def lxmert(key="1", ids="<i8", boxes="<f4", features="<f4") -> bytes:
    return line(
        key,
        HEIGHT,
        WIDTH,
        b64([4, 0, 1599], ids),
        b64([0.9, 0.5, 0.25], boxes),
        b64([399, 0, 7], ids),
        b64([1, 1, 1], boxes),
        3,
        b64(BOXES, boxes),
        b64(VALUES, features),
    )


def vinvl(key="1", dtype="<f4", layout="json") -> bytes:
    numbers = b64(np.concatenate([VALUES.astype(np.float32), GEOMETRY], 1), dtype)
    if layout == "json":
        return line(key, json.dumps({"num_boxes": 3, "features": numbers.decode()}))
    return line(key, 3, numbers) if layout == "counts" else line(key, 3, WIDTH, HEIGHT, numbers)


def store(tmp_path: Path, layout: str, *lines: bytes, **bounds) -> TsvStore:
    path = tmp_path / f"{len(os.listdir(tmp_path))}.tsv"
    path.write_bytes(b"".join(lines))
    return TsvStore([str(path)], PARSERS[layout], Bounds(**bounds), MOST_FIELDS.get(layout))


def fault(held: TsvStore, key: str = "1") -> str:
    with pytest.raises(RegionFileError) as caught:
        held.get(key)
    return str(caught.value)


@pytest.mark.parametrize(
    ("layout", "data"),
    [
        ("bottom_up", bottom_up()),
        ("bottom_up", bottom_up(boxes="<f2", features="<f2")),
        ("bottom_up", bottom_up(boxes="<f8", features="<f8")),
        ("bottom_up", bottom_up().replace(b"\n", b"\r\n")),
        ("bottom_up", b"\xef\xbb\xbf" + bottom_up()),
        ("bottom_up", bottom_up(extra=[b64(np.full((3, 5), 0.2))])),
        ("unimo", bottom_up(extra=[b64(np.full((3, 5), 0.2))])),
        ("unimo", bottom_up(boxes="<f2", features="<f2", extra=[b64(np.full((3, 5), 0.2), "<f2")])),
        ("lxmert", lxmert()),
        ("lxmert", lxmert(boxes="<f2", features="<f2")),
        ("lxmert", lxmert(ids="<i4")),
        *[
            (name, vinvl(dtype=dtype, layout=layout))
            for name in ("vinvl", "oscar")
            for dtype in ("<f4", "<f2", "<f8")
            for layout in ("json", "counts", "columns between")
        ],
    ],
)
def test_every_layout_in_every_type_of_number(layout, data, tmp_path):
    entry = store(tmp_path, layout, data).get("1")
    found = to_regions(entry, WIDTH, HEIGHT, FEATURES, 5)
    np.testing.assert_allclose(found.boxes, BOXES, atol=0.05)
    np.testing.assert_array_equal(found.features, VALUES)
    if layout == "lxmert":
        assert found.classes.tolist() == [5, 1, 1600] and found.attributes.tolist() == [399, 0, 7]
        np.testing.assert_allclose(found.confidence, [0.9, 0.5, 0.25], atol=1e-3)
    else:
        assert found.confidence is None and found.classes is None
    assert (found.soft_labels is not None) == (layout == "unimo" or data.count(b"\t") == 6 and layout == "bottom_up")


@pytest.mark.parametrize(
    ("layout", "data"),
    [
        ("bottom_up", bottom_up(features="<f2")),
        ("lxmert", lxmert(features="<f2")),
        ("unimo", bottom_up(features="<f2", extra=[b64(np.full((3, 5), 0.2))])),
    ],
)
def test_halves_beside_single_boxes_are_never_taken_for_single(layout, data, tmp_path):
    assert "set dtype: float16" in fault(store(tmp_path, layout, data))
    if layout != "unimo":
        np.testing.assert_array_equal(store(tmp_path, layout, data, dtype="float16").get("1").features, VALUES)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["normal", "relu", "unit", "tenths", "widened", "constant", "bfloat"]),
    st.integers(1, 12),
    st.integers(1, 64),
)
def test_single_numbers_are_never_taken_for_halves(seed, kind, count, width):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 2, (count, width)).astype(np.float32)
    if kind == "relu":
        values = np.maximum(values, 0)
    elif kind == "unit":
        values /= np.linalg.norm(values, axis=1, keepdims=True) + 1e-6
    elif kind == "tenths":
        values = (np.arange(count * width, dtype=np.float32) / np.float32(10)).reshape(count, width)
    elif kind == "widened":
        values = values.astype(np.float16).astype(np.float32)
    elif kind == "constant":
        values = np.full((count, width), rng.normal(), np.float32)
    elif kind == "bfloat":
        values = (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    boxes = np.tile(np.float32([1, 2, 3, 4]), (count, 1))
    fields = [str(WIDTH).encode(), str(HEIGHT).encode(), str(count).encode(), b64(boxes), b64(values)]
    np.testing.assert_array_equal(PARSERS["bottom_up"](fields, Bounds()).features, values)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (lxmert(), "LXMERT's TSV has as many (format: lxmert)"),
        (line("1", WIDTH, HEIGHT, 3, repr(b64(BOXES)), repr(b64(VALUES))), "Python's repr of bytes"),
        (bottom_up()[:-40], "not valid base64"),
        (bottom_up()[:-1] + bottom_up("2"), "merged with the next one"),
        (line("1", WIDTH, HEIGHT, "three", b64(BOXES), b64(VALUES)), "the number of boxes is 'three'"),
        (line("1", WIDTH, HEIGHT, 2.5, b64(BOXES), b64(VALUES)), "the number of boxes is '2.5'"),
        (line("1", WIDTH, HEIGHT, 3000, b64(BOXES), b64(VALUES)), "max_boxes"),
        (line("1", 0, HEIGHT, 3, b64(BOXES), b64(VALUES)), "sides"),
        (line("1", "9" * 5000, HEIGHT, 3, b64(BOXES), b64(VALUES)), "a side of the image"),
        (line("1", WIDTH, HEIGHT, 3, b64(BOXES)[:-4], b64(VALUES)), "not 4 numbers of 2, 4 or 8 bytes"),
        (line("1", WIDTH, HEIGHT, 0, b"", b64(VALUES)), "for 0 regions"),
        (line("1", WIDTH, HEIGHT, 3, b"", b""), "boxes have 0 bytes"),
        (vinvl(), "format: vinvl"),
        (line("1"), "contains no entries"),
        (b"\n\n", "contains no entries"),
        (b"", "contains no entries"),
    ],
)
def test_an_unreadable_file_reports_the_fault_of_its_first_entry(data, text, tmp_path):
    (tmp_path / "f.tsv").write_bytes(data)
    with pytest.raises(ValueError, match="f.tsv") as caught:
        widths(RegionFileSettings(format="bottom_up", files=(str(tmp_path / "f.tsv"),)))
    assert text in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "others",
    [
        [bottom_up()[:60] + b"\n"],
        [line("1", WIDTH, HEIGHT, 0, b"", b"")],
        [line("1", "", "", "", "", "")],
        [bottom_up()],
        [b"1\t\n", bottom_up()[:-9] + b"\n", bottom_up()],
    ],
)
def test_of_duplicate_lines_the_valid_one_is_used(others, tmp_path):
    for lines in ([*others, bottom_up()], [bottom_up(), *others]):
        np.testing.assert_array_equal(store(tmp_path, "bottom_up", *lines).get("1").features, VALUES)


def test_lines_that_contradict_each_other_are_refused(tmp_path):
    assert "but different regions" in fault(store(tmp_path, "bottom_up", bottom_up(), bottom_up(count=2)))
    assert "none valid" in fault(store(tmp_path, "bottom_up", line("1", 1), line("1", 2)))


@pytest.mark.parametrize(
    ("layout", "data"),
    [
        ("bottom_up", line("1", WIDTH, HEIGHT, 0, b"", b"")),
        ("unimo", line("1", WIDTH, HEIGHT, 0, b"", b"", b"")),
        ("lxmert", line("1", HEIGHT, WIDTH, b"", b"", b"", b"", 0, b"", b"")),
        ("vinvl", line("1", json.dumps({"num_boxes": 0, "features": ""}))),
        ("vinvl", line("1", 0, b"")),
    ],
)
def test_no_regions_are_no_regions(layout, data, tmp_path):
    found = to_regions(store(tmp_path, layout, data).get("1"), WIDTH, HEIGHT, FEATURES, 7)
    assert found.boxes.shape == (0, 4) and found.features.shape == (0, FEATURES)
    assert layout != "unimo" or found.soft_labels.shape == (0, 7)


def test_a_file_that_changes_at_the_same_size_is_noticed(tmp_path):
    path = tmp_path / "f.tsv"
    path.write_bytes(bottom_up("1") + bottom_up("2"))
    settings = RegionFileSettings(format="bottom_up", files=(str(path),))
    first = ImportRegions(settings)
    held = open_store(settings)
    assert open_store(settings) is held and ImportRegions(settings).settings == first.settings
    time.sleep(0.01)
    unread = TsvStore([str(path)], PARSERS["bottom_up"])
    rest = path.stat().st_size - len(bottom_up("1", count=2)) - 2
    path.write_bytes(bottom_up("1", count=2) + line("x" * rest, ""))
    assert ImportRegions(settings).settings != first.settings
    assert len(open_store(settings).get("1").boxes) == 2
    assert "has moved" in fault(unread, "2")


@pytest.mark.parametrize("template", ["{number:0999999999d}", "{number:{key}}", "{stem:>99999999}", "{number:,}", "{number:1000d}"])
def test_keys_that_would_grow_without_bound_are_refused(template):
    with pytest.raises(ValueError):
        check_template(template)


def test_devices_and_pipes_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises((ValueError, SourceError, OSError)):
            widths(RegionFileSettings(format="bottom_up", files=(str(place),)))


def test_case_07_three_columns(tmp_path):
    found = rows(made(case("07", tmp_path) / "c.yaml"), "regions", "regions")
    assert [(len(row["boxes"]), {len(vector) for vector in row["features"]}) for row in found] == [(3, {16})] * 3


def test_case_08_half_precision(tmp_path):
    folder = case("08", tmp_path)
    with pytest.raises(ConfigError, match="not float32.*set dtype: float16"):
        made(folder / "c.yaml")
    told = (folder / "c.yaml").read_text().replace("region_files:\n", "region_files:\n  dtype: float16\n")
    (folder / "told.yaml").write_text(told.replace("corpus: corpus", "corpus: told"))
    written = np.load(folder / "features_written.npy")
    for name in ("told", "c2"):
        found = {row["image_id"]: row for row in rows(made(folder / f"{name}.yaml"), "regions", "regions")}
        assert len(found) == 3
        for number in range(3):
            np.testing.assert_array_equal(np.float16(found[f"x/{number + 1}"]["features"]), written[number])


def test_case_23_lxmert_and_why_not(tmp_path):
    folder = case("23", tmp_path)
    with pytest.raises(ConfigError, match="9 fields after the key.*LXMERT"):
        made(folder / "c.yaml")
    with pytest.raises(ConfigError, match="repr of bytes"):
        made(folder / "c2.yaml")
    (folder / "c.yaml").write_text((folder / "c.yaml").read_text().replace("bottom_up", "lxmert"))
    found = rows(made(folder / "c.yaml"), "regions", "regions")
    assert [(len(row["boxes"]), row["class"], row["width"]) for row in found] == [(3, [1, 2, 3], 64)] * 3


def test_case_24_images_without_regions(tmp_path):
    corpus = made(case("24", tmp_path) / "c.yaml")
    assert sorted(len(row["boxes"]) for row in rows(corpus, "regions", "regions")) == [0, 3, 3]
    assert rows(corpus, "regions", "rejects") == []
    assert Reason.BAD_ROW not in corpus.manifest("regions").counts.reasons


@pytest.mark.parametrize("cut", [0.0, 0.02, 0.1, 0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize(
    ("layout", "write"),
    [
        ("bottom_up", bottom_up),
        ("unimo", lambda key: bottom_up(key, extra=(b64(np.full((3, 7), 1 / 7)),))),
        ("lxmert", lxmert),
        ("vinvl", vinvl),
        ("vinvl", lambda key: vinvl(key, layout="counts")),
        ("oscar", lambda key: vinvl(key, layout="columns between")),
    ],
)
@pytest.mark.parametrize(("first", "second"), [("391895", "522418"), ("a.jpg", "b.jpg")])
def test_lines_that_run_into_one_another_give_nobody_the_regions_of_another(layout, write, first, second, cut, tmp_path):
    whole, other = write(first), write(second)
    start = whole[: max(int(len(whole.rstrip(b"\n")) * cut), len(first))]
    found = store(tmp_path, layout, start + other, write("1"))
    assert found.get("1") is not None and found.get(second) is None
    if start != first.encode():
        with pytest.raises(RegionFileError):
            found.get(first)
    else:
        assert found.get(first) is None


def test_the_reject_of_a_missing_entry_names_the_lines_that_may_contain_it(tmp_path):
    found = store(tmp_path, "bottom_up", bottom_up("1"), bottom_up("2").rstrip(b"\n") + bottom_up("3"), b"4\n", b"\n", bottom_up("5"))
    assert found.damage.startswith(f"the line at byte {len(bottom_up('1'))} of ") and "or 1 others" in found.damage
    assert store(tmp_path, "bottom_up", bottom_up("1"), b"\n").damage == ""


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_wherever_a_line_breaks_off_the_next_is_not_taken_for_it(data, tmp_path):
    layout, write = data.draw(
        st.sampled_from([("bottom_up", bottom_up), ("lxmert", lxmert), ("vinvl", lambda key: vinvl(key, layout="counts"))])
    )
    whole = write("77").rstrip(b"\n")
    start = whole[: data.draw(st.integers(3, len(whole)))]
    found = store(tmp_path, layout, start + write("88"))
    with pytest.raises(RegionFileError):
        found.get("77")


def _named(folder: Path, classes: list[str], attributes: list[str], **chosen) -> RegionFileSettings:
    (folder / "regions.tsv").write_bytes(lxmert())
    for name, lines in (("objects.txt", classes), ("attributes.txt", attributes)):
        (folder / name).write_text("\n".join(lines) + "\n")
    files = {"class_names": str(folder / "objects.txt"), "attribute_names": str(folder / "attributes.txt")}
    return RegionFileSettings(**{"format": "lxmert", "files": (str(folder / "regions.tsv"),), **files, **chosen})


def test_classes_and_attributes_get_the_names_of_text_files(tmp_path):
    """LXMERT's numbers begin with the first line of Visual Genome's vocabularies; the background comes before the classes."""
    named = _named(tmp_path, [f"thing {at},things" for at in range(1600)], ["gray,grey", *(f"look {at}" for at in range(1, 400))])
    stage = ImportRegions(named)
    schema = stage.writes["regions"]
    assert class_names(schema)[:2] == ["background", "thing 0,things"] and attribute_names(schema)[399] == "look 399"
    plain = ImportRegions(named.model_copy(update={"class_names": None, "attribute_names": None}))
    assert class_names(plain.writes["regions"]) is None and attribute_names(plain.writes["regions"]) is None
    assert "names" not in plain.settings and plain.settings != stage.settings
    batch = regions_batch(schema, ["1"], [to_regions(store(tmp_path, "lxmert", lxmert()).get("1"), WIDTH, HEIGHT, FEATURES, 1)])
    found = labels_in(SimpleNamespace(schema=schema, batches=lambda: [batch]))
    assert found.counts == {"1": {"thing 4": 1, "thing 0": 1, "thing 1599": 1}}
    assert found.shown == {"1": {"thing 4": {"look 399"}, "thing 0": {"gray"}, "thing 1599": {"look 7"}}}


def test_names_that_do_not_fit_are_refused(tmp_path):
    few = ImportRegions(_named(tmp_path, ["dog"] * 1600, ["red"] * 8))
    with pytest.raises(RegionFileError, match="attribute 399 has no name: 8 names"):
        few._named(to_regions(store(tmp_path, "lxmert", lxmert()).get("1"), WIDTH, HEIGHT, FEATURES, 1))
    with pytest.raises(ValueError, match=r"line 2 of .*attributes.txt is empty"):
        ImportRegions(_named(tmp_path, ["dog"] * 1600, ["red", "", "blue"]))
    (tmp_path / "labelled.tsv").write_bytes(bottom_up(extra=[b64(np.full((3, 5), 0.2))]))
    with pytest.raises(ValueError, match="names 1600 classes, but soft labels of .* have 5 columns"):
        ImportRegions(_named(tmp_path, ["dog"] * 1600, ["red"], format="bottom_up", files=(str(tmp_path / "labelled.tsv"),)))
    with pytest.raises(SourceError, match="none.txt"):
        ImportRegions(_named(tmp_path, ["dog"], ["red"], class_names=str(tmp_path / "none.txt")))
