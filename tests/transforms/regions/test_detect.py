"""The detection stages: order, batches, rejects, memory, and concurrent decoding."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from schemas.regions import IMG_BOX_5, IMG_BOX_7, RegionFile, Regions, row_bytes
from schemas.rejects import Reason
from tests.given import Given, GivenParams, given_images
from tests.transforms.regions.help import regions_of, rejects, run, scene_files
from transforms.engines.detectors.base import DetectorInfo, OutOfMemory, Prepared
from transforms.engines.detectors.settings import DetectorSettings
from transforms.regions import detect as module
from transforms.regions.detect import DetectImageRegions, DetectRegions, RegionParams

FEATURES, CLASSES = 6, 5


class Fake:
    """A detector whose regions identify their image; it records its batches and has memory for `room` images at once."""

    def __init__(self, room=100):
        self.info = DetectorInfo("fake", FEATURES, CLASSES, ("background", "a", "b", "c", "d"))
        self.room, self.batches, self.prepared = room, [], 0
        self.more = threading.Condition()

    fingerprint = "fake"
    device_kind = "none"

    def shape(self, width, height):
        return -(-height // 32) * 32, -(-width // 32) * 32

    def prepare(self, image):
        with self.more:
            self.prepared += 1
            self.more.notify_all()
        return Prepared(image.width, image.height, self.shape(*image.size), int(np.asarray(image)[0, 0, 0]))

    def detect(self, batch):
        if len(batch) > self.room:
            raise OutOfMemory(f"{len(batch)} images")
        assert len({one.shape for one in batch}) == 1
        self.batches.append([one.pixels for one in batch])
        return [
            Regions(
                one.width,
                one.height,
                np.full((3, 4), one.pixels, np.float32),
                np.full((3, FEATURES), one.pixels, np.float16),
                np.array([0.9, 0.5, 0.3], np.float32),
                np.full((3, CLASSES), 0.2, np.float16),
                np.array([1, 2, 3], np.int32),
            )
            for one in batch
        ]


@pytest.fixture
def fake(monkeypatch):
    return installed(monkeypatch, Fake())


def installed(monkeypatch, one):
    """Replaces every detector with a made-up one."""
    monkeypatch.setattr(module, "detector", lambda settings: one)
    monkeypatch.setattr(module, "describe", lambda settings: one.info)
    return one


def stage(kind=DetectRegions, **settings):
    return kind(RegionParams(detector=DetectorSettings(**settings)))


def pictures(folder, count, sizes=((64, 48), (48, 64), (100, 40))):
    folder.mkdir(exist_ok=True)
    paths = []
    for number in range(count):
        path = folder / f"{number:03d}.png"
        Image.new("RGB", sizes[number % len(sizes)], (number, 0, 0)).save(path)
        paths.append(str(path))
    return tuple(paths)


def test_rows_are_in_image_order_and_batches_have_one_size(fake, tmp_path):
    paths = pictures(tmp_path / "i", 30)
    corpus = run(tmp_path / "c", 2, given_images(paths), stage(batch=4, window=12))
    found = regions_of(corpus)
    with corpus.open("pairs", "images", 0) as first, corpus.open("pairs", "images", 1) as second:
        assert [row.image_id for row in found] == [*first.read()["image_id"].to_pylist(), *second.read()["image_id"].to_pylist()]
    for row in found:
        assert (row.features == int(row.image_id[2:5])).all()
    assert max(map(len, fake.batches)) <= 4 and sum(map(len, fake.batches)) == 30
    counts = corpus.manifest("regions").counts
    assert (counts.rows_in, counts.rows_out, counts.numbers) == (
        30,
        {"regions": 30},
        {"images_without_regions": 0, "regions": 90, "images_on none": 30},
    )


def test_batches_are_the_same_every_time(fake, tmp_path):
    paths = pictures(tmp_path / "i", 40)
    run(tmp_path / "c", 1, given_images(paths), stage(batch=4, window=16))
    once = list(fake.batches)
    fake.batches.clear()
    run(tmp_path / "d", 1, given_images(paths), stage(batch=4, window=16))
    assert fake.batches == once


def test_a_batch_without_room_is_split_and_an_image_without_room_rejected(tmp_path, monkeypatch):
    paths = pictures(tmp_path / "i", 9, sizes=((64, 48),))
    for room, kept in ((2, 9), (0, 0)):
        installed(monkeypatch, Fake(room))
        corpus = run(tmp_path / str(room), 1, given_images(paths), stage(batch=8))
        assert len(regions_of(corpus)) == kept
        assert set(rejects(corpus, "regions").values()) == ({Reason.ENGINE_FAILED} if kept == 0 else set())
        assert corpus.manifest("regions").counts.numbers["batches_split"] >= 2


_STARVED = """
import os, resource, sys
from pathlib import Path
import torch
from PIL import Image
from schemas.regions import RegionFile
from tests.given import given_images
from tests.transforms.regions.help import rejects, run
from transforms.engines.detectors.engine import out_of_memory
from transforms.engines.detectors.load import detector
from transforms.engines.detectors.settings import DetectorSettings
from transforms.regions.detect import DetectRegions, RegionParams
settings = DetectorSettings(batch=64, device="cpu")
engine = detector(settings)
plain = engine.detect
plain([engine.prepare(Image.new("RGB", (288, 216)))])
def starved(batch):
    held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (held + (120 << 20), -1))
    try:
        with torch.inference_mode():
            engine._detect(batch)
    except (RuntimeError, MemoryError) as error:
        full.append(out_of_memory(error))
    try:
        return plain(batch)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
engine.detect, full = starved, []
paths = tuple(sorted(map(str, Path(sys.argv[1]).glob("*.jpg"))))
corpus = run(Path(sys.argv[2]), 1, given_images(paths), DetectRegions(RegionParams(detector=settings)))
with RegionFile(corpus.table_url("regions", "regions", 0)) as file:
    print(len(file), len(rejects(corpus, "regions")), sum(full))
"""


@pytest.mark.slow
def test_images_one_by_one_fit_where_a_batch_really_runs_out_of_memory(tmp_path):
    """The process may not grow by more than 120 MiB, but the model needs more for 64 images: torch and oneDNN really fail."""
    pytest.importorskip("torch", reason="the embedded detector needs torch")
    pytest.importorskip("resource", reason="limits the memory of a process as Unix does")
    if not Path("/proc/self/statm").exists():
        pytest.skip("reads the size of a process as Linux tells it")
    folder = tmp_path / "i"
    for path in scene_files(folder, 64):
        Image.open(path).resize((288, 216)).save(path)
    said = subprocess.run(
        [sys.executable, "-c", _STARVED, str(folder), str(tmp_path / "c")], cwd=Path(__file__).parents[3], capture_output=True, text=True
    )
    assert said.returncode == 0, said.stderr[-2000:]
    rows_out, rejected, full = map(int, said.stdout.split())
    assert (rows_out, rejected) == (64, 0) and full >= 1


def test_the_next_batches_are_decoded_while_the_model_works(fake, tmp_path):
    paths = pictures(tmp_path / "i", 12, sizes=((64, 48),))
    seen = []
    plain = fake.detect

    def slow(batch):
        done = sum(map(len, fake.batches))
        with fake.more:  # does not return before the two next batches have been prepared, which only another thread can do
            seen.append(fake.more.wait_for(lambda: fake.prepared >= min(12, done + 6), timeout=20))
        return plain(batch)

    fake.detect = slow
    run(tmp_path / "c", 1, given_images(paths), stage(batch=2, readers=1))
    assert len(seen) == 6 and all(seen)


def test_images_without_captions_have_a_stage_of_their_own(fake, tmp_path):
    paths = pictures(tmp_path / "i", 5)
    corpus = run(tmp_path / "c", 2, given_images(paths, stage="images"), stage(DetectImageRegions))
    assert len(regions_of(corpus, "image_regions")) == 5


def test_a_changed_setting_changes_the_stage_and_readers_do_not(fake):
    one, two = stage(window=32), stage(window=64)
    assert one.identity != two.identity and stage(readers=1).identity == stage(readers=4).identity
    fake.info = DetectorInfo("other", FEATURES, CLASSES, fake.info.names)
    assert stage(window=32).identity != one.identity


def test_pixels_that_were_not_opened_are_rejected_not_guessed(fake, tmp_path):
    from schemas.tables import IMAGES  # a run on captions alone

    blind = Given(
        GivenParams(stage="pairs", table="images", rows=pa.Table.from_pylist([{"image_id": "c/1", "source": "c"}], schema=IMAGES))
    )
    corpus = run(tmp_path / "c", 1, blind, stage())
    assert rejects(corpus, "regions") == {"c/1": Reason.IMAGE_MISSING}


def test_file_size_matches_the_arithmetic(tmp_path):
    pytest.importorskip("torch", reason="the embedded detector needs torch")
    paths = tuple(scene_files(tmp_path / "i", 40))
    corpus = run(tmp_path / "c", 1, given_images(paths), DetectRegions(RegionParams(detector=DetectorSettings(min_regions=60))))
    size = os.path.getsize(corpus.table_url("regions", "regions", 0))
    expected = sum(row_bytes(len(row.boxes), 256, 33) for row in regions_of(corpus))
    assert expected <= size <= expected * 1.01 + 8192
    # 100 regions of a bottom-up-attention detector (2048 features, 1601 soft labels) take 732 kB, of 36 regions 264 kB.
    assert row_bytes(100, 2048, 1601) == 732_200 and row_bytes(36, 2048, 1601) == 263_592


def test_the_reader_gives_the_img_inputs_and_both_geometries(fake, tmp_path):
    paths = pictures(tmp_path / "i", 70)
    corpus = run(tmp_path / "c", 1, given_images(paths), stage())
    with RegionFile(corpus.table_url("regions", "regions", 0)) as file:
        assert (len(file), file.features, file.classes, file.names[1]) == (70, FEATURES, CLASSES, "a")
        row = file[66]
        with pytest.raises(IndexError):
            file[70]
    x1, y1, x2, y2 = row.boxes[0] / np.array([row.width, row.height] * 2)
    np.testing.assert_allclose(row.geometry_5[0], [x1, y1, x2, y2, (x2 - x1) * (y2 - y1)], rtol=1e-6)
    np.testing.assert_allclose(row.geometry_7[0], [x1, y1, x2, y2, x2 - x1, y2 - y1, (x2 - x1) * (y2 - y1)], rtol=1e-6)
    np.testing.assert_allclose(row.img_feature, row.features.astype(np.float64).mean(0), rtol=1e-6)
    np.testing.assert_allclose(row.img_soft_label, np.full(CLASSES, 0.2), atol=1e-3)
    assert row.img_feature.dtype == np.float32 and row.attributes is None
    assert (IMG_BOX_5.tolist(), IMG_BOX_7.tolist()) == ([0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1])
    assert not row.features.flags.owndata  # a view of the file


_MEASURE = """
import sys
from pathlib import Path
import psutil
from tests.given import given_images
from tests.transforms.regions.help import run
from transforms.regions import detect as regions
from transforms.engines.detectors.settings import DetectorSettings
paths = tuple(sorted(map(str, Path(sys.argv[1]).glob("*.jpg"))))
seen = []
plain = regions._write
def noting(task, schema, held):
    plain(task, schema, held)
    seen.append(psutil.Process().memory_info().rss)
regions._write = noting
run(Path(sys.argv[2]), 1, given_images(paths), regions.DetectRegions(regions.RegionParams(detector=DetectorSettings(min_regions=100))))
print(len(paths), max(seen[:6]), max(seen))
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_memory_stays_where_it_is_over_1000_images(tmp_path):
    pytest.importorskip("torch", reason="the embedded detector needs torch")
    first = scene_files(tmp_path / "i", 100)
    for copy in range(1, 10):
        for path in first:
            os.link(path, path.replace("scene_", f"scene{copy}_"))
    code = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(tmp_path / "i"), str(tmp_path / "c")],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    count, early, most = map(int, code.stdout.split())
    print(f"{count} images: {early / 2**20:.0f} MiB after 384, {most / 2**20:.0f} MiB at most")
    assert count == 1000 and most - early < 100 * 2**20
