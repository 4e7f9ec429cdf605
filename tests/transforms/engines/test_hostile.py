"""Damaged, wrongly typed and malicious model files: one clear error each, no code executed, no memory beyond the file's size."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest

from transforms.engines.detectors.base import DetectorError
from transforms.engines.parsers.load import EMBEDDED as PARSER
from transforms.engines.parsers.load import load_pipeline
from transforms.engines.translators.base import TranslatorError
from transforms.engines.translators.subwords import SIDECAR, read_texts, sidecar

torch = pytest.importorskip("torch", reason="detectors need torch")


class Harm:
    """Its pickle writes a file when it is loaded."""

    def __init__(self, place: Path):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def refused(path: Path) -> str:
    from transforms.engines.detectors.weights import read_weights

    with pytest.raises(DetectorError) as caught:
        read_weights(path)
    assert path.name in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 700
    return str(caught.value)


def test_weights_that_say_more_than_they_hold_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    for value in (
        torch.zeros(1).expand(1 << 35),
        torch.zeros(1, 4).expand(1 << 30, 4),
        torch.zeros(2, 2).to_sparse(),
        torch.empty(1 << 40, device="meta"),
    ):
        torch.save({"model": {"a": value}}, path)
        assert path.stat().st_size < 1 << 14
        assert "plain tensor" in refused(path)
    torch.save({"a": torch.ones(3, 4).t(), "b": torch.ones(5)[2:], "c": torch.ones(())}, path)
    from transforms.engines.detectors.weights import read_weights

    assert read_weights(path)[0]["a"].shape == (4, 3)


def test_compressed_checkpoints_are_refused(tmp_path):
    torch.save({"a": torch.zeros(1000, 1000)}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert "compressed" in refused(tmp_path / "w.pth")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x80\x02.", b"(" * 50_000, b"\x80\x04\x95" + b"\xff" * 8, b"<html>", bytes(4096)])
def test_invalid_checkpoints_are_named(data, tmp_path):
    for name in ("w.pth", "w.safetensors"):
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 1 << 40]}},
        {"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}},
        {"a": 7},
        [],
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}},
    ],
)
def test_hostile_safetensors_are_named(header, tmp_path):
    text = json.dumps(header).encode()
    (tmp_path / "w.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    refused(tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes((1 << 60).to_bytes(8, "little") + text)
    refused(tmp_path / "w.safetensors")


def test_pickles_are_never_run(tmp_path):
    place = tmp_path / "ran"
    with open(tmp_path / "w.pth", "wb") as file:
        pickle.dump({"a": Harm(place)}, file)
    refused(tmp_path / "w.pth")
    torch.save({"model": {"a": torch.ones(1), "b": Harm(place)}}, tmp_path / "w.pth")
    refused(tmp_path / "w.pth")
    assert not place.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        '{"size": 3}',
        '{"size": {"features": "x"}, "settings": {}, "classes": []}',
        "[" * 100_000,
        '{"size": {"features": 8}, "settings": [], "classes": ["a"]}',
        '{"size": {"features": 8}, "settings": {}, "classes": [1]}',
    ],
)
def test_a_detector_json_of_wrong_types_is_named(text, tmp_path):
    from transforms.engines.detectors.load import embedded_info
    from transforms.engines.detectors.settings import DetectorSettings

    (tmp_path / "detector.json").write_text(text)
    (tmp_path / "detector.safetensors").write_bytes(b"")
    with pytest.raises(DetectorError, match=r"detector.json does not describe"):
        embedded_info(DetectorSettings(), tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", "7", "{", '{"source": 3}', '{"target": ["de"]}', '{"before": "x"}', '{"before": [1]}', "[" * 100_000, "\udcff"]
)
def test_side_files_of_translators_of_wrong_types_are_named(text, tmp_path):
    (tmp_path / SIDECAR).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(TranslatorError, match=SIDECAR) as caught:
        sidecar(tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "shared_vocabulary.json").write_text('["a", 1]')
    with pytest.raises(TranslatorError, match="shared_vocabulary.json"):
        read_texts(tmp_path / "shared_vocabulary.json")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("meta.json", b"{"),
        ("meta.json", b"[]"),
        ("config.cfg", b""),
        ("config.cfg", b"[nlp]\nlang = 7\n"),
        ("config.cfg", b"\xff\xfe"),
        ("vocab/strings.json", b"{}7"),
        ("tokenizer", b"\xc1"),
        ("tagger/model", b"\xff"),
        ("parser/model", b""),
        ("parser/moves", b"\x81"),
        ("config.cfg", b'[nlp]\nlang = "en"\npipeline = ["x"]\n[components.x]\nfactory = "nowhere"\n'),
    ],
)
def test_damaged_spacy_folders_are_named(name, data, tmp_path):
    folder = tmp_path / "parser"
    shutil.copytree(PARSER, folder)
    if not (folder / name).exists():
        pytest.skip(f"the embedded parser has no {name}")
    (folder / name).write_bytes(data)
    with pytest.raises(ValueError) as caught:
        load_pipeline(str(folder))
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
