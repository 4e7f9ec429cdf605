"""What the stages want of a translator, and how one is named.

`embedded:SRC-TGT`                 the small caption translators of this package (`docs/model_cards/translators.md`)
`ctranslate2:PATH[#SRC:TGT]`       a CTranslate2 model folder with its SentencePiece files; languages for multilingual ones
`fairseq:PATH[#SRC:TGT]`           a folder with a fairseq checkpoint, its dictionaries and its subword model
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from transforms.engines.registry import EngineError

ENGINES = ("embedded", "ctranslate2", "fairseq")


class TranslatorError(EngineError):
    """A translator that cannot be had, with what is missing and the command that supplies it; or one that fails on a text."""


class Hypothesis(NamedTuple):
    """One translation; `score` is its log probability, divided by its length where the engine normalises (higher is better)."""

    text: str
    score: float


@dataclass(frozen=True)
class Decoding:
    """How translations are searched for.

    beam: width of the search, 1 is greedy. n_best: hypotheses a text, at most `beam` unless sampled. top_k: 0 searches; k > 0 samples
    among the k likeliest tokens at `temperature`. max_length: tokens of an output, and of an input. batch_tokens: tokens of a batch,
    padding included; it bounds memory.
    """

    beam: int = 2
    n_best: int = 1
    top_k: int = 0
    temperature: float = 1.0
    max_length: int = 100
    batch_tokens: int = 2048

    def __post_init__(self) -> None:
        if not self.top_k and self.n_best > self.beam:
            raise ValueError(f"n_best {self.n_best} is above beam {self.beam}: a search keeps no more hypotheses than its beam")


class Translator(Protocol):
    """One direction of one model. Loaded once in a process; takes one caller at a time."""

    @property
    def name(self) -> str:
        """What rewrites name as their origin: engine and model, without the place where it lies."""

    @property
    def fingerprint(self) -> str:
        """A hash of weights, vocabulary, engine and versions: the same, the same translations."""

    def translate(self, texts: Sequence[str], decoding: Decoding, seed: int = 0) -> list[list[Hypothesis]]:
        """Up to `n_best` translations of each text, best first; n texts give n lists.

        `seed` [0, 2**32) matters where `decoding` samples: the same texts in the same order give the same samples.
        Raises any exception where the engine fails; the caller may try a smaller batch.
        """


class Spec(NamedTuple):
    """A specification taken apart; `source` and `target` are "" where it names no languages."""

    engine: str
    path: str
    source: str
    target: str


def parse_spec(spec: str) -> Spec:
    """Takes a specification apart. Raises TranslatorError, naming what is allowed, when it is none."""
    engine, colon, rest = spec.partition(":")
    place, mark, pair = rest.rpartition("#") if "#" in rest else (rest, "", "")
    if engine not in ENGINES or not colon or not place:
        raise TranslatorError(f"translator {spec!r} is none of: embedded:SRC-TGT, ctranslate2:PATH[#SRC:TGT], fairseq:PATH[#SRC:TGT]")
    if engine == "embedded":
        if mark or not re.fullmatch("[a-z]{2,3}-[a-z]{2,3}", place):  # no path: one would name folders outside the package
            raise TranslatorError(f"translator {spec!r}: an embedded one is named by its languages, as embedded:en-de")
        source, _, target = place.partition("-")
        return Spec(engine, place, source, target)
    source, _, target = pair.partition(":")
    if mark and not (source and target):
        raise TranslatorError(f"translator {spec!r}: languages are named as #SRC:TGT, such as #eng_Latn:deu_Latn")
    return Spec(engine, place, source, target)
