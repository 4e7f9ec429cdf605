"""Tokenizer files: trained on a sample, or read from published vocabularies."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable

from schemas import files
from schemas.tokenizer import SPECIAL
from transforms.examples.tokens.settings import TokenSettings

_FAIRSEQ = ["<s>", "<pad>", "</s>", "<unk>"]  # fairseq puts these before the dictionary's lines, and <mask> after them
_LONGEST = 1 << 16  # maximum bytes per text that SentencePiece accepts


def read_vocabulary(settings: TokenSettings) -> dict[str, bytes]:
    """The files of a published vocabulary, by the names that `schemas.tokenizer.Tokenizer` expects; empty if one is to be trained.

    Raises ValueError, naming the file, if one is missing or malformed.
    """
    if settings.vocabulary is None:
        return {}
    if settings.kind == "sentencepiece":
        return {"sentencepiece.model": _read(settings.vocabulary)}
    if settings.kind == "wordpiece":
        return {"vocab.txt": _read(settings.vocabulary), "tokenizer.json": json.dumps({"lowercase": settings.lowercase}).encode()}
    assert settings.merges
    vocabulary = _json(settings.vocabulary)
    if settings.order:
        vocabulary = _renumbered(vocabulary, _read(settings.order).decode("utf-8", "replace").splitlines(), settings.order)
    elif not any(name in vocabulary for name in SPECIAL["cls"]):
        raise ValueError(
            f"{settings.vocabulary} has no special tokens: use RoBERTa's vocab.json, or set order to the file that "
            "renumbers the pieces (fairseq's dict.txt, UNIMO's vocab.txt)"
        )
    return {"vocab.json": json.dumps(vocabulary, ensure_ascii=True).encode(), "merges.txt": _read(settings.merges)}


def _read(url: str) -> bytes:
    try:
        with files.open_read(url) as file:
            return bytes(file.read())
    except OSError as error:
        raise ValueError(f"{url} cannot be read: {error.strerror or error}") from None


def _json(url: str) -> dict[str, int]:
    try:
        found = json.loads(_read(url))
    except ValueError as error:
        raise ValueError(f"{url} is not valid JSON: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(number, int) for number in found.values()):
        raise ValueError(f"{url} must contain a JSON object that maps pieces to numbers")
    return found


def _renumbered(vocabulary: dict[str, int], lines: list[str], where: str) -> dict[str, int]:
    """The pieces in the order of `lines`, each starting with a number from `vocabulary` or a piece of its own.

    UNIMO's file lists the special tokens; fairseq's dictionary has a count after each piece and implies them.
    Raises ValueError if a piece is duplicated.
    """
    piece_of = {str(number): piece for piece, number in vocabulary.items()}
    names = [line.split()[0] for line in lines if line.split()]
    if not any(name in names for name in SPECIAL["cls"]):
        names = [*_FAIRSEQ, *names, "<mask>"]
    found = {piece_of.get(name, name): number for number, name in enumerate(names)}
    if len(found) != len(names):
        raise ValueError(f"{where}: duplicate piece")
    return found


def train_sentencepiece(texts: Iterable[str], size: int, coverage: float = 1.0) -> bytes:
    """A SentencePiece unigram model with at most `size` pieces, covering the share `coverage` of all characters.

    Trained on a single thread, so the same texts give the same bytes.

    Raises ValueError if there are too few texts to train on.
    """
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            vocab_size=size,
            model_type="unigram",
            hard_vocab_limit=False,
            num_threads=1,
            shuffle_input_sentence=False,
            max_sentence_length=_LONGEST,
            bos_id=0,
            pad_id=1,
            eos_id=2,
            unk_id=3,
            character_coverage=coverage,
            control_symbols=["<mask>"],
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ValueError(f"SentencePiece cannot be trained on these captions and sentences: {error}") from error
    return model.getvalue()
