"""Converts fairseq and Marian checkpoints to folders for `ctranslate2:PATH`.

    python -m transforms.engines.translators.convert fairseq SRC OUT [--quantization int8] [--languages en:de]
    python -m transforms.engines.translators.convert marian SRC OUT [--quantization int8]

fairseq: SRC contains a checkpoint (.pt), dict.SRC.txt and dict.TGT.txt, and the subword model. marian: SRC is an OPUS-MT folder as
published (decoder.yml and .npz) or as saved by transformers (config.json). CTranslate2 does the conversion; the subword files are copied.
OUT is created only when complete. An existing folder is replaced only if it is empty or contains nothing but a converted model.
Checkpoints are read with `weights_only=True`, and their settings are rebuilt (`fairseq_engine`): no code in them is executed.
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

    Raises TranslatorError if something is missing or cannot be converted, `fairseq_engine` does not accept the checkpoint, or `out` must
    not be replaced.
    """
    from transforms.engines.translators.fairseq_engine import read_checkpoint, require_fairseq, safely

    require_fairseq(f"converting {source}")
    converters = _converters()
    with _replacing(source, out) as work:
        import torch

        state = read_checkpoint(source, *languages)
        pair = state["args"].source_lang, state["args"].target_lang
        torch.save(state, work / "checkpoint.pt")  # the converter reads only this: the original's settings might execute code
        converter = converters.FairseqConverter(str(work / "checkpoint.pt"), str(source), source_lang=pair[0], target_lang=pair[1])
        with safely(source):
            converter.convert(str(work / "model"), quantization=quantization)
        (work / "model" / SIDECAR).write_text(json.dumps({"source": pair[0], "target": pair[1]}) + "\n", encoding="utf-8")


def convert_marian(source: Path, out: Path, quantization: str | None = None) -> None:
    """Converts a Marian model, from OPUS-MT or transformers.

    Raises TranslatorError if a file is missing or cannot be converted, or `out` must not be replaced.
    """
    converters = _converters()
    with _replacing(source, out) as work:
        if (source / "decoder.yml").is_file():
            converter = converters.OpusMTConverter(str(source))
        elif (source / "config.json").is_file():
            converter = converters.TransformersConverter(str(source))
        else:
            raise TranslatorError(f"{source} contains neither decoder.yml (OPUS-MT) nor config.json (transformers)")
        converter.convert(str(work / "model"), quantization=quantization)


def _converters() -> Any:
    try:
        from ctranslate2 import converters
    except ImportError as error:
        raise TranslatorError(f"conversion requires CTranslate2 ({error}): run `{INSTALL}`") from error
    return converters


@contextmanager
def _replacing(source: Path, out: Path) -> Iterator[Path]:
    """A scratch folder next to `out`; if the block succeeds, its subfolder `model` becomes `out`, with the subword files.

    Raises TranslatorError for any failure, and before the block if `out` contains anything but a converted model, or if one of `out` and
    `source` is inside the other.
    """
    names = subword_files(source)
    origin, goal = source.resolve(), out.resolve()
    if origin == goal or origin in goal.parents or goal in origin.parents:
        raise TranslatorError(f"{source} would be overwritten: OUT ({out}) must be a separate folder")
    _check_replaceable(out)
    try:
        goal.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{goal.name}.", dir=goal.parent) as scratch:
            work = Path(scratch)
            yield work
            for name in names:
                shutil.copyfile(source / name, work / "model" / name)
            _check_replaceable(out)  # it may have been filled in the meantime
            if goal.exists():
                goal.rename(work / "before")
            try:
                (work / "model").rename(goal)
            except BaseException:
                if (work / "before").exists():
                    (work / "before").rename(goal)
                raise
    except TranslatorError:
        raise
    except Exception as error:
        raise TranslatorError(f"{source} cannot be converted: {type(error).__name__}: {error}") from error


def _check_replaceable(out: Path) -> None:
    """Raises TranslatorError if `out` contains anything but the files of a converted model, since all of it would be removed."""
    if not os.path.lexists(out):
        return
    names = {*SEPARATE, *JOINT, *CODES, SIDECAR, "config.json", "model.bin"}
    held = files.entries(str(out)) if out.is_dir() and not out.is_symlink() else [files.Entry(out.name, "other", 0)]
    foreign = [entry.name for entry in held if entry.kind != "file" or not (entry.name in names or _VOCABULARY.fullmatch(entry.name))]
    if foreign or (held and "model.bin" not in {entry.name for entry in held}):
        raise TranslatorError(
            f"{out} already exists and is not just a converted model ({(foreign or ['no model.bin'])[0]}): choose "
            "another folder, or remove it"
        )


def main(arguments: list[str] | None = None) -> int:
    """Runs the conversion; returns 0, or 1 after printing an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("fairseq", "marian"))
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quantization", choices=QUANTIZATIONS, default="int8")
    parser.add_argument("--languages", default="", help="SRC:TGT, if the folder has dictionaries for more than two languages")
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
