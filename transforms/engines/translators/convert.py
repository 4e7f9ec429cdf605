"""Checkpoints of fairseq and Marian to folders that `ctranslate2:PATH` takes.

    python -m transforms.engines.translators.convert fairseq SRC OUT [--quantization int8] [--languages en:de]
    python -m transforms.engines.translators.convert marian SRC OUT [--quantization int8]

fairseq: SRC holds a checkpoint (.pt), dict.SRC.txt and dict.TGT.txt, and the subword model. marian: SRC is OPUS-MT's folder as published
(decoder.yml and .npz) or as transformers keeps it (config.json). The conversion is CTranslate2's own; the subword files are copied along.
OUT appears when it is whole. A folder that is there already is replaced only if it is empty, or holds a converted model and nothing else.
Checkpoints are read with `weights_only=True`, and their settings made anew (`fairseq_engine`): no code in them runs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas import files
from transforms.engines.translators.base import TranslatorError
from transforms.engines.translators.ctranslate import INSTALL
from transforms.engines.translators.subwords import CODES, JOINT, SEPARATE, SIDECAR, subword_files

_VOCABULARY = re.compile(r"(shared|source|target)_vocabulary\.(json|txt)")
QUANTIZATIONS = ("int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16", "float32")


def convert_fairseq(source: Path, out: Path, quantization: str | None = None, languages: tuple[str, str] = ("", "")) -> None:
    """Converts a fairseq checkpoint folder.

    Raises TranslatorError when something is missing or cannot be converted, the checkpoint is none that `fairseq_engine` takes, or `out`
    is none to write to.
    """
    from transforms.engines.translators.fairseq_engine import needs_fairseq, read_checkpoint, safely

    needs_fairseq(f"converting {source}")
    converters = _converters()
    with _placed(source, out) as work:
        import torch

        state = read_checkpoint(source, *languages)
        pair = state["args"].source_lang, state["args"].target_lang
        torch.save(state, work / "checkpoint.pt")  # the converter reads no other: settings of the original might run code
        converter = converters.FairseqConverter(str(work / "checkpoint.pt"), str(source), source_lang=pair[0], target_lang=pair[1])
        with safely(source):
            converter.convert(str(work / "model"), quantization=quantization)
        (work / "model" / SIDECAR).write_text(json.dumps({"source": pair[0], "target": pair[1]}) + "\n", encoding="utf-8")


def convert_marian(source: Path, out: Path, quantization: str | None = None) -> None:
    """Converts a Marian model, of OPUS-MT or of transformers.

    Raises TranslatorError when a file is missing or cannot be converted, or `out` is none to write to.
    """
    converters = _converters()
    with _placed(source, out) as work:
        if (source / "decoder.yml").is_file():
            converter = converters.OpusMTConverter(str(source))
        elif (source / "config.json").is_file():
            converter = converters.TransformersConverter(str(source))
        else:
            raise TranslatorError(f"{source} holds neither decoder.yml (OPUS-MT) nor config.json (transformers)")
        converter.convert(str(work / "model"), quantization=quantization)


def _converters() -> Any:
    try:
        from ctranslate2 import converters
    except ImportError as error:
        raise TranslatorError(f"conversion needs CTranslate2 ({error}): run `{INSTALL}`") from error
    return converters


@contextmanager
def _placed(source: Path, out: Path) -> Iterator[Path]:
    """A scratch folder beside `out`: what the block leaves under `model` in it becomes `out`, with the subword files, when it succeeds.

    Raises TranslatorError for whatever goes wrong, and before the block when `out` holds anything but a converted model, or `out` and
    `source` lie in each other.
    """
    names = subword_files(source)
    inside, place = source.resolve(), out.resolve()
    if inside == place or inside in place.parents or place in inside.parents:
        raise TranslatorError(f"{source} would be written over: OUT ({out}) must be a folder apart from it")
    _check_replaceable(out)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as scratch:
            work = Path(scratch)
            yield work
            for name in names:
                shutil.copyfile(source / name, work / "model" / name)
            _check_replaceable(out)  # it may have been filled meanwhile
            if place.exists():
                place.rename(work / "before")
            try:
                (work / "model").rename(place)
            except BaseException:
                if (work / "before").exists():
                    (work / "before").rename(place)
                raise
    except TranslatorError:
        raise
    except Exception as error:
        raise TranslatorError(f"{source} cannot be converted: {type(error).__name__}: {error}") from error


def _check_replaceable(out: Path) -> None:
    """Raises TranslatorError when `out` holds anything but the files of a converted model, for all that is in it would be removed."""
    if not os.path.lexists(out):
        return
    names = {*SEPARATE, *JOINT, *CODES, SIDECAR, "config.json", "model.bin"}
    held = files.entries(str(out)) if out.is_dir() and not out.is_symlink() else [files.Entry(out.name, "other", 0)]
    foreign = [entry.name for entry in held if entry.kind != "file" or not (entry.name in names or _VOCABULARY.fullmatch(entry.name))]
    if foreign or (held and "model.bin" not in {entry.name for entry in held}):
        raise TranslatorError(f"{out} is there already and is no converted model alone ({(foreign or ['no model.bin'])[0]}): name another "
                              "folder, or remove it")


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
