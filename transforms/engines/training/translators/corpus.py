"""Converts Multi30k to fairseq's input: one SentencePiece model for the three languages, one dictionary, and binarised folders."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

LANGUAGES = ("en", "de", "fr")
SPLITS = ("train", "val")
PIECES = 5000


def sentences(folder: Path, split: str, language: str) -> list[str]:
    """The captions of a split, one per line of `SPLIT.LANGUAGE`. Raises ValueError if the file is missing or empty."""
    path = folder / f"{split}.{language}"
    if not path.is_file():
        raise ValueError(f"{path} not found: Multi30k's train, val and test_2016_flickr are required as plain text, one caption per line")
    lines = path.read_text(encoding="utf-8").split("\n")
    if lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ValueError(f"{path} is empty")
    return lines


def parallel(folder: Path, split: str, languages: Sequence[str]) -> list[list[str]]:
    """The captions of a split in each language. Raises ValueError if their numbers differ."""
    found = [sentences(folder, split, language) for language in languages]
    if len({len(lines) for lines in found}) > 1:
        raise ValueError(
            f"{folder}: {split} has "
            + ", ".join(f"{len(lines)} lines in {language}" for language, lines in zip(languages, found, strict=True))
        )
    return found


def train_subwords(data: Path, out: Path, pieces: int = PIECES) -> None:
    """Trains and writes a SentencePiece model (byte-pair encoding, cased, full character coverage) on the training captions.

    Deterministic: the same captions give the same model.
    """
    import sentencepiece

    captions = parallel(data, "train", LANGUAGES)
    written = io.BytesIO()  # a file written by SentencePiece itself would contain this machine's paths
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=itertools.chain.from_iterable(captions),
        model_writer=written,
        vocab_size=pieces,
        model_type="bpe",
        character_coverage=1.0,
        num_threads=1,
        bos_id=-1,
        pad_id=-1,
        unk_id=0,
        eos_id=-1,
        shuffle_input_sentence=False,
        minloglevel=1,
    )
    scratch = out.with_name(out.name + ".tmp")
    scratch.write_bytes(written.getvalue())
    scratch.replace(out)


def write_dictionary(subwords: Path, out: Path) -> None:
    """Writes fairseq's dictionary of all pieces in the model's order, shared by all directions and languages."""
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(subwords))
    names = [model.id_to_piece(at) for at in range(model.get_piece_size()) if not model.is_unknown(at)]
    out.write_text("".join(f"{name} 1\n" for name in names), encoding="utf-8")


def cut(subwords: Path, texts: Sequence[str]) -> list[str]:
    """The pieces of each text, separated by spaces, as fairseq-preprocess expects."""
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(subwords))
    return [" ".join(pieces) for pieces in model.encode(list(texts), out_type=str)]


def binarise(data: Path, subwords: Path, dictionary: Path, pair: tuple[str, str], out: Path) -> None:
    """Writes fairseq's binarised folder of one direction. Raises RuntimeError with fairseq's output if it fails."""
    text = out.with_name(out.name + ".text")
    text.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        for language, lines in zip(pair, parallel(data, split, pair), strict=True):
            (text / f"{split}.{language}").write_text("\n".join(cut(subwords, lines)) + "\n", encoding="utf-8")
    fairseq(
        "preprocess",
        [
            "-s",
            pair[0],
            "-t",
            pair[1],
            "--trainpref",
            str(text / "train"),
            "--validpref",
            str(text / "val"),
            "--srcdict",
            str(dictionary),
            "--tgtdict",
            str(dictionary),
            "--destdir",
            str(out),
            "--workers",
            "1",
        ],
    )


def fairseq(command: str, arguments: list[str], environment: dict[str, str] | None = None, log: Path | None = None) -> None:
    """Runs fairseq-COMMAND in a separate process, logging to `log`. Raises RuntimeError with the end of its output if it fails."""
    program = [sys.executable, "-m", f"fairseq_cli.{command}", *arguments]
    done = subprocess.run(
        program, env=environment, stdout=subprocess.PIPE if log is None else log.open("ab"), stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        output = (done.stdout if log is None else log.read_bytes()).decode(errors="replace")
        raise RuntimeError(f"fairseq-{command} exited with status {done.returncode}: {output[-2000:]}")
