"""The settings of the TF-IDF hard negatives."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from transforms.core.params import NotFingerprinted, Params

# As in scikit-learn: an integer is a number of captions, a float a share of them.
DocumentFrequency = Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0.0, le=1.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class TfidfSettings(Params):
    """What the TF-IDF stages are told; cosines are compared after rounding to 6 decimals.

    Raises pydantic.ValidationError, naming the key and what is allowed, on an unknown key or a value out of range.
    """

    k: int = Field(100, ge=1, le=100_000, description="negatives kept for a caption at most")
    max_df: DocumentFrequency = Field(
        0.5, description="words in more captions than this are left out (int: captions, float: share of them)")
    min_df: DocumentFrequency = Field(
        1, description="words in fewer captions than this are left out (int: captions, float: share of them)")
    sublinear_tf: bool = Field(False, description="1 + ln(count) in place of the count of a word in a caption")
    ngrams: tuple[int, int] = Field((1, 1), description="least and greatest number of words in a term")
    block_rows: Annotated[int, NotFingerprinted()] = Field(
        32_768, ge=1, description="captions whose inverted form is held at a time, a bound on memory")
    query_rows: Annotated[int, NotFingerprinted()] = Field(
        4_096, ge=1, description="captions searched for at a time, a bound on memory")
    max_depth: int = Field(
        20_000, ge=1, description="candidates looked at for a caption at most; past it a caption keeps fewer than k")
    bound: int | None = Field(
        None, ge=1, description="captions that one word may bring in as candidates; null: all of them, the exact search")
    rescore: int = Field(700, ge=1, description="bounded search: candidates of a caption scored by their full vectors")
    recall_sample: int = Field(512, ge=0, description="bounded search: captions on which recall against exact search is measured")
    ceiling: Share = Field(0.8, description="a candidate more similar than this is dropped")
    margin: Share = Field(
        0.1, description="a candidate is dropped when it is more similar than (1 - margin) times the image's other captions")
    margin_floor: Share = Field(0.5, description="the margin drops no candidate at or below this similarity")
    near_text: float = Field(
        0.95, ge=0.5, le=1.0,
        description="a candidate at least this similar to any caption of the image is (nearly) the same text, and dropped")
    drop_rows: bool = Field(True, description="write one row a dropped candidate (captions of the same image are only counted)")

    @model_validator(mode="after")
    def _consistent(self) -> TfidfSettings:
        low, high = self.ngrams
        if not 1 <= low <= high <= 5:
            raise ValueError(f"ngrams must be a range within [1, 5], not {low} to {high}")
        if self.bound and self.rescore < self.k:
            raise ValueError(f"rescore ({self.rescore}) must be at least k ({self.k})")
        return self
