"""Conversion to CTranslate2: what it overwrites and what it does not, and clear errors."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("ctranslate2", reason="translators need CTranslate2: pip install 'cmcl[translate]'")
pytest.importorskip("transformers")

from tests.transforms.engines.translators.help import marian_folder, scene_captions
from transforms.engines.translators import convert
from transforms.engines.translators.base import TranslatorError
from transforms.engines.translators.load import check_spec


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return marian_folder(tmp_path_factory.mktemp("marian") / "hf", scene_captions(60))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


def test_missing_files_are_named(tmp_path, capsys):
    source = tmp_path / "source"
    source.mkdir()
    (source / "source.spm").write_bytes(b"")
    (source / "target.spm").write_bytes(b"")
    assert convert.main(["marian", str(source), str(tmp_path / "out")]) == 1
    assert "neither decoder.yml (OPUS-MT) nor config.json" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [source]


def test_an_empty_folder_and_a_converted_model_are_replaced(source, tmp_path):
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    convert.convert_marian(source, out)
    (out / "shared_vocabulary.json").unlink()
    (out / "source_vocabulary.txt").touch()
    convert.convert_marian(source, out, "int8")
    check_spec(f"ctranslate2:{out}")
    assert not (out / "source_vocabulary.txt").exists()
    assert list(out.parent.iterdir()) == [out]
    (out / "notes.txt").write_text("of somebody who keeps them beside the model")
    before = contents(tmp_path)
    with pytest.raises(TranslatorError, match="notes.txt"):
        convert.convert_marian(source, out)
    assert contents(tmp_path) == before


def test_other_folders_and_files_are_left_alone(source, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years")
    (tmp_path / "file").write_text("this too")
    before = contents(tmp_path)
    for name in ("home", "file"):
        with pytest.raises(TranslatorError, match=f"{name} already exists and is not just a converted model"):
            convert.convert_marian(source, tmp_path / name)
    assert contents(tmp_path) == before


def test_the_source_is_not_overwritten(source, tmp_path):
    folder = Path(shutil.copytree(source, tmp_path / "a" / "m"))
    (tmp_path / "link").symlink_to(folder)
    before = contents(folder)
    for out in (folder, folder / "out", folder.parent, folder / ".." / "m", tmp_path / "link"):
        with pytest.raises(TranslatorError, match="must be a separate folder"):
            convert.convert_marian(folder, out)
    assert contents(folder) == before


@pytest.mark.parametrize("point", ["convert", "copy", "place"])
def test_a_failed_conversion_leaves_the_model_of_before(source, tmp_path, monkeypatch, point):
    out = tmp_path / "out"
    convert.convert_marian(source, out)
    before = contents(out)
    if point == "convert":
        from ctranslate2.converters import TransformersConverter as broken

        monkeypatch.setattr(broken, "convert", _fail)
    elif point == "copy":
        monkeypatch.setattr(shutil, "copyfile", _fail)
    else:
        rename = Path.rename
        monkeypatch.setattr(Path, "rename", lambda path, to: _fail() if path.name == "model" else rename(path, to))
    with pytest.raises(TranslatorError, match="cannot be converted: NotImplementedError: not this one"):
        convert.convert_marian(source, out, "int8")
    assert contents(out) == before
    assert list(tmp_path.iterdir()) == [out]


def _fail(*args, **settings):
    raise NotImplementedError("not this one")


def test_broken_sources_are_named(source, tmp_path, capsys):
    folder = Path(shutil.copytree(source, tmp_path / "m"))
    for name, text in (("config.json", "{"), ("decoder.yml", "a: [")):
        (folder / name).write_text(text)
        assert convert.main(["marian", str(folder), str(tmp_path / "out")]) == 1
        assert "m cannot be converted: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [folder]
