"""`cmcl fetch`, with a local server in place of the Hugging Face hub, which has tiny models made here."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("huggingface_hub", reason="fetching requires huggingface_hub, which the extra `translate` installs")
pytest.importorskip("ctranslate2", reason="conversion requires its extra: pip install 'cmcl[translate]'")

from huggingface_hub.constants import DOWNLOAD_CHUNK_SIZE

from pipelines.config import parse_config
from pipelines.fetch import wanted
from tests.transforms.engines.translators.help import marian_folder, scene_captions
from transforms.engines.models import NOTE, fetched, model_folder, repository
from transforms.engines.parsers.load import EMBEDDED, caption_parser
from transforms.engines.registry import EngineError
from transforms.engines.translators.base import Decoding, TranslatorError
from transforms.engines.translators.load import translator

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def hub_of(repositories: dict[str, dict[str, bytes]]) -> SimpleNamespace:
    """A server with these files. cut: weights are cut off after that many bytes; forged: they are not what the hub states."""
    hub = SimpleNamespace(cut=0, forged=False, ranges=[], requests=0)

    class Handler(BaseHTTPRequestHandler):
        """The two requests that a fetch makes: a model's files, and one file."""

        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(False)

        def do_GET(self) -> None:
            self.answer(True)

        def answer(self, body: bool) -> None:
            hub.requests += 1
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
            if name not in repositories:
                self.send(404, b"", {"X-Error-Code": "RepoNotFound"}, body)
            elif parts[0] == "api":
                siblings = [about(path, data) for path, data in sorted(repositories[name].items())]
                text = json.dumps({"id": name, "sha": COMMIT, "siblings": siblings, "cardData": {"license": "cc-by-4.0"}})
                self.send(200, text.encode(), {"Content-Type": "application/json"}, body)
            else:
                self.file("/".join(parts[4:]), repositories[name]["/".join(parts[4:])], body)

        def file(self, path: str, data: bytes, body: bool) -> None:
            large = path.endswith(".safetensors")
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(data).hexdigest()}"', "Accept-Ranges": "bytes"}
            if large and hub.forged:
                data = data[:-1] + bytes([data[-1] ^ 1])
            wanted = self.headers.get("Range", "")
            start = int(wanted.removeprefix("bytes=").split("-")[0]) if body and wanted else 0
            if body and large:
                hub.ranges.append(start)
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self.send(206 if start else 200, data[start:], headers, body, max(0, hub.cut - start) if large and hub.cut else None)

        def send(self, status: int, data: bytes, headers: dict[str, str], body: bool, most: int | None = None) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data if most is None else data[:most])
            if body and most is not None:
                self.close_connection = True

    hub.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=hub.server.serve_forever, daemon=True).start()
    hub.url = f"http://127.0.0.1:{hub.server.server_port}"
    return hub


def about(path: str, data: bytes) -> dict[str, object]:
    """A file as the hub describes it: large ones by the SHA-256 of their content, others by git's hash."""
    git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    found: dict[str, object] = {"rfilename": path, "size": len(data), "blobId": git}
    if path.endswith(".safetensors"):
        found["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A hub with a translator and a parser."""
    marian = files_of(marian_folder(tmp_path_factory.mktemp("marian") / "tiny", scene_captions(60)))
    parser = files_of(EMBEDDED) | {"large.safetensors": bytes(DOWNLOAD_CHUNK_SIZE + 5000)}
    made = hub_of({"tiny/opus-mt": marian | {"evil.pkl": b"evil", "evil.py": b"evil"}, "tiny/parser": parser})
    yield made
    made.server.shutdown()


def cmcl(command: str, folder: Path, hub: SimpleNamespace, **how: object) -> subprocess.CompletedProcess[str]:
    config = folder / "config.yaml"
    own = {"corpus": str(folder / "corpus"), "tfidf": None, "pixels": False, "back_translation": how}
    pairs = [{"format": "csv", "name": "c", "captions": str(folder / "captions.csv")}]
    (folder / "captions.csv").write_text("image,caption\na.jpg,A dog runs.\n")
    config.write_text(json.dumps(own | {"pairs": pairs}))  # JSON is YAML
    environment = os.environ | {"HF_ENDPOINT": hub.url, "CMCL_MODELS": str(folder / "models"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment.pop("HF_HUB_OFFLINE", None)
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli", command, str(config)], env=environment, capture_output=True, text=True, timeout=600
    )


def both(spec: str) -> list[dict[str, str]]:
    return [{"name": "xx", "forward": spec, "back": spec}]


@pytest.mark.slow
def test_a_model_is_fetched_once_resumed_after_a_cut_and_converted(tmp_path, hub, monkeypatch):
    monkeypatch.setenv("CMCL_MODELS", str(tmp_path / "models"))
    spec = "hf:tiny/opus-mt"
    absent = cmcl("status", tmp_path, hub, pivots=both(spec))
    assert absent.returncode == 1 and "run `cmcl fetch CONFIG`" in absent.stderr
    hub.cut = DOWNLOAD_CHUNK_SIZE + 2000
    cut = cmcl("fetch", tmp_path, hub, parser="hf:tiny/parser")
    hub.cut = 0
    assert cut.returncode == 1 and "hf:tiny/parser cannot be fetched" in cut.stderr and not model_folder("tiny/parser").exists()
    hub.ranges.clear()
    found = cmcl("fetch", tmp_path, hub, pivots=both(spec), parser="hf:tiny/parser")
    assert found.returncode == 0, found.stderr
    assert sorted(hub.ranges) == [0, DOWNLOAD_CHUNK_SIZE] and found.stdout.count("licence: cc-by-4.0") == 2
    folder = fetched("tiny/opus-mt")
    note = json.loads((folder / NOTE).read_text())
    assert note["commit"] == COMMIT and (folder / "model.bin").is_file() and not list(folder.rglob("evil*"))
    assert set(note["files"]) == {str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != NOTE}
    assert len(translator(spec).translate(["A dog runs."], Decoding())) == 1
    assert [doc.text for doc in caption_parser("hf:tiny/parser").documents(["A dog runs."])] == ["A dog runs."]
    before = hub.requests
    again = cmcl("fetch", tmp_path, hub, pivots=both(spec), parser="hf:tiny/parser")
    assert again.returncode == 0 and again.stdout.count("already there") == 2
    assert hub.requests == before
    (folder / "model.bin").write_bytes(b"other")
    with pytest.raises(TranslatorError, match="is missing or has changed"):
        fetched("tiny/opus-mt", TranslatorError)


@pytest.mark.slow
def test_a_file_with_another_hash_is_refused(tmp_path, hub):
    hub.forged = True
    found = cmcl("fetch", tmp_path, hub, pivots=both("hf:tiny/opus-mt"))
    hub.forged = False
    assert found.returncode == 1 and "does not have the hash that the hub states" in found.stderr
    assert not list((tmp_path / "models").rglob("*.safetensors")) and not list((tmp_path / "models").rglob(NOTE))


@pytest.mark.slow
def test_an_unknown_model_is_named(tmp_path, hub):
    found = cmcl("fetch", tmp_path, hub, pivots=both("hf:no/where@v1"))
    assert found.returncode == 1 and "hf:no/where@v1 cannot be fetched" in found.stderr


def test_every_model_of_the_hub_in_a_configuration_is_found():
    settings = {
        "corpus": "c",
        "back_translation": {"pivots": [*both("hf:a/b#eng:deu"), "de"], "parser": "hf:a/p", "encoder": "embedded"},
        "swaps": {"parser": "hf:a/p"},
        "pairs": [{"format": "csv", "name": "c", "captions": "c.csv"}],
    }
    assert wanted(parse_config(settings, ".")) == [("translator", "hf:a/b"), ("parser", "hf:a/p")]


def test_repositories_are_named_by_owner_name_and_revision(monkeypatch, tmp_path):
    monkeypatch.setenv("CMCL_MODELS", str(tmp_path))
    assert repository("a/b") == ("a/b", "main") and repository("a/b.c-1@v1.0") == ("a/b.c-1", "v1.0")
    assert model_folder("a/b@v1") == tmp_path / "a--b@v1"
    for name in ("", "a", "a/b/c", "../b", "a/..", "a/b@", "a/b@../c", "/a/b", "a /b", "a/b\n"):
        with pytest.raises(EngineError, match="does not have the form"):
            repository(name)
    with pytest.raises(EngineError, match="run `cmcl fetch CONFIG`"):
        fetched("a/b")
    (tmp_path / "a--b@main").mkdir()
    (tmp_path / "a--b@main" / NOTE).write_text("[]")
    with pytest.raises(EngineError, match="is damaged"):
        fetched("a/b")
