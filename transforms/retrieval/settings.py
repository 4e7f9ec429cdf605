"""The settings of retrieval."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from transforms.core.params import NotFingerprinted, Params
from transforms.images.probe import ImageLimits

Cosine = Annotated[float, Field(ge=-1.0, le=1.0, allow_inf_nan=False)]


class ListSettings(Params):
    """What lists of matches have in common, of images and of texts."""

    k: int = Field(100, ge=1, le=100_000, description="matches kept at most")
    depth: int | None = Field(
        None, ge=1, le=1_000_000,
        description="candidates that the search keeps, so that guards can change without another; null: 1.5 k + 20")
    max_depth: int = Field(20_000, ge=1, description="candidates looked at at most, where guards have eaten into a list")
    floor: Cosine = Field(0.0, description="a candidate that scores less is no match")
    near_match: float = Field(
        0.98, gt=0, le=1, allow_inf_nan=False, description="a candidate at least this similar to a better match of the list is dropped")
    drop_rows: bool = Field(True, description="write one row a dropped candidate; they are counted in any case")

    @property
    def kept(self) -> int:
        """How many candidates the search keeps of each query."""
        return self.depth or self.k + self.k // 2 + 20


class ImageRetrieval(ListSettings):
    """Images from the collections without captions, by what is seen and by the objects that are shared."""

    object_weight: float = Field(
        0.5, ge=0, le=1, allow_inf_nan=False, description="w of the score (1 - w) visual + w objects; 0 where there are no soft labels")
    pca: int | None = Field(None, ge=1, le=16_384, description="principal components that features are reduced to; null: all numbers")
    pca_sample: int = Field(16_384, ge=2, le=262_144, description="images that the components are computed from at most")
    near_copy: Cosine = Field(0.999, description="an image at least this similar to the pair's is taken for a copy")
    near_copy_bits: int | None = Field(
        6, ge=0, le=64, description="an image whose perceptual hash differs in no more bits is a copy too; null: no hashes")


class TextRetrieval(ListSettings):
    """Sentences from the text collections, by the meaning of the caption."""

    floor: Cosine = Field(0.3, description="a candidate that scores less is no match")
    near_match: float = Field(
        0.95, gt=0, le=1, allow_inf_nan=False, description="a candidate at least this similar to a better match of the list is dropped")
    encoder: str = Field("embedded", description="embedded, or sentence-transformers:PATH")
    near_text: Cosine = Field(
        0.95, description="a candidate at least this similar to any caption of the image is (nearly) the same text, and dropped")
    max_words: int = Field(1000, ge=1, description="texts of more words are rejected; the encoder cuts texts at its own length")


class RetrievalSettings(Params):
    """What is retrieved, for each image and for each caption.

    Raises pydantic.ValidationError, naming the key and what is allowed, on an unknown key or a value out of range.
    """

    images: ImageRetrieval | None = Field(
        default_factory=lambda: ImageRetrieval(), description="images from the collections of images alone; null disables them")
    texts: TextRetrieval | None = Field(
        default_factory=lambda: TextRetrieval(), description="sentences from the text collections; null disables them")
    threads: Annotated[int, NotFingerprinted()] = Field(1, ge=1, le=1024, description="threads of one search task")
    block_rows: Annotated[int, NotFingerprinted()] = Field(
        16_384, ge=1, description="vectors of the collection compared at a time, a bound on memory")
    query_rows: Annotated[int, NotFingerprinted()] = Field(
        2_048, ge=1, description="queries searched for at a time, a bound on memory")

    @model_validator(mode="after")
    def _something(self) -> RetrievalSettings:
        if self.images is None and self.texts is None:
            raise ValueError("neither images nor texts are asked for: leave retrieval out instead")
        return self


class RetrievalParams(Params):
    """The settings of retrieval, and which images are taken."""

    retrieval: RetrievalSettings = Field(default_factory=lambda: RetrievalSettings())
    image_limits: ImageLimits = Field(default_factory=ImageLimits)
