"""Settings of scene graphs, of swaps and of their balance."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from transforms.core.params import NotFingerprinted, Params

KINDS = ("object", "attribute", "relation", "count", "order", "negation")
LEVELS = ("word", "phrase")


class BalanceSettings(Params):
    """How many candidates there are to choose from, and how strictly they are balanced.

    Raises pydantic.ValidationError, naming the key and the allowed values, on an unknown key or a value out of range.
    """

    candidates: int = Field(40, ge=1, le=1000, description="candidates per caption and kind, from which at most `swaps.per_kind` are kept")
    tolerance: float = Field(
        14.5,
        gt=0,
        le=1000,
        description="imbalance an object swap may add, other kinds less; a lower value is stricter and keeps fewer swaps",
    )
    cell: int = Field(25_000, ge=100, le=200_000, description="captions balanced together, approximately")
    denials: bool = Field(True, description="keep a negation only with a true denial of the same form; false leaves negations out")
    counterparts: bool = Field(
        True, description="also swap counts and positions that another caption or the labels give, beside the true ones"
    )
    count_truth: float = Field(
        0.008,
        ge=0,
        le=1,
        description="`swaps.truth` of counts, if it is higher: without small changes such as four to two, counts cannot be balanced",
    )
    sample: int = Field(2000, ge=100, description="pairs per kind on which the manifest's blind accuracy is measured")
    limit: float | None = Field(
        0.6, ge=0.5, le=1, description="leave out kinds that remain clearly above this blind accuracy by n-grams; null keeps them"
    )
    embeddings: bool = Field(True, description="balance sentence embeddings as well as n-grams, if there is an encoder")
    encoder: str | None = Field(
        None, description="sentence encoder, such as embedded, which measures blind accuracy as well; null: that of `truth`, if any"
    )
    encoded: int = Field(12_000, ge=400, le=1_000_000, description="candidates per kind and cell that are encoded to balance embeddings")


class SwapSettings(Params):
    """Number and kinds of negatives, strictness of the guards, and the parser of the graphs.

    Raises pydantic.ValidationError, naming the key and the allowed values, on an unknown key or a value out of range.
    """

    parser: Annotated[str, NotFingerprinted()] = Field(  # the parser's own fingerprint is recorded instead
        "embedded", description="embedded, spacy:NAME_OR_PATH, or sng:NAME_OR_PATH for the rules of sng-parser"
    )
    min_count: int = Field(5, ge=1, description="mentions an object, attribute or relation must have to serve as a replacement")
    max_objects: int = Field(4000, ge=1, le=20_000, description="maximum number of objects in the vocabulary, most frequent first")
    per_kind: int = Field(20, ge=1, le=1000, description="maximum negatives per caption and kind; fewer where the caption allows fewer")
    kinds: tuple[str, ...] = Field(KINDS, min_length=1, description="which kinds")
    # An estimate: the share of images with one of the caption's objects that also name the replacement, times `missed` for each further
    # caption that does not name it, times `undetected` where the detector could have found it and did not.
    presence: float = Field(0.01, gt=0, le=1, description="refuse replacements more likely than this to be in the picture unmentioned")
    missed: float = Field(0.5, gt=0, le=1, description="share of present objects that a caption omits")
    undetected: float = Field(0.2, gt=0, le=1, description="share of present objects that a detector misses")
    truth: float | None = Field(
        0.003,
        ge=0,
        le=1,
        description="drop swaps with a higher probability according to the judge of truth; 1: only score; null: no judge",
    )
    truth_scores: bool = Field(True, description="write the judge's probability of each swap")
    temperature: float = Field(0.7, ge=0, le=10, description="temperature of sampling among candidates; 0 always takes the hardest")
    balance: BalanceSettings | None = Field(
        None, description="select swaps so that a text-only model cannot tell them from captions; {} for the defaults, null keeps all"
    )
    record_refusals: bool = Field(True, description="write a row per refused candidate (several per caption) instead of only counting them")

    @field_validator("kinds")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [kind for kind in value if kind not in KINDS]
        if unknown:
            raise ValueError(f"unknown kinds {unknown}: expected a subset of {list(KINDS)}")
        return value
