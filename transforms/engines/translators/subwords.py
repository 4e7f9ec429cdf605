"""Converts texts to subword tokens and back, using the files in a model's folder.

`source.spm`, `target.spm`         SentencePiece, one model per side (Marian, OPUS-MT)
`sentencepiece.bpe.model`, ...     SentencePiece, one model for both sides (NLLB, M2M-100, our own fairseq models)
`bpecodes`                         fastBPE over Moses tokens (fairseq's transformer.wmt19)
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from transforms.engines.translators.base import TranslatorError

SEPARATE = ("source.spm", "target.spm")
JOINT = ("sentencepiece.bpe.model", "sentencepiece.model", "spm.model", "sentencepiece.spm")
CODES = ("bpecodes", "bpe.codes")
SIDECAR = "translator.json"  # {"source", "target"}: Moses languages, {"before"}: tokens to prepend to every source text
_INSTALL = {"sentencepiece": "pip install 'cmcl[translate]'", "sacremoses": "pip install 'cmcl[fairseq]'"}


class Subwords(Protocol):
    """Splits source texts into tokens and joins target tokens."""

    def encode(self, texts: Sequence[str]) -> list[list[str]]:
        """The tokens of each text, without special ones."""

    def decode(self, rows: Sequence[list[str]]) -> list[str]:
        """The text of each row of target tokens."""


def need(package: str, what: str) -> None:
    """Raises TranslatorError, with the command that installs it, if a package is missing."""
    if importlib.util.find_spec(package) is None:
        raise TranslatorError(f"{what} requires the package {package}: run `{_INSTALL[package]}`")


class SentencePieces:
    """SentencePiece subwords. Raises TranslatorError if a file is not a SentencePiece model."""

    def __init__(self, source: Path, target: Path):
        import sentencepiece

        self._models = []
        for path in (source, target):
            try:
                self._models.append(sentencepiece.SentencePieceProcessor(model_file=str(path)))
            except (RuntimeError, OSError) as error:
                raise TranslatorError(f"{path} is not a SentencePiece model: {error}") from error

    def encode(self, texts: Sequence[str]) -> list[list[str]]:
        """The pieces of each text."""
        found: list[list[str]] = self._models[0].encode(list(texts), out_type=str)
        return found

    def decode(self, rows: Sequence[list[str]]) -> list[str]:
        """The text of each row of pieces."""
        joined: list[str] = self._models[1].decode_pieces(list(rows)) if rows else []
        return joined


class MosesBpe:
    """Moses tokens (sacremoses) split by fastBPE codes: lines of two symbols and a count, a word's last symbol ending in </w>."""

    def __init__(self, codes: Path, source: str, target: str):
        import sacremoses

        self._tokenizer = sacremoses.MosesTokenizer(lang=source)
        self._detokenizer = sacremoses.MosesDetokenizer(lang=target)
        lines = codes.read_text(encoding="utf-8").splitlines()
        pairs = [tuple(line.split()[:2]) for line in lines if line and not line.startswith("#version")]
        self._ranks = {pair: rank for rank, pair in reversed(list(enumerate(pairs))) if len(pair) == 2}
        self._cut = lru_cache(maxsize=1 << 16)(self._pieces)

    def _pieces(self, word: str) -> tuple[str, ...]:
        """The word's pieces, all but the last ending in @@: merges the best-ranked pair until none is left."""
        symbols = [*word[:-1], word[-1] + "</w>"]
        while len(symbols) > 1:
            ranked = [(self._ranks.get(pair, len(self._ranks)), pair) for pair in zip(symbols, symbols[1:], strict=False)]
            rank, best = min(ranked, key=lambda found: found[0])
            if rank == len(self._ranks):
                break
            merged, at = [], 0
            while at < len(symbols):
                if tuple(symbols[at : at + 2]) == best:
                    merged.append("".join(best))
                    at += 2
                else:
                    merged.append(symbols[at])
                    at += 1
            symbols = merged
        symbols[-1] = symbols[-1].removesuffix("</w>")
        return tuple(symbol + "@@" for symbol in symbols[:-1]) + (symbols[-1],)

    def encode(self, texts: Sequence[str]) -> list[list[str]]:
        """The pieces of each text, tokenised like fairseq's `moses`: dashes split, XML characters escaped."""
        return [
            [piece for word in self._tokenizer.tokenize(text, aggressive_dash_splits=True) for piece in self._cut(word)] for text in texts
        ]

    def decode(self, rows: Sequence[list[str]]) -> list[str]:
        """The text of each row of pieces."""
        return [self._detokenizer.detokenize((" ".join(row) + " ").replace("@@ ", "").split()) for row in rows]


def subword_files(folder: Path) -> tuple[str, ...]:
    """The names of the folder's subword files. Raises TranslatorError, with the names it looks for, if there are none."""
    if all((folder / name).is_file() for name in SEPARATE):
        return SEPARATE
    for name in (*JOINT, *CODES):
        if (folder / name).is_file():
            return (name,)
    half = [name for name in SEPARATE if not (folder / name).is_file()]
    missing = half[0] if len(half) == 1 else f"source.spm and target.spm, nor any of {', '.join((*JOINT, *CODES))}"
    raise TranslatorError(
        f"{folder} has no {missing}: copy the model's SentencePiece or BPE files there, or convert the checkpoint with "
        "`python -m transforms.engines.translators.convert`, which does"
    )


def sidecar(folder: Path) -> dict[str, Any]:
    """The content of the folder's `translator.json`; empty without one. Raises TranslatorError if it is invalid."""
    path = folder / SIDECAR
    noted: dict[str, Any] = read_json(path, dict) if path.is_file() else {}
    before = noted.get("before", [])
    if not all(isinstance(noted.get(side, ""), str) for side in ("source", "target")) or not _are_texts(before):
        raise TranslatorError(f"{path}: source and target must be strings, and before a list of strings")
    return noted


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def read_texts(path: Path) -> list[str]:
    """A file's JSON list of strings. Raises TranslatorError if it is not one."""
    found: list[str] = read_json(path, list)
    if not _are_texts(found):
        raise TranslatorError(f"{path} is not a list of strings; convert the checkpoint again")
    return found


def read_json(path: Path, kind: type) -> Any:
    """The JSON in a file. Raises TranslatorError if it is invalid or not of the given type (dict or list)."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise TranslatorError(f"{path} is not valid JSON: {error}; convert the checkpoint again") from error
    if not isinstance(found, kind):
        raise TranslatorError(f"{path} is not a JSON {'object' if kind is dict else 'list'}")
    return found


def check_subwords(folder: Path, source: str, target: str) -> None:
    """Raises TranslatorError if the folder's subword files, a package or required languages are missing. Loads nothing."""
    codes = subword_files(folder)[0] in CODES
    need("sacremoses" if codes else "sentencepiece", f"{folder}")
    if codes and not (source and target):
        raise TranslatorError(f"{folder}: Moses tokenisation requires the languages; append them to the path as #SRC:TGT")


def subwords_of(folder: Path, source: str, target: str) -> Subwords:
    """The subword model of a folder. Raises TranslatorError if files or packages are missing."""
    check_subwords(folder, source, target)
    names = subword_files(folder)
    if names[0] in CODES:
        return MosesBpe(folder / names[0], source, target)
    return SentencePieces(folder / names[0], folder / names[-1])
