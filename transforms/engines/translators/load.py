"""Loads translators by specification, once per process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transforms.engines.models import fetched
from transforms.engines.registry import loaded_once
from transforms.engines.translators.base import Spec, Translator, TranslatorError, parse_spec
from transforms.engines.translators.ctranslate import CTranslate2Translator, check_folder, folder_fingerprint

EMBEDDED = Path(__file__).parent / "embedded"


def embedded_pairs() -> list[str]:
    """The directions included in the package, e.g. en-de."""
    return sorted(path.parent.name for path in EMBEDDED.glob("*/model.bin"))


def _folder(spec: Spec) -> Path:
    if spec.engine == "hf":
        return fetched(spec.path, TranslatorError)
    if spec.engine != "embedded":
        folder = Path(spec.path)
        if not folder.is_dir():
            raise TranslatorError(f"translator {spec.engine}:{spec.path}: folder not found: {spec.path}")
        return folder
    folder = EMBEDDED / spec.path
    if not (folder / "model.bin").is_file():
        raise TranslatorError(
            f"no embedded translator {spec.path}; available: {', '.join(embedded_pairs()) or 'none'} (in {EMBEDDED}); "
            "use ctranslate2:PATH for your own"
        )
    return folder


def _languages(spec: Spec) -> tuple[str, str]:
    return ("", "") if spec.engine == "embedded" else (spec.source, spec.target)


def check_spec(text: str) -> None:
    """Raises TranslatorError if the specification is invalid or its translator unavailable. Loads nothing."""
    spec = parse_spec(text)
    folder = _folder(spec)
    if spec.engine == "fairseq":
        from transforms.engines.translators.fairseq_engine import check_checkpoint

        check_checkpoint(folder, spec.source, spec.target)
    else:
        check_folder(folder, *_languages(spec))


def spec_fingerprint(text: str, compute_type: str) -> str:
    """The fingerprint of a specification's translator, without loading it. Raises as `check_spec` does."""
    check_spec(text)
    spec = parse_spec(text)
    if spec.engine == "fairseq":
        from transforms.engines.translators.fairseq_engine import checkpoint_fingerprint

        return checkpoint_fingerprint(_folder(spec), spec.source, spec.target)
    return folder_fingerprint(_folder(spec), *_languages(spec), compute_type)


def name_of(text: str) -> str:
    """The name of a specification in origins: without the parents of the model's folder."""
    spec = parse_spec(text)
    pair = f"#{spec.source}:{spec.target}" if spec.engine != "embedded" and spec.target else ""
    return f"{spec.engine}:{Path(spec.path).name}{pair}"


@loaded_once
def translator(text: str, compute_type: str = "default", threads: int = 1) -> Translator:
    """The translator of a specification; the same object for equal arguments throughout a process.

    Raises TranslatorError, naming what is missing and how to get it, if it is unavailable.
    """
    spec = parse_spec(text)
    folder = _folder(spec)
    if spec.engine == "fairseq":
        from transforms.engines.translators.fairseq_engine import FairseqTranslator

        kind: Any = FairseqTranslator
        return kind(folder, name_of(text), spec.source, spec.target, threads)
    return CTranslate2Translator(folder, name_of(text), *_languages(spec), compute_type=compute_type, threads=threads)
