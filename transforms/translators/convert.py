"""Checkpoints of fairseq and Marian to folders that `ctranslate2:PATH` takes.

    python -m transforms.translators.convert fairseq SRC OUT [--quantization int8] [--languages en:de]
    python -m transforms.translators.convert marian SRC OUT [--quantization int8]

fairseq: SRC holds a checkpoint (.pt), dict.SRC.txt and dict.TGT.txt, and the subword model. marian: SRC is OPUS-MT's folder as published
(decoder.yml and .npz) or as transformers keeps it (config.json). The conversion is CTranslate2's own; the subword files are copied along.
Checkpoints are read with `weights_only=True`: no code in them runs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from transforms.translators.base import TranslatorError
from transforms.translators.ctranslate import INSTALL
from transforms.translators.subwords import SIDECAR, subword_files

QUANTIZATIONS = ("int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16", "float32")


def convert_fairseq(source: Path, out: Path, quantization: str | None = None, languages: tuple[str, str] = ("", "")) -> None:
    """Converts a fairseq checkpoint folder. Raises TranslatorError when something is missing, or the checkpoint holds more than data."""
    from transforms.translators.fairseq_engine import checkpoint_of, languages_in, needs_fairseq, safely

    needs_fairseq(f"converting {source}")
    converters = _converters()
    names = subword_files(source)
    pair = languages_in(source, *languages)
    with safely(source):
        converter = converters.FairseqConverter(str(checkpoint_of(source)), str(source), source_lang=pair[0], target_lang=pair[1])
        converter.convert(str(out), quantization=quantization, force=True)
    _copy(source, out, names)
    (out / SIDECAR).write_text(json.dumps({"source": pair[0], "target": pair[1]}) + "\n", encoding="utf-8")


def convert_marian(source: Path, out: Path, quantization: str | None = None) -> None:
    """Converts a Marian model, of OPUS-MT or of transformers. Raises TranslatorError when a file is missing."""
    converters = _converters()
    names = subword_files(source)
    try:
        if (source / "decoder.yml").is_file():
            converter = converters.OpusMTConverter(str(source))
        elif (source / "config.json").is_file():
            converter = converters.TransformersConverter(str(source))
        else:
            raise TranslatorError(f"{source} holds neither decoder.yml (OPUS-MT) nor config.json (transformers)")
        converter.convert(str(out), quantization=quantization, force=True)
    except (OSError, ImportError) as error:
        raise TranslatorError(f"{source} cannot be converted: {error}") from error
    _copy(source, out, names)


def _converters():  # type: ignore[no-untyped-def]
    try:
        from ctranslate2 import converters
    except ImportError as error:
        raise TranslatorError(f"conversion needs CTranslate2 ({error}): run `{INSTALL}`") from error
    return converters


def _copy(source: Path, out: Path, names: tuple[str, ...]) -> None:
    for name in names:
        shutil.copyfile(source / name, out / name)


def main(arguments: list[str] | None = None) -> int:
    """Converts; returns 0, or 1 with a message when it cannot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("fairseq", "marian"))
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quantization", choices=QUANTIZATIONS, default="int8")
    parser.add_argument("--languages", default="", help="SRC:TGT, where the folder holds dictionaries of more than two languages")
    options = parser.parse_args(arguments)
    source, _, target = options.languages.partition(":")
    try:
        if options.kind == "fairseq":
            convert_fairseq(options.source, options.out, options.quantization, (source, target))
        else:
            convert_marian(options.source, options.out, options.quantization)
    except TranslatorError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{options.out}: use it as ctranslate2:{options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
