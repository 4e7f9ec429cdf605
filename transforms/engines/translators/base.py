"""The translator protocol, and specifications of translators.

`embedded:SRC-TGT`                 this package's small caption translators (`docs/model_cards/translators.md`)
`ctranslate2:PATH[#SRC:TGT]`       a CTranslate2 model folder with its SentencePiece files; languages for multilingual ones
`hf:OWNER/NAME[@REVISION][#SRC:TGT]`  an OPUS-MT or other Marian model of the Hugging Face hub, which `cmcl fetch` has converted
`fairseq:PATH[#SRC:TGT]`           a folder with a fairseq checkpoint, its dictionaries and its subword model
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from transforms.engines.registry import EngineError

ENGINES = ("embedded", "ctranslate2", "hf", "fairseq")


class TranslatorError(EngineError):
    """An unavailable translator: the text says what is missing and which command provides it; or a failure on a text."""


class Hypothesis(NamedTuple):
    """One translation; `score` is its log probability, divided by its length if the engine normalises (higher is better)."""

    text: str
    score: float


@dataclass(frozen=True)
class Decoding:
    """Decoding parameters.

    beam: beam size, 1 is greedy. n_best: hypotheses per text, at most `beam` unless sampled. top_k: 0: beam search; k > 0: sampling from
    the k likeliest tokens at `temperature`. max_length: maximum tokens of an output and of an input. batch_tokens: maximum tokens in a
    batch, including padding; bounds memory.
    """

    beam: int = 2
    n_best: int = 1
    top_k: int = 0
    temperature: float = 1.0
    max_length: int = 100
    batch_tokens: int = 2048

    def __post_init__(self) -> None:
        if not self.top_k and self.n_best > self.beam:
            raise ValueError(f"n_best {self.n_best} exceeds beam {self.beam}: beam search gives at most `beam` hypotheses")


class Translator(Protocol):
    """One direction of a model. Loaded once per process; calls are serialised."""

    @property
    def name(self) -> str:
        """The name stored as the origin of rewrites: engine and model, without its location."""

    @property
    def fingerprint(self) -> str:
        """A hash of weights, vocabulary, engine and versions: equal hashes give equal translations."""

    def translate(self, texts: Sequence[str], decoding: Decoding, seed: int = 0) -> list[list[Hypothesis]]:
        """Up to `n_best` translations of each text, best first; n texts give n lists.

        `seed` [0, 2**32) matters where `decoding` samples: the same texts in the same order give the same samples.
        Raises any exception where the engine fails; the caller may try a smaller batch.
        """

    def alone(self, decoding: Decoding) -> bool:
        """Whether a text's translations and their scores are, bit for bit, the same whatever texts are translated beside it."""


class Spec(NamedTuple):
    """A parsed specification; `source` and `target` are "" if it names no languages."""

    engine: str
    path: str
    source: str
    target: str


def parse_spec(spec: str) -> Spec:
    """Parses a specification. Raises TranslatorError, with the valid forms, if it is invalid."""
    engine, colon, rest = spec.partition(":")
    path, mark, pair = rest.rpartition("#") if "#" in rest else (rest, "", "")
    if engine not in ENGINES or not colon or not path:
        raise TranslatorError(
            f"translator {spec!r} is not one of: embedded:SRC-TGT, ctranslate2:PATH[#SRC:TGT], fairseq:PATH[#SRC:TGT], "
            "hf:OWNER/NAME[@REVISION][#SRC:TGT]"
        )
    if engine == "embedded":
        if mark or not re.fullmatch("[a-z]{2,3}-[a-z]{2,3}", path):  # a real path could point outside the package
            raise TranslatorError(f"translator {spec!r}: embedded ones are named by their languages, e.g. embedded:en-de")
        source, _, target = path.partition("-")
        return Spec(engine, path, source, target)
    source, _, target = pair.partition(":")
    if mark and not (source and target):
        raise TranslatorError(f"translator {spec!r}: languages are given as #SRC:TGT, e.g. #eng_Latn:deu_Latn")
    return Spec(engine, path, source, target)
