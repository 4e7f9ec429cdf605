"""`transforms.engines.registry`: every kind of model is loaded once, even by concurrent threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import CmclError
from transforms.engines.detectors import load as detectors
from transforms.engines.detectors.settings import DetectorSettings
from transforms.engines.encoders.sentence import sentence_encoder
from transforms.engines.parsers import load as parsers
from transforms.engines.registry import EngineError, file_digest, folder_digest, forget_engines, loaded_once, require
from transforms.engines.translators.load import translator


def slowly(counted: list[Any], load: Callable[..., Any]) -> Callable[..., Any]:
    def loading(*args: Any, **kwargs: Any) -> Any:
        counted.append(args)
        time.sleep(0.2)  # a second thread would enter here
        return load(*args, **kwargs)

    return loading


def ask_at_once(get: Callable[[], Any], threads: int = 2) -> list[Any]:
    gate, found = threading.Barrier(threads), []

    def ask() -> None:
        gate.wait()
        found.append(get())

    asking = [threading.Thread(target=ask) for _ in range(threads)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    return found


@pytest.fixture(autouse=True)
def nothing_loaded():
    forget_engines()
    yield
    forget_engines()


def _parsers(monkeypatch: pytest.MonkeyPatch, counted: list[Any]) -> Callable[[], Any]:
    monkeypatch.setattr(parsers, "load_pipeline", slowly(counted, parsers.load_pipeline))
    return lambda: parsers.caption_parser("embedded")


def _translators(monkeypatch: pytest.MonkeyPatch, counted: list[Any]) -> Callable[[], Any]:
    ctranslate2 = pytest.importorskip("ctranslate2")
    monkeypatch.setattr(ctranslate2, "Translator", slowly(counted, ctranslate2.Translator))
    return lambda: translator("embedded:en-de")


def _encoders(monkeypatch: pytest.MonkeyPatch, counted: list[Any]) -> Callable[[], Any]:
    library = pytest.importorskip("sentence_transformers")
    monkeypatch.setattr(library, "SentenceTransformer", slowly(counted, library.SentenceTransformer))
    return lambda: sentence_encoder("embedded")


def _detectors(monkeypatch: pytest.MonkeyPatch, counted: list[Any]) -> Callable[[], Any]:
    pytest.importorskip("torchvision")
    monkeypatch.setattr(detectors, "load_embedded", slowly(counted, detectors.load_embedded))
    return lambda: detectors.detector(DetectorSettings())


@pytest.mark.parametrize("kind", [_parsers, _translators, _encoders, _detectors])
def test_two_threads_load_one_model_once(kind: Callable[..., Any], monkeypatch: pytest.MonkeyPatch):
    counted: list[Any] = []
    first, second = ask_at_once(kind(monkeypatch, counted))
    assert first is second and len(counted) == 1


def test_defaults_and_keywords_are_the_same_arguments():
    made: list[int] = []
    load = loaded_once(lambda spec, threads=1: made.append(threads) or object())
    assert load("a") is load("a", 1) is load(spec="a", threads=1)
    assert load("a", 2) is not load("a") and made == [1, 2]


def test_a_failed_load_is_tried_again():
    tries: list[int] = []

    def load() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise EngineError("no room")
        return "model"

    once = loaded_once(load)
    with pytest.raises(EngineError, match="no room"):
        once()
    assert once() == once() == "model" and len(tries) == 2


def test_a_model_may_load_another():
    inner = loaded_once(lambda: "weights")
    outer = loaded_once(lambda: f"{inner()} loaded")
    assert ask_at_once(outer) == ["weights loaded"] * 2


def test_digests_follow_the_files(tmp_path: Path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"a" * 10)
    first, folder = file_digest(path), folder_digest(tmp_path, ["model.bin"])
    path.write_bytes(b"b" * 11)
    assert file_digest(path) != first and folder_digest(tmp_path, ["model.bin"]) != folder


def test_a_missing_package_is_named_with_its_command():
    require("json", "this test", "never")
    with pytest.raises(EngineError, match="this test requires the package no_such_package: run `pip install it`"):
        require("no_such_package", "this test", "pip install it")
    assert issubclass(EngineError, CmclError) and issubclass(EngineError, ValueError)
