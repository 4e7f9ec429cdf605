"""Translators by specification, loaded once in a process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transforms.engines.registry import loaded_once
from transforms.engines.translators.base import Spec, Translator, TranslatorError, parse_spec
from transforms.engines.translators.ctranslate import CTranslate2Translator, check_folder, folder_fingerprint

EMBEDDED = Path(__file__).parent / "embedded"


def embedded_pairs() -> list[str]:
    """The directions that come with the package, such as en-de."""
    return sorted(path.parent.name for path in EMBEDDED.glob("*/model.bin"))


def _folder(spec: Spec) -> Path:
    if spec.engine != "embedded":
        folder = Path(spec.path)
        if not folder.is_dir():
            raise TranslatorError(f"translator {spec.engine}:{spec.path}: there is no folder {spec.path}")
        return folder
    folder = EMBEDDED / spec.path
    if not (folder / "model.bin").is_file():
        raise TranslatorError(f"no embedded translator {spec.path}; there are {', '.join(embedded_pairs()) or 'none'} (in {EMBEDDED}); "
                              "name one of your own as ctranslate2:PATH")
    return folder


def _languages(spec: Spec) -> tuple[str, str]:
    return ("", "") if spec.engine == "embedded" else (spec.source, spec.target)


def check_spec(text: str) -> None:
    """Raises TranslatorError when the specification names no translator that can be had here. Loads nothing."""
    spec = parse_spec(text)
    folder = _folder(spec)
    if spec.engine == "fairseq":
        from transforms.engines.translators.fairseq_engine import check_checkpoint

        check_checkpoint(folder, spec.source, spec.target)
    else:
        check_folder(folder, *_languages(spec))


def spec_fingerprint(text: str, compute_type: str) -> str:
    """The fingerprint of the translator of a specification, without loading it. Raises as `check_spec` does."""
    check_spec(text)
    spec = parse_spec(text)
    if spec.engine == "fairseq":
        from transforms.engines.translators.fairseq_engine import checkpoint_fingerprint

        return checkpoint_fingerprint(_folder(spec), spec.source, spec.target)
    return folder_fingerprint(_folder(spec), *_languages(spec), compute_type)


def name_of(text: str) -> str:
    """What a specification is called in origins: without the folders above the model's own."""
    spec = parse_spec(text)
    pair = f"#{spec.source}:{spec.target}" if spec.engine != "embedded" and spec.target else ""
    return f"{spec.engine}:{Path(spec.path).name}{pair}"


@loaded_once
def translator(text: str, compute_type: str = "default", threads: int = 1) -> Translator:
    """The translator of a specification; the same object for the same arguments throughout a process.

    Raises TranslatorError, naming what is missing and how to get it, when it cannot be had.
    """
    spec = parse_spec(text)
    folder = _folder(spec)
    if spec.engine == "fairseq":
        from transforms.engines.translators.fairseq_engine import FairseqTranslator

        kind: Any = FairseqTranslator
        return kind(folder, name_of(text), spec.source, spec.target, threads)
    return CTranslate2Translator(folder, name_of(text), *_languages(spec), compute_type=compute_type, threads=threads)
