"""Settings of the loader: the corpus, and how batches are drawn from it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from model.batch import Stream
from schemas.settings import Settings
from schemas.tokens import NEGATIVE_KINDS

NOT_ORDER = frozenset({"corpus", "workers", "pin_memory", "verify", "damaged", "token_buckets"})  # may differ on resuming
UNIMO_MIX: dict[Stream, int] = {"pairs": 5, "images": 1, "texts": 1}


class DataSettings(Settings):
    """The corpus and its streams.

    Raises pydantic.ValidationError, naming the key and what is allowed, on an unknown key or a value out of range.
    """

    corpus: str = Field(min_length=1, description="a corpus with `tokens` and, for images, `regions`: a folder or fsspec URL")
    mix: dict[Stream, int] | None = Field(
        None, description="batches of pairs, images and texts per cycle; null: 5, 1 and 1 (UNIMO), of the streams that the corpus has"
    )
    batch: dict[Stream, int] = Field(default_factory=dict, description="rows per batch of each stream, over all processes; 64 by default")
    max_tokens: int = Field(64, ge=3, description="maximum tokens per text, with [CLS] and [SEP]; longer captions, sentences are counted")
    max_regions: int = Field(100, ge=1, description="maximum number of regions per image; those with the lowest confidence are left out")
    token_buckets: tuple[int, ...] = Field((16, 24, 32, 48), description="lengths that texts are padded to, besides max_tokens")
    region_buckets: tuple[int, ...] = Field((16, 36, 64), description="numbers of regions that images are padded to, besides max_regions")
    window: int = Field(64, ge=1, description="batches whose rows are sorted by length together; at most an eighth of a round")
    keep_last: bool = Field(False, description="make a smaller batch of the remainder of a round instead of dropping it")
    positives: int = Field(1, ge=0, description="positives per pair")
    siblings: bool = Field(True, description="use another caption of the image for pairs without a positive")
    negatives: dict[str, int] = Field(
        default_factory=lambda: {kind: 1 for kind in NEGATIVE_KINDS[:4]},
        description="hard negatives per pair, by kind; if a pair has too few of one kind, the other kinds make up for it",
    )
    matched_images: int = Field(0, ge=0, description="retrieved images per pair")
    matched_texts: int = Field(0, ge=0, description="retrieved texts per pair")
    ceiling: float = Field(0.8, gt=0, le=1, description="similarity above which TF-IDF negatives were dropped (`tfidf.ceiling`)")
    soften: float = Field(
        0, ge=0, le=1, description="width of the range below `ceiling` in which weights of TF-IDF negatives fall from 1 to 0.1"
    )
    geometry: Literal[5, 7] = Field(5, description="numbers per box: UNIMO's 5 or UNITER's 7")
    pack_texts: bool = Field(False, description="join short sentences of the text stream into rows of up to max_tokens")
    damaged: Literal["fatal", "skip"] = Field("fatal", description="skip: leave damaged partitions out, counted; hashes every file")
    verify: bool = Field(False, description="hash region features and remote files once before training; other local files always are")
    workers: int = Field(0, ge=0, description="loader processes; the order does not depend on their number")
    pin_memory: bool = Field(False, description="put batches in page-locked memory, for GPUs")

    @field_validator("mix", "batch")
    @classmethod
    def _positive(cls, value: dict[Stream, int] | None) -> dict[Stream, int] | None:
        if value is not None and any(number < 1 for number in value.values()):
            raise ValueError("every number must be at least 1; leave unwanted streams out")
        return value

    @field_validator("negatives")
    @classmethod
    def _known(cls, value: dict[str, int]) -> dict[str, int]:
        unknown = sorted(set(value) - set(NEGATIVE_KINDS))
        if unknown or any(number < 0 for number in value.values()):
            raise ValueError(f"kinds must be among {', '.join(NEGATIVE_KINDS)}, numbers at least 0")
        return value

    @field_validator("token_buckets", "region_buckets")
    @classmethod
    def _widths(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(width < 1 for width in value):
            raise ValueError("every width must be at least 1")
        return value

    @model_validator(mode="after")
    def _streams(self) -> DataSettings:
        if self.mix is not None and not self.mix:
            raise ValueError("mix: at least one of pairs, images, texts is required")
        return self

    def padded_tokens(self, longest: int) -> int:
        """The length that texts of up to `longest` tokens are padded to."""
        return _bucket(longest, self.token_buckets, self.max_tokens)

    def padded_regions(self, most: int) -> int:
        """The number of regions that images with at most this many are padded to."""
        return _bucket(most, self.region_buckets, self.max_regions)

    def rows(self, stream: Stream) -> int:
        """Rows per global batch of a stream."""
        return self.batch.get(stream, 64)


def _bucket(longest: int, buckets: tuple[int, ...], most: int) -> int:
    return next((width for width in sorted(buckets) if longest <= width <= most), most)
