"""Settings of the TF-IDF hard negatives."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from transforms.core.params import NotFingerprinted, Params

# As in scikit-learn: an integer is a number of captions, a float a share of them.
DocumentFrequency = Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0.0, le=1.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class TfidfSettings(Params):
    """Settings of the TF-IDF stages; cosines are compared after rounding to 6 decimals.

    Raises pydantic.ValidationError, naming the key and the allowed values, on an unknown key or a value out of range.
    """

    k: int = Field(100, ge=1, le=100_000, description="maximum number of negatives per caption")
    max_df: DocumentFrequency = Field(0.5, description="ignore words that occur in more captions than this (int: number, float: share)")
    min_df: DocumentFrequency = Field(1, description="ignore words that occur in fewer captions than this (int: number, float: share)")
    sublinear_tf: bool = Field(False, description="use 1 + ln(count) instead of a word's count in a caption")
    ngrams: tuple[int, int] = Field((1, 1), description="minimum and maximum number of words in a term")
    block_rows: Annotated[int, NotFingerprinted()] = Field(
        32_768, ge=1, description="captions per block of the inverted index; limits memory"
    )
    query_rows: Annotated[int, NotFingerprinted()] = Field(4_096, ge=1, description="captions searched for at a time; limits memory")
    max_depth: int = Field(
        20_000, ge=1, description="maximum number of candidates considered per caption; beyond it, a caption gets fewer than k"
    )
    bound: int | None = Field(
        None, ge=1, description="maximum number of candidates that a single word contributes; null: all, for exact search"
    )
    rescore: int = Field(700, ge=1, description="bounded search: number of candidates per caption that are scored with their full vectors")
    recall_sample: int = Field(512, ge=0, description="bounded search: number of captions on which recall is measured against exact search")
    ceiling: Share = Field(0.8, description="drop candidates with a similarity above this")
    margin: Share | None = Field(
        0.1,
        description="drop candidates that are more similar than (1 - margin) times the image's most similar other caption; null: keep "
        "them, as by default with the judge of truth",
    )
    margin_floor: Share = Field(0.5, description="the margin never drops candidates with a similarity at or below this")
    near_text: float = Field(
        0.95, ge=0.5, le=1.0, description="drop candidates at least this similar to any caption of the image, as (nearly) the same text"
    )
    truth: Share | None = Field(
        0.08, description="drop candidates with a higher probability according to the judge of truth; 1: only score; null: no judge"
    )
    truth_labels: Share | None = Field(
        0.06, description="`truth` where the corpus has regions with class names, unless `truth` is lower, or 1; null: no other limit"
    )
    truth_scores: bool = Field(True, description="write the probability that the judge of truth gives each negative")
    drop_rows: bool = Field(True, description="write a reject row for each dropped candidate (captions of the same image are only counted)")

    @model_validator(mode="after")
    def _consistent(self) -> TfidfSettings:
        low, high = self.ngrams
        if not 1 <= low <= high <= 5:
            raise ValueError(f"ngrams must be a range within [1, 5], not {low} to {high}")
        if self.bound and self.rescore < self.k:
            raise ValueError(f"rescore ({self.rescore}) must be at least k ({self.k})")
        return self

    def likeliest(self, labels: bool) -> float:
        """The highest probability of being true that the judge allows a negative, without or with the labels of regions."""
        truth = 1.0 if self.truth is None else self.truth
        return truth if truth == 1 or not labels or self.truth_labels is None else min(truth, self.truth_labels)
