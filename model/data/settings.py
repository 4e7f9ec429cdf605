"""What a training reads of a corpus, and how much of it meets in a batch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from model.batch import Stream
from schemas.tokens import NEGATIVE_KINDS

UNIMO_MIX: dict[Stream, int] = {"pairs": 5, "images": 1, "texts": 1}


class DataSettings(BaseModel):
    """The corpus and its streams.

    Raises pydantic.ValidationError, naming the key and what is allowed, on an unknown key or a value out of range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    corpus: str = Field(min_length=1, description="a corpus made with `tokens` and, for images, `regions`: a folder or any fsspec URL")
    mix: dict[Stream, int] | None = Field(
        None, description="batches of pairs, images and texts in a cycle; null: 5, 1 and 1 (UNIMO) of those that the corpus has"
    )
    batch: dict[Stream, int] = Field(
        default_factory=dict, description="rows of a batch of each stream, over all processes; 64 where none is given"
    )
    max_tokens: int = Field(64, ge=3, description="with [CLS] and [SEP]; longer texts are left out, and counted")
    max_regions: int = Field(100, ge=1, description="of an image; those of the lowest confidence are left out")
    token_buckets: tuple[int, ...] = Field((16, 24, 32, 48), description="lengths that texts are padded to, beside max_tokens")
    region_buckets: tuple[int, ...] = Field((16, 36, 64), description="numbers of regions that images are padded to, beside max_regions")
    window: int = Field(64, ge=1, description="batches among which rows of like lengths are sought")
    keep_last: bool = Field(False, description="make a smaller batch of what is left at the end of a round, instead of leaving it out")
    positives: int = Field(1, ge=0, description="positives drawn for a pair")
    siblings: bool = Field(True, description="another caption of the image where a pair has no positive")
    negatives: dict[str, int] = Field(
        default_factory=lambda: {kind: 1 for kind in NEGATIVE_KINDS[:4]},
        description="hard negatives drawn for a pair, by kind; what one kind lacks the others of the list make up for",
    )
    matched_images: int = Field(0, ge=0, description="retrieved images drawn for a pair")
    matched_texts: int = Field(0, ge=0, description="retrieved texts drawn for a pair")
    ceiling: float = Field(0.8, gt=0, le=1, description="similarity above which TF-IDF negatives were refused")
    soften: float = Field(0, ge=0, le=1, description="width below `ceiling` within which weights of TF-IDF negatives fall from 1 to 0.1")
    geometry: Literal[5, 7] = Field(5, description="numbers of a box: UNIMO's 5 or UNITER's 7")
    pack_texts: bool = Field(False, description="join short sentences of the text stream in rows of up to max_tokens")
    damaged: Literal["fatal", "skip"] = Field("fatal", description="what a damaged partition is: an error, or skipped and counted")
    verify: bool = Field(False, description="hash every file that is read, once, before training")
    workers: int = Field(0, ge=0, description="processes that make batches; the order does not depend on them")
    pin_memory: bool = Field(False, description="batches in page-locked memory, for GPUs")

    @field_validator("mix", "batch")
    @classmethod
    def _positive(cls, value: dict[Stream, int] | None) -> dict[Stream, int] | None:
        if value is not None and any(number < 1 for number in value.values()):
            raise ValueError("every number must be at least 1; leave out a stream that is not wanted")
        return value

    @field_validator("negatives")
    @classmethod
    def _known(cls, value: dict[str, int]) -> dict[str, int]:
        unknown = sorted(set(value) - set(NEGATIVE_KINDS))
        if unknown or any(number < 0 for number in value.values()):
            raise ValueError(f"kinds are {', '.join(NEGATIVE_KINDS)}, numbers at least 0")
        return value

    @model_validator(mode="after")
    def _streams(self) -> DataSettings:
        if self.mix is not None and not self.mix:
            raise ValueError("mix: at least one of pairs, images, texts must be named")
        return self

    def rows(self, stream: Stream) -> int:
        """Rows of a global batch of a stream."""
        return self.batch.get(stream, 64)
