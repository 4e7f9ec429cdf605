"""Caption parsers: specs, helpful errors, batches, the embedded model."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import spacy

from transforms.engines.parsers.load import (
    EMBEDDED,
    CaptionParser,
    SpacyParser,
    caption_parser,
    check_spec,
    load_pipeline,
    model_digest,
    spec_fingerprint,
)

CAPTIONS = ["A brown dog runs on a beach.", "two boys riding skateboards", "", "The car is red.", "a cat in front of a laptop"]


def test_the_embedded_model_is_small_and_holds_no_pickle() -> None:
    files = [path for path in EMBEDDED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 10_000_000
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".bin") and path.name != "lookups.bin"]
    assert not [path for path in files if path.read_bytes()[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")]
    assert json.loads((EMBEDDED / "meta.json").read_text())["license"] == "CC BY-SA 4.0"


@pytest.mark.parametrize("spec", ["embedded", f"spacy:{EMBEDDED}", "sng:embedded"])
def test_every_engine_parses_a_batch(spec: str) -> None:
    if spec.startswith("sng"):
        pytest.importorskip("sng_parser")
    parser: CaptionParser = caption_parser(spec)
    graphs = parser.parse(CAPTIONS)
    assert len(graphs) == len(CAPTIONS)
    assert not graphs[2].objects
    assert {thing.head for thing in graphs[0].objects} == {"dog", "beach"}
    assert [doc.text for doc in parser.documents(CAPTIONS)] == CAPTIONS
    for caption, graph in zip(CAPTIONS, graphs, strict=True):
        for node in (*graph.objects, *graph.attributes, *graph.relations, *graph.counts):
            assert caption[node.start : node.end] == node.text


def test_a_parser_is_loaded_once_in_a_process() -> None:
    assert caption_parser("embedded") is caption_parser("embedded")


def test_fingerprints_tell_engines_apart_and_stay() -> None:
    pytest.importorskip("sng_parser")
    own, theirs = caption_parser("embedded"), caption_parser("sng:embedded")
    assert own.fingerprint == SpacyParser("embedded").fingerprint == caption_parser(f"spacy:{EMBEDDED}").fingerprint
    assert own.fingerprint != theirs.fingerprint
    assert spec_fingerprint("embedded") == own.fingerprint and spec_fingerprint("sng:embedded") == theirs.fingerprint
    assert len(model_digest("embedded")) == 32


@pytest.mark.parametrize(
    "spec, words",
    [
        ("spacy", "embedded, spacy:NAME_OR_PATH"),
        ("stanza:en", "embedded, spacy:NAME_OR_PATH"),
        ("spacy:", "embedded, spacy:NAME_OR_PATH"),
        ("spacy:../nowhere", "pipeline .* not found"),
        ("spacy:en_core_web_nowhere", "python -m spacy download en_core_web_nowhere"),
    ],
)
def test_an_invalid_spec_lists_the_valid_ones(spec: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_spec(spec)
    with pytest.raises(ValueError, match=words):
        caption_parser(spec)


def test_sng_without_its_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "sng_parser" else find(name, *rest))
    with pytest.raises(ValueError, match="pip install SceneGraphParser"):
        check_spec("sng:embedded")


def test_labels_of_universal_dependencies_are_refused(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    parser = nlp.add_pipe("parser")
    for label in ("obj", "nsubj", "obl", "case"):
        parser.add_label(label)  # type: ignore[attr-defined]
    nlp.initialize()
    nlp.to_disk(tmp_path / "ud")
    with pytest.raises(ValueError, match="ClearNLP"):
        load_pipeline(str(tmp_path / "ud"))
    blank = spacy.blank("en")
    blank.to_disk(tmp_path / "blank")
    with pytest.raises(ValueError, match="no dependency parser"):
        load_pipeline(str(tmp_path / "blank"))


def test_batches_do_not_change_graphs() -> None:
    parser = caption_parser("embedded")
    many = [text for text in CAPTIONS if text] * 80
    together = parser.parse(many)
    alone = [parser.parse([text])[0] for text in many[:4]]
    assert together[:4] == alone and together[4:8] == alone
    assert math.isclose(len(together), 320)


@pytest.mark.parametrize(
    "caption, pairs, triples",
    [
        (
            "A tall man in a blue shirt rides a bicycle down the street.",
            {("man", "tall"), ("shirt", "blue")},
            {("man", "in", "shirt"), ("man", "ride", "bicycle")},
        ),
        ("plane sitting on a runway", set(), {("plane", "sit on", "runway")}),
        ("two dogs and a cat sleeping on a couch", {("dog", "2")}, {("cat", "sleep on", "couch")}),
        ("white plate with a fork on a wooden table", {("plate", "white"), ("table", "wooden")}, {("plate", "with", "fork")}),
    ],
)
def test_the_embedded_model_reads_captions(caption: str, pairs: set, triples: set) -> None:
    graph = caption_parser("embedded").parse([caption])[0]
    assert pairs <= graph.pairs()
    assert triples <= graph.triples()
