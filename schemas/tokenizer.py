"""A corpus's tokenizer, stored with its tables: SentencePiece, byte-level BPE (GPT-2, RoBERTa) or WordPiece (BERT).

Special tokens have ids, but text is never parsed as one: "[MASK]" in a caption is plain text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.errors import CorpusError

SENTENCEPIECE, BYTE_BPE, WORDPIECE = ("sentencepiece.model",), ("vocab.json", "merges.txt"), ("vocab.txt", "tokenizer.json")
SPECIAL = {"cls": ("<s>", "[CLS]"), "pad": ("<pad>", "[PAD]"), "sep": ("</s>", "[SEP]"), "unk": ("<unk>", "[UNK]"),
           "mask": ("<mask>", "[MASK]")}  # fmt: skip


class Tokenizer:
    """Encodes texts as ids and decodes them, using the files that the stage `tokenizer` wrote.

    cls, pad, sep, unk, mask: ids of the special tokens. size: number of ids. sha256: of the files.

    Raises CorpusError when the files are of an unknown kind or damaged, or a special token is missing; ImportError, with the install
    command, when the required package is missing.
    """

    cls: int
    pad: int
    sep: int
    unk: int
    mask: int

    def __init__(self, held: Mapping[str, bytes]):
        self._held = dict(held)
        digest = hashlib.sha256()
        for name in sorted(self._held):
            digest.update(f"{name}\0{len(self._held[name])}\0".encode() + self._held[name])
        self.sha256 = digest.hexdigest()
        pieces = {piece: number for number, piece in enumerate(self.pieces)}
        self.size = len(self.pieces)
        for role, names in SPECIAL.items():
            found = [pieces[name] for name in names if name in pieces]
            if not found:
                raise CorpusError(f"the vocabulary has no {' or '.join(names)}, which training requires")
            setattr(self, role, found[0])

    @classmethod
    def of(cls, table: pa.Table) -> Tokenizer:
        """The tokenizer of a `tokenizer` table."""
        return cls(dict(zip(table["file"].to_pylist(), table["data"].to_pylist(), strict=True)))

    def table(self) -> pa.Table:
        """The `tokenizer` table, whose schema is `schemas.tokens.TOKENIZER`."""
        from schemas.tokens import TOKENIZER

        return pa.table({"file": sorted(self._held), "data": [self._held[name] for name in sorted(self._held)]}, schema=TOKENIZER)

    @cached_property
    def pieces(self) -> list[str]:
        """The pieces in the order of their ids."""
        model = self._model
        if tuple(self._held) == SENTENCEPIECE:
            return [model.id_to_piece(number) for number in range(model.get_piece_size())]
        vocabulary = model.get_vocab()
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise CorpusError("the vocabulary's ids are not consecutive from 0")
        return sorted(vocabulary, key=vocabulary.__getitem__)

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text, int32 [length], without special tokens."""
        rows = self._encode([text.encode("utf-8", "replace").decode() for text in texts]) if texts else []
        return [np.array(row, np.int32) for row in rows]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a sequence of ids; special tokens are left out."""
        special = {getattr(self, role) for role in SPECIAL}
        return str(self._model.decode([int(number) for number in ids if int(number) not in special]))

    @cached_property
    def _encode(self) -> Callable[[list[str]], list[list[int]]]:
        model = self._model
        if tuple(self._held) == SENTENCEPIECE:
            return lambda texts: model.encode(texts)
        return lambda texts: [found.ids for found in model.encode_batch(texts, add_special_tokens=False)]

    @cached_property
    def _model(self) -> Any:
        builders = {SENTENCEPIECE: _sentencepiece, BYTE_BPE: _byte_bpe, WORDPIECE: _wordpiece}
        builder = next((build for names, build in builders.items() if set(names) == set(self._held)), None)
        if builder is None:
            raise CorpusError(f"not the files of a known tokenizer: {', '.join(sorted(self._held))}")
        try:
            return builder(self._held)
        except ModuleNotFoundError as error:
            raise ImportError(f"the tokenizer requires the package {error.name}: run `pip install 'cmcl[train]'`") from error
        except (ValueError, KeyError, RuntimeError, OSError, AttributeError) as error:
            raise CorpusError(f"the files of the tokenizer are damaged: {error}") from error


def _sentencepiece(held: Mapping[str, bytes]) -> Any:
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_proto=held["sentencepiece.model"])


def _lines(content: bytes) -> list[str]:
    """The lines of a vocabulary file; U+2028, U+0085 and the like are pieces, not ends of lines. Raises UnicodeDecodeError."""
    return [line.removesuffix("\r") for line in content.decode().removesuffix("\n").split("\n")]


def _byte_bpe(held: Mapping[str, bytes]) -> Any:
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    lines = [line.split() for line in _lines(held["merges.txt"]) if line and not line.startswith("#version")]
    if any(len(line) != 2 for line in lines):
        raise ValueError("merges.txt must have two pieces per line")
    vocabulary = json.loads(held["vocab.json"])
    found = tokenizers.Tokenizer(models.BPE(vocabulary, [(line[0], line[1]) for line in lines]))
    found.pre_tokenizer, found.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return found


def _wordpiece(held: Mapping[str, bytes]) -> Any:
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    vocabulary = {piece: number for number, piece in enumerate(_lines(held["vocab.txt"]))}
    found = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    found.normalizer = normalizers.BertNormalizer(lowercase=json.loads(held["tokenizer.json"])["lowercase"])
    found.pre_tokenizer, found.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    return found
