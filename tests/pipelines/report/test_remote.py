"""Reports of corpora and photos in a store: photos by ranged reads, and limits before anything is decoded."""

from __future__ import annotations

import http.server
import io
import threading
from hashlib import sha256
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from pipelines.diff import diff
from schemas.corpus import open_corpus
from schemas.ids import pair_id
from schemas.tables import IMAGES, PAIRS
from tests.pipelines.report.help import CAPTIONS, report, small
from tests.written import write_corpus

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

_MIB = 1 << 20


def encoded(width, height, mode="RGB"):
    """A photo of noise as PNG."""
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    held = io.BytesIO()
    (Image.fromarray(noise) if mode == "RGB" else Image.new(mode, (width, height))).save(held, "PNG")
    return held.getvalue()


@pytest.fixture
def store():
    """A web server of one large file: its address, its bytes, and the ranges that were asked for, (first, last)."""
    data, asked = bytearray(160 * _MIB), []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self._begin(200, len(data))

        def do_GET(self):
            first, last = 0, len(data) - 1
            if ranged := self.headers.get("Range"):
                first, last = (int(one) for one in ranged.removeprefix("bytes=").split("-"))
            asked.append((first, min(last, len(data) - 1)))
            self._begin(206 if ranged else 200, asked[-1][1] + 1 - first, first)
            self.wfile.write(data[first : asked[-1][1] + 1])

        def _begin(self, status, length, first=0):
            self.send_response(status)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(length))
            if status == 206:
                self.send_header("Content-Range", f"bytes {first}-{first + length - 1}/{len(data)}")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/shard.tar", data, asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_photos_in_a_shard_are_read_by_ranges_within_the_limits(store, tmp_path):
    pytest.importorskip("aiohttp")
    url, data, asked = store
    photos = [(_MIB, encoded(64, 48)), (80 * _MIB, encoded(400, 300)), (150 * _MIB, encoded(8000, 8000, "1")), (120 * _MIB, b"x" * 100)]
    images, pairs = [], []
    for at, (offset, photo) in enumerate(photos):
        data[offset : offset + len(photo)] = photo
        length = 65 * _MIB if at == 3 else len(photo)
        images.append({"image_id": f"src/{at}", "source": "src", "uri": url, "offset": offset, "length": length, "width": 64, "height": 48,
                       "sha256": sha256(photo).digest()})  # fmt: skip
        pairs.append({"pair_id": pair_id(f"src/{at}", "A dog."), "image_id": f"src/{at}", "caption": "A dog.", "source": "src"})
    held = report(write_corpus(tmp_path / "c", 1, {"pairs": {"images": (IMAGES, images), "pairs": (PAIRS, pairs)}}), tmp_path / "r")
    about = {image["about"][0]: image["about"][3] for _, image in held.data("000/piece-000000.js")["images"]}
    assert about == {"src/0": "", "src/1": "", "src/2": "no photo: image too large", "src/3": "no photo: image too large"}
    sizes = [Image.open(io.BytesIO(file)).size for name, file in held.files().items() if name.endswith(".jpg")]
    assert sorted(sizes) == [(64, 48), (320, 240)]
    read = sum(last + 1 - first for first, last in asked)
    assert asked and read < len(data) / 4  # blocks around each photo, never the file; nothing of what its length alone rules out
    assert not [first for first, _ in asked if 110 * _MIB < first < 130 * _MIB]
    assert not any(b"127.0.0.1" in file for name, file in held.files().items() if not name.endswith(".jpg"))


@pytest.fixture
def bucket():
    """A folder of fsspec's memory store, which is empty again afterwards."""
    store = fsspec.filesystem("memory")
    yield store
    store.rm("/bucket", recursive=True)


def test_a_corpus_in_a_store_gives_the_report_of_its_copy_on_disk(bucket, tmp_path):
    corpus = small(tmp_path)
    bucket.put(corpus.url, "/bucket/corpus", recursive=True)
    assert report("memory://bucket/corpus", tmp_path / "there").files() == report(corpus, tmp_path / "here").files()


def test_a_corpus_in_a_store_is_compared_like_its_copy_on_disk(bucket, tmp_path):
    one, other = small(tmp_path / "a"), small(tmp_path / "b", CAPTIONS[1:], 3)
    bucket.put(one.url, "/bucket/corpus", recursive=True)
    here, there = (diff(open_corpus(url), open_corpus(other.url)) for url in (one.url, "memory://bucket/corpus"))
    assert not there.troubles and there.stages == here.stages
    assert {table.table: table.read for stage in there.stages for table in stage.tables}["rewrites"]


def test_a_damaged_table_in_a_store_is_named_and_the_rest_is_shown(bucket, tmp_path):
    corpus = small(tmp_path, partitions=1)
    bucket.put(corpus.url, "/bucket/corpus", recursive=True)
    name = Path(corpus.table_url("tfidf", "rewrites", 0)).relative_to(corpus.url)
    with bucket.open(f"/bucket/corpus/{name}", "rb") as file:
        held = file.read()
    with bucket.open(f"/bucket/corpus/{name}", "wb") as file:
        file.write(held[:200] + bytes([held[200] ^ 1]) + held[201:])
    made = report("memory://bucket/corpus", tmp_path / "r")
    assert any("the table rewrites of the stage tfidf could not be read in full" in text for text in made.warnings)
    assert made.data("meta.js")["pairs"] == 4
