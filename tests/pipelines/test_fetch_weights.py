"""`cmcl fetch` of torchvision's weights, with a local server in place of download.pytorch.org and a small file in place of the weights."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

pytest.importorskip("torchvision", reason="torchvision's weights require the extra: pip install 'cmcl[regions]'")

import torch
from torchvision.models import WeightsEnum
from torchvision.models._api import Weights

from pipelines.config import parse_config
from pipelines.fetch import fetch, wanted
from pipelines.fetch_weights import FetchError
from transforms.engines.detectors.base import DetectorError
from transforms.engines.detectors.load import detector
from transforms.engines.detectors.settings import DetectorSettings
from transforms.engines.models import NOTE, model_folder
from transforms.engines.registry import forget_engines

SPEC = "torchvision:fasterrcnn_resnet50_fpn"


def config_of(spec: str):
    pairs = [{"format": "csv", "name": "c", "captions": "c.csv"}]
    return parse_config({"corpus": "c", "pairs": pairs, "regions": {"detector": spec}}, ".")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A server of one file, and torchvision's entry for it. cut: an answer ends after that many bytes; data: what is sent."""
    torch.save({"weight": torch.zeros(2000)}, tmp_path / "weights.pth")
    data = (tmp_path / "weights.pth").read_bytes()
    name = f"tiny-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    found = SimpleNamespace(cut=len(data), data=data, name=name, starts=[])

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            found.starts.append(start)
            if self.path != f"/models/{name}":
                self.send_error(404)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(found.data) - start))
            self.end_headers()
            self.wfile.write(found.data[start : max(start, found.cut)])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    entry = Weights(url=f"https://download.pytorch.org/models/{name}", transforms=lambda image: image, meta={"categories": ["_", "dog"]})
    monkeypatch.setattr("torchvision.models.get_model_weights", lambda _: WeightsEnum("Tiny", {"COCO_V1": entry, "DEFAULT": entry}))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    monkeypatch.setenv("TORCHVISION_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("CMCL_MODELS", str(tmp_path / "models"))
    forget_engines()
    yield found
    server.shutdown()


def test_weights_are_fetched_by_fetch_alone_once_and_resumed_after_a_cut(site):
    with pytest.raises(DetectorError, match="run `cmcl fetch CONFIG`"):
        detector(DetectorSettings(detector=SPEC))
    assert site.starts == []
    site.cut = 1000
    with pytest.raises(FetchError, match="cut off after 1000 of .* the next `cmcl fetch` resumes"):
        fetch(config_of(SPEC))
    site.cut = len(site.data)
    (model,) = fetch(config_of(SPEC))
    assert site.starts == [0, 1000] and model.new and model.licence == "unknown"
    note = json.loads((model.folder / NOTE).read_text())
    assert note["files"] == {site.name: hashlib.sha256(site.data).hexdigest()} and note["kind"] == "detector"
    assert sorted(path.name for path in model.folder.iterdir()) == sorted([NOTE, site.name])
    (again,) = fetch(config_of(SPEC + "@COCO_V1"))
    assert again.folder == model.folder and not again.new and len(site.starts) == 2
    with pytest.raises(DetectorError, match=f"{site.name} is not a torchvision Faster R-CNN"):  # it was read
        detector(DetectorSettings(detector=SPEC))
    (model.folder / site.name).write_bytes(b"other")
    with pytest.raises(DetectorError, match="is missing or has changed"):
        detector(DetectorSettings(detector=SPEC))


def test_weights_with_another_hash_are_refused(site):
    site.data = site.data[:-1] + bytes([site.data[-1] ^ 1])
    with pytest.raises(FetchError, match="does not have the hash in its name"):
        fetch(config_of(SPEC))
    assert not model_folder("download.pytorch.org/fasterrcnn_resnet50_fpn@COCO_V1").exists()
    assert not list(model_folder("x/y").parent.rglob("*.pth"))


def test_unavailable_weights_are_named(site):
    with pytest.raises(DetectorError, match="has no weights 'COCO_V7'"):
        fetch(config_of(SPEC + "@COCO_V7"))


def test_files_and_the_embedded_detector_are_not_fetched(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"")
    for spec in ("embedded", f"{SPEC}@{tmp_path}/w.pth"):
        assert wanted(config_of(spec)) == []
    assert wanted(config_of(SPEC)) == [("detector", SPEC)]
