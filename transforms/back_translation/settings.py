"""Settings of back-translation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from transforms.core.params import NotFingerprinted, Params
from transforms.engines.translators.base import Decoding

LANGUAGE = "en"  # of the captions


class Pivot(Params):
    """A pair of translators, forward and back, by specification (`transforms/engines/translators/base.py`)."""

    name: str = Field(min_length=1, description="name of the pivot in rewrites, e.g. its language")
    forward: str = Field(
        description="translator from the captions' language: ctranslate2:PATH[#SRC:TGT], fairseq:PATH[#SRC:TGT], embedded:SRC-TGT"
    )
    back: str = Field(description="translator back to the captions' language")


class BackTranslationSettings(Params):
    """Settings of the translators, their search and the selection of positives.

    Raises pydantic.ValidationError, naming the key and the allowed values, on an unknown key or a value out of range.
    """

    # For fields marked NotFingerprinted, the engines' fingerprints are recorded instead.
    pivots: Annotated[tuple[str | Pivot, ...], NotFingerprinted()] = Field(
        ("de", "fr"), min_length=1, description="languages of the embedded translators, or {name, forward, back} with two translators"
    )
    positives: int = Field(3, ge=1, le=100, description="maximum number of positives per caption")
    # A noun that one forward translation gets wrong cannot be recovered, hence several.
    pivot_beam: int = Field(4, ge=1, le=64, description="beam width of the forward translation")
    pivot_texts: int = Field(3, ge=1, le=64, description="number of forward translations that are translated back")
    beam: int = Field(6, ge=1, le=64, description="beam width of the back-translation")
    n_best: int = Field(6, ge=1, le=64, description="number of back-translation hypotheses that are considered")
    top_k: int = Field(0, ge=0, le=10_000, description="0: beam search; k: sample from the k most likely tokens in the back-translation")
    temperature: float = Field(1.0, gt=0, le=10, description="sampling temperature")
    max_length: int = Field(100, ge=4, le=512, description="maximum number of tokens that a translator reads or writes per text")
    compute_type: Literal[
        "default", "auto", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16", "float32"
    ] = Field("default", description="CTranslate2's compute type; default: as the model was saved")
    threads: int = Field(1, ge=1, le=256, description="number of threads of a translator and of the sentence encoder")
    batch_tokens: int = Field(2048, ge=64, description="maximum number of tokens per translation batch, including padding")
    parser: Annotated[str, NotFingerprinted()] = Field("embedded", description="parser of captions and candidates, as for swaps")
    encoder: Annotated[str, NotFingerprinted()] = Field(
        "embedded", description="embedded (all-MiniLM-L6-v2), or sentence-transformers:PATH"
    )
    stand_ins: bool = Field(True, description="translate words that the translators know in place of words that they do not keep")
    min_kept: float = Field(
        0.5, ge=0, le=1, description="words that survive a smaller share of trial round trips are replaced by stand-ins"
    )
    vocabulary: int = Field(20_000, ge=0, description="number of the captions' most frequent words whose survival is measured")
    retry: bool = Field(
        True, description="translate captions that got no positive once more, with other stand-ins and twice as many first translations"
    )
    retry_top_k: int = Field(0, ge=0, le=10_000, description="k: sample in the second back-translation, as top_k does in the first")
    rewordings: bool = Field(True, description="add rule-based paraphrases to the candidates, of kind rewording")
    select: Literal["different", "nearest"] = Field(
        "different",
        description="different: positives that differ most, in words and syntax, from the caption and each other, spread over the pivots; "
        "nearest: the most similar ones",
    )
    min_similarity: float = Field(0.75, ge=-1, le=1, description="minimum cosine between a positive and its caption")
    min_change: float = Field(0.12, ge=0, le=1, description="minimum share of words that differ from the caption and from other positives")
    max_words: int = Field(50, ge=1, description="longer texts are not considered captions, and not translated")
    record_refusals: bool = Field(
        True, description="write a reject row for each refused candidate (several per caption); false: only count them"
    )

    @field_validator("pivots")
    @classmethod
    def _named_apart(cls, value: tuple[str | Pivot, ...]) -> tuple[str | Pivot, ...]:
        names = [pivot if isinstance(pivot, str) else pivot.name for pivot in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or "" in names:
            raise ValueError(f"duplicate pivot {twice[0]!r}" if twice else "a pivot has no name")
        return value

    @model_validator(mode="after")
    def _within_the_beam(self) -> BackTranslationSettings:
        if self.pivot_texts > self.pivot_beam:
            raise ValueError(f"pivot_texts {self.pivot_texts} exceeds pivot_beam {self.pivot_beam}")
        if not self.top_k and self.n_best > self.beam:
            raise ValueError(f"n_best {self.n_best} exceeds beam {self.beam} without sampling (top_k 0)")
        return self

    def ways(self) -> list[Pivot]:
        """The pivots, with languages expanded to the embedded translators."""
        return [
            pivot
            if isinstance(pivot, Pivot)
            else Pivot(name=pivot, forward=f"embedded:{LANGUAGE}-{pivot}", back=f"embedded:{pivot}-{LANGUAGE}")
            for pivot in self.pivots
        ]

    def again(self) -> BackTranslationSettings:
        """The settings of the second attempt."""
        wider = {"pivot_beam": min(64, 2 * self.pivot_beam), "pivot_texts": min(64, 2 * self.pivot_texts)}
        return self.model_copy(update=wider | ({"top_k": self.retry_top_k} if self.retry_top_k else {}))

    @property
    def forward(self) -> Decoding:
        """Decoding parameters of the forward translation."""
        return Decoding(self.pivot_beam, self.pivot_texts, max_length=self.max_length, batch_tokens=self.batch_tokens)

    @property
    def backward(self) -> Decoding:
        """Decoding parameters of the back-translation."""
        return Decoding(self.beam, self.n_best, self.top_k, self.temperature, self.max_length, self.batch_tokens)
