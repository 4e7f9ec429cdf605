"""Importing region files, built here byte by byte to their formats, and exporting ours as UNITER's."""

import base64
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from schemas.regions import RegionFile
from schemas.rejects import Reason
from tests.given import given_images
from tests.transforms.regions.help import rejects, run
from transforms.regions.files.base import RawRegions, RegionFileError, check_template, key_of, to_regions
from transforms.regions.files.export import export_npz
from transforms.regions.files.stage import ImportImageRegions, ImportRegions, RegionFileSettings, widths
from transforms.regions.files.uniter import read_npz

WIDTH, HEIGHT, FEATURES, CLASSES = 640, 480, 2048, 1601
NAMES = ("000000000139.jpg", "000000000285.jpg", "000000000632.jpg")


def content(seed, count=12):
    """boxes float32 [n, 4] (px), features float32 [n, 2048], confidence [n] descending, probabilities float32 [n, 1601]."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.5, (count, 2)) * [WIDTH, HEIGHT]
    boxes = np.concatenate([low, low + rng.uniform(0.1, 0.5, (count, 2)) * [WIDTH, HEIGHT]], 1).astype(np.float32)
    probabilities = rng.dirichlet(np.full(CLASSES, 0.01), count).astype(np.float32)
    confidence = np.sort(rng.uniform(0, 0.6, count).astype(np.float32))[::-1].copy()
    return boxes, np.maximum(rng.normal(0, 2, (count, FEATURES)), 0).astype(np.float32), confidence, probabilities


def b64(values):
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()


def bottom_up(folder):
    lines = []
    for seed, name in enumerate(NAMES):
        boxes, features, _, _ = content(seed)
        lines.append("\t".join([str(int(name[:-4])), str(WIDTH), str(HEIGHT), str(len(boxes)), b64(boxes), b64(features)]))
    (folder / "karpathy.tsv").write_text("\n".join(lines) + "\n")
    return RegionFileSettings(format="bottom_up", files=(str(folder / "karpathy.tsv"),), key="{number}"), (False, False)


def unimo(folder):
    lines = []
    for seed, name in enumerate(NAMES):
        boxes, features, _, probabilities = content(seed)
        lines.append("\t".join([name, str(WIDTH), str(HEIGHT), str(len(boxes)), b64(boxes), b64(features), b64(probabilities)]))
    (folder / "unimo.tsv").write_text("\n".join(lines))  # no newline at the end
    return RegionFileSettings(format="unimo", files=(str(folder / "unimo.tsv"),), key="{name}"), (False, True)


def vinvl(folder):
    lines = []
    for seed, name in enumerate(NAMES):
        boxes, features, _, _ = content(seed)
        shares = boxes / np.float32([WIDTH, HEIGHT] * 2)
        rows = np.concatenate([features, shares, shares[:, 2:] - shares[:, :2]], 1)
        lines.append(f"{int(name[:-4])}\t" + json.dumps({"num_boxes": len(boxes), "features": b64(rows)}))
    (folder / "features.tsv").write_text("\n".join(lines) + "\n")
    return RegionFileSettings(format="vinvl", files=(str(folder / "features.tsv"),), key="{number}"), (False, False)


def uniter_arrays(seed):
    boxes, features, confidence, probabilities = content(seed)
    shares = boxes / np.float32([WIDTH, HEIGHT] * 2)
    return {
        "norm_bb": np.concatenate([shares, shares[:, 2:] - shares[:, :2]], 1).astype(np.float16),
        "features": features.astype(np.float16),
        "conf": confidence.astype(np.float16),
        "soft_labels": probabilities.astype(np.float16),
    }


def uniter_npz(folder):
    for seed, name in enumerate(NAMES):
        np.savez_compressed(folder / f"coco_val2014_{name[:-4]}.npz", **uniter_arrays(seed))
    return RegionFileSettings(format="uniter_npz", files=(str(folder),), key="coco_val2014_{number:012d}.npz"), (True, True)


def msgpack_array(values):
    """Packed like msgpack-numpy (verified by `test_arrays_are_packed_as_msgpack_numpy_does`)."""
    return {b"nd": True, b"type": values.dtype.str, b"kind": b"", b"shape": values.shape, b"data": values.tobytes()}


def uniter_lmdb(folder, compressed=False):
    lmdb = pytest.importorskip("lmdb", reason="LMDB files need the package lmdb")
    msgpack = pytest.importorskip("msgpack", reason="LMDB files need the package msgpack")
    keys = [f"coco_val2014_{name[:-4]}.npz" for name in NAMES]
    with lmdb.open(str(folder), map_size=1 << 26) as env, env.begin(write=True) as out:
        for seed, key in enumerate(keys):
            arrays = uniter_arrays(seed)
            if compressed:
                buffer = io.BytesIO()
                np.savez_compressed(buffer, **arrays, allow_pickle=True)  # UNITER's writer stores this flag as an array of that name
                value = buffer.getvalue()
            else:
                value = msgpack.dumps({name: msgpack_array(array) for name, array in arrays.items()}, use_bin_type=True)
            out.put(key.encode(), value)
        out.put(b"__keys__", json.dumps(keys).encode())
    return RegionFileSettings(format="uniter_lmdb", files=(str(folder),), key="coco_val2014_{number:012d}.npz"), (True, True)


FORMATS = {"bottom_up": bottom_up, "unimo": unimo, "vinvl": vinvl, "uniter_npz": uniter_npz, "uniter_lmdb": uniter_lmdb,
           "uniter_lmdb_compressed": lambda folder: uniter_lmdb(folder, True)}  # fmt: skip


def listed(folder, names=NAMES, size=(WIDTH, HEIGHT), stage="pairs"):
    """An `images` table; only names and sizes matter here."""
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.new("RGB", (20, 20)).save(folder / name)
    return given_images([str(folder / name) for name in names], [size] * len(names), stage)


def table(corpus, stage="regions"):
    found = {}
    for partition in range(corpus.partitions):
        with RegionFile(corpus.table_url(stage, "regions", partition)) as file:
            found |= {file[row].image_id: file[row] for row in range(len(file))}
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_fields_of_a_file_are_imported_and_missing_ones_are_null(name, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    settings, (with_confidence, with_labels) = FORMATS[name](folder)
    assert widths(settings) == (FEATURES, CLASSES if with_labels else 1)
    corpus = run(tmp_path / "c", 2, listed(tmp_path / "i"), ImportRegions(settings))
    found = table(corpus)
    assert sorted(found) == [f"c/{name}" for name in NAMES]
    for seed, image in enumerate(NAMES):
        boxes, features, confidence, probabilities = content(seed)
        row = found[f"c/{image}"]
        assert (row.width, row.height) == (WIDTH, HEIGHT)
        # Half precision of a normalised coordinate: a third of a pixel.
        np.testing.assert_allclose(row.boxes, boxes, atol=0.4 if name.startswith("uniter") else 1e-3)
        np.testing.assert_array_equal(row.features, features.astype(np.float16))
        assert row.classes is None and row.attributes is None
        if with_confidence:
            np.testing.assert_allclose(row.confidence, confidence, atol=1e-3)
        else:
            assert row.confidence is None
        if with_labels:
            np.testing.assert_array_equal(row.soft_labels, probabilities.astype(np.float16))
        else:
            assert row.soft_labels is None and row.img_soft_label is None


def test_our_regions_go_out_as_uniters_files_and_come_back(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    settings, _ = unimo(folder)
    first = run(tmp_path / "c", 2, listed(tmp_path / "i"), ImportRegions(settings))
    out = tmp_path / "npz"
    assert export_npz(first, "regions", str(out), "coco_val2014_{number:012d}.npz") == 3
    assert json.loads((out / "nbb_th0.2_max100_min10.json").read_text())["coco_val2014_000000000139.npz"] == 12
    with np.load(out / "coco_val2014_000000000139.npz", allow_pickle=False) as held:  # as UNITER's loader opens them
        assert {name: (held[name].shape, held[name].dtype.str) for name in held.files} == {
            "norm_bb": ((12, 6), "<f2"),
            "features": ((12, FEATURES), "<f2"),
            "soft_labels": ((12, CLASSES), "<f2"),
        }
    back = RegionFileSettings(format="uniter_npz", files=(str(out),), key="coco_val2014_{number:012d}.npz")
    second = table(run(tmp_path / "d", 3, listed(tmp_path / "i"), ImportRegions(back)))
    for image_id, row in table(first).items():
        np.testing.assert_allclose(second[image_id].boxes, row.boxes, atol=0.4)
        np.testing.assert_array_equal(second[image_id].features, row.features)
        np.testing.assert_array_equal(second[image_id].soft_labels, row.soft_labels)
    again = tmp_path / "again"
    export_npz(first, "regions", str(again), "coco_val2014_{number:012d}.npz")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {path.name: path.read_bytes() for path in again.iterdir()}


def test_uniters_files_survive_a_round_trip(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    settings, _ = uniter_npz(folder)
    corpus = run(tmp_path / "c", 2, listed(tmp_path / "i"), ImportRegions(settings))
    export_npz(corpus, "regions", str(tmp_path / "out"), "coco_val2014_{number:012d}.npz")
    for path in folder.iterdir():
        with np.load(path, allow_pickle=False) as first, np.load(tmp_path / "out" / path.name, allow_pickle=False) as second:
            assert sorted(first.files) == sorted(second.files)
            for name in ("features", "conf", "soft_labels"):
                np.testing.assert_array_equal(second[name], first[name])
            # Boxes were stored in pixels: width and height are recomputed as differences of edges rounded to half precision.
            np.testing.assert_allclose(second["norm_bb"].astype(float), first["norm_bb"].astype(float), atol=2**-10)


def test_uniters_rule_can_be_asked_for(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    settings, _ = uniter_npz(folder)
    for threshold, lowest, most in ((0.3, 2, 100), (0.99, 5, 100), (0.0, 1, 4)):
        rule = settings.model_copy(update={"threshold": threshold, "min_regions": lowest, "max_regions": most})
        found = table(run(tmp_path / f"{threshold}", 1, listed(tmp_path / "i"), ImportRegions(rule)))
        for seed, image in enumerate(NAMES):
            confidence = content(seed)[2].astype(np.float16)
            assert len(found[f"c/{image}"].boxes) == min(most, max(lowest, int((confidence > threshold).sum())))


def test_images_without_captions_and_missing_entries(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    settings, _ = unimo(folder)
    names = (*NAMES, "000000000999.jpg")
    corpus = run(tmp_path / "c", 2, listed(tmp_path / "i", names, stage="images"), ImportImageRegions(settings))
    assert len(table(corpus, "image_regions")) == 3
    assert rejects(corpus, "image_regions") == {"c/000000000999.jpg": Reason.REGIONS_MISSING}


def damaged(line):
    """Damaged variants of a UNIMO line, by fault."""
    fields = line.split("\t")

    def put(at, value):
        return "\t".join([*fields[:at], value, *fields[at + 1 :]])

    return {
        "few fields": "\t".join(fields[:5]),
        "not base64": put(4, "§§§"),
        "another count": put(3, "11"),
        "no count": put(3, "many"),
        "huge count": put(3, "999999999"),
        "negative": put(3, "-12"),
        "no boxes": put(3, "0"),
        "other image": put(1, "641"),
        "infinite": put(5, b64(np.full((12, FEATURES), np.inf))),
        "too large for half": put(5, b64(np.full((12, FEATURES), 1e6))),
        "narrow": put(5, b64(np.zeros((12, 100)))),
        "outside": put(4, b64(np.tile([0, 0, 900, 100], (12, 1)))),
        "backwards": put(4, b64(np.tile([50, 50, 10, 10], (12, 1)))),
        "cut": line[:-300],
    }


def test_damaged_lines_are_rejected_and_the_others_taken(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    settings, _ = unimo(folder)
    path = Path(settings.files[0])
    good = path.read_text().split("\n")
    for number, (what, line) in enumerate(damaged(good[1]).items()):
        other = folder / f"{number}.tsv"
        other.write_text("\n".join([good[0], line, good[2]]))
        stage = ImportRegions(settings.model_copy(update={"files": (str(other),)}))
        corpus = run(tmp_path / f"c{number}", 1, listed(tmp_path / "i"), stage)
        assert rejects(corpus, "regions") == {f"c/{NAMES[1]}": Reason.BAD_ROW}, what
        assert len(table(corpus)) == 2
    path.write_text("\n".join([good[0], good[0], good[1]]))
    corpus = run(tmp_path / "twice", 1, listed(tmp_path / "i"), ImportRegions(settings))
    assert rejects(corpus, "regions") == {f"c/{NAMES[2]}": Reason.REGIONS_MISSING}


def test_objects_and_bombs_in_npz_files_are_refused(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, norm_bb=np.array([print], dtype=object), features=np.zeros((1, 4)))
    with pytest.raises(RegionFileError, match="allow_pickle"):
        read_npz("x.npz", buffer.getvalue())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("features.npy", bytes(80 << 20))
    assert len(buffer.getvalue()) < 1 << 20
    with pytest.raises(RegionFileError, match="decompresses to"):
        read_npz("x.npz", buffer.getvalue())
    for data in (b"", b"PK\x03\x04", buffer.getvalue()[:1000]):
        with pytest.raises(RegionFileError, match="not a valid npz"):
            read_npz("x.npz", data)


def test_objects_in_an_lmdb_are_refused_and_not_run():
    msgpack = pytest.importorskip("msgpack", reason="LMDB files need the package msgpack")
    from transforms.regions.files.uniter import read_msgpack

    bad = {b"nd": True, b"type": "|O", b"kind": b"O", b"shape": (1,), b"data": b"cos\nsystem\n(S'true'\ntR."}
    for value in ({"norm_bb": bad}, {"norm_bb": [1, 2]}, ["norm_bb"], {"norm_bb": msgpack_array(np.zeros(3, np.int64))}):
        with pytest.raises(RegionFileError, match="not a valid msgpack"):
            read_msgpack("x", msgpack.dumps(value, use_bin_type=True))
    with pytest.raises(RegionFileError, match="not a valid msgpack"):
        read_msgpack("x", b"\xc1\xff")


def test_arrays_are_packed_as_msgpack_numpy_does():
    msgpack = pytest.importorskip("msgpack", reason="LMDB files need the package msgpack")
    theirs = pytest.importorskip("msgpack_numpy", reason="compares with the package msgpack-numpy")
    from transforms.regions.files.uniter import read_msgpack

    arrays = uniter_arrays(0)
    ours = msgpack.dumps({name: msgpack_array(array) for name, array in arrays.items()}, use_bin_type=True)
    assert ours == msgpack.dumps(arrays, default=theirs.encode, use_bin_type=True)
    found = read_msgpack("x", ours)
    assert all((found[name] == array).all() for name, array in arrays.items())


def test_keys_are_made_from_image_ids():
    assert key_of("coco/val/000000000139.jpg", "{key}") == "val/000000000139.jpg"
    assert key_of("coco/139", "coco_val2014_{number:012d}.npz") == "coco_val2014_000000000139.npz"
    with pytest.raises(RegionFileError, match="number"):
        key_of("f/a.jpg", "{number}")
    for wrong in ("{uri}", "{key!r}", "{stem.__class__}", "{}"):
        with pytest.raises(ValueError, match="may contain"):
            check_template(wrong)
    with pytest.raises(ValidationError, match="format"):
        RegionFileSettings(format="hdf5", files=("x",))


def test_sizes_come_from_the_corpus_or_the_entry_and_must_agree():
    entry = RawRegions(np.array([[0, 0, 0.5, 0.5]]), np.zeros((1, 4)))
    assert to_regions(entry, 200, 100, 4, 1).boxes.tolist() == [[0, 0, 100, 50]]
    with pytest.raises(RegionFileError, match="another|made from"):
        to_regions(RawRegions(np.array([[0, 0, 5, 5.0]]), np.zeros((1, 4)), width=10, height=10), 200, 100, 4, 1)
    with pytest.raises(RegionFileError, match="not floating"):
        to_regions(RawRegions(np.array([[0, 0, 1, 1.0]]), np.zeros((1, 4), np.int64)), 200, 100, 4, 1)
