"""The settings of retrieval."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from transforms.core.params import NotFingerprinted, Params
from transforms.ingest.images.probe import ImageLimits

FACTORY = re.compile(r"auto|Flat|((OPQ\d+(_\d+)?|PCA\d+),)?IVF(\d+),(Flat|SQ4|SQ6|SQ8|SQfp16|PQ\d+(x4|x4fs|x4fsr|x8)?|RaBitQ)")
ALLOWED = "auto, Flat, or IVFn with Flat, SQ4, SQ6, SQ8, SQfp16, PQm, PQmx4fs or RaBitQ, after OPQm or PCAd if need be: IVF1024,SQ8"
Device = Literal["cpu", "cuda"]
GPU_MOST = 2048  # neighbours that FAISS finds on a GPU
Cosine = Annotated[float, Field(ge=-1.0, le=1.0, allow_inf_nan=False)]


class ListSettings(Params):
    """What lists of matches have in common, of images and of texts."""

    k: int = Field(100, ge=1, le=100_000, description="maximum number of matches")
    depth: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="number of candidates the search keeps, so that guards can change without a new search; null: 1.5 k + 20",
    )
    max_depth: int = Field(20_000, ge=1, description="maximum number of candidates considered when guards have shortened a list")
    floor: Cosine = Field(0.0, description="drop candidates with a lower score")
    near_match: float = Field(
        0.98, gt=0, le=1, allow_inf_nan=False, description="drop candidates at least this similar to a better match in the list"
    )
    max_uses: int | None = Field(
        None,
        ge=1,
        description="maximum number of lists that an item may be in: the queries with the highest scores get it, and lists are only filled "
        "from their `depth` candidates; null: no limit",
    )
    index: str = Field(
        "auto", description="auto: exact up to 100,000 vectors, else IVF by size; Flat: exact; or a factory string such as IVF1024,SQ8"
    )
    nprobe: int | None = Field(None, ge=1, description="number of lists searched in an IVF index; null: a sixteenth, at least 8")
    min_recall: float = Field(
        0.9, ge=0, le=1, allow_inf_nan=False, description="fail the run if an index finds a smaller share of the k best"
    )
    recall_sample: int = Field(512, ge=0, description="approximate number of queries used to measure recall")
    drop_rows: bool = Field(True, description="write a reject row for each dropped candidate; they are counted in any case")

    @field_validator("index")
    @classmethod
    def _known(cls, value: str) -> str:
        if not FACTORY.fullmatch(value):
            raise ValueError(f"{value!r} is none of: {ALLOWED}")
        return value

    @property
    def kept(self) -> int:
        """How many candidates the search keeps of each query."""
        return self.depth or self.k + self.k // 2 + 20


class ImageRetrieval(ListSettings):
    """Images from the collections without captions, by what is seen and by the objects that are shared."""

    floor: Cosine = Field(0.5, description="drop candidates with a lower score")
    object_weight: float = Field(
        0.5, ge=0, le=1, allow_inf_nan=False, description="w in the score (1 - w) visual + w objects; 0 without soft labels"
    )
    pca: int | None = Field(
        None, ge=1, le=16_384, description="number of principal components that features are reduced to; null: no reduction"
    )
    pca_sample: int = Field(16_384, ge=2, le=262_144, description="maximum number of images used to compute the components")
    near_copy: Cosine = Field(0.999, description="images at least this similar to the pair's image count as copies")
    near_copy_bits: int | None = Field(
        6,
        ge=0,
        le=64,
        description="images whose perceptual hash differs in at most this many bits count as copies too; null: do not compare hashes",
    )


class TextRetrieval(ListSettings):
    """Sentences from the text collections, by the meaning of the caption."""

    floor: Cosine = Field(0.4, description="drop candidates with a lower score")
    near_match: float = Field(
        0.95, gt=0, le=1, allow_inf_nan=False, description="drop candidates at least this similar to a better match in the list"
    )
    encoder: str = Field("embedded", description="embedded, sentence-transformers:PATH or onnx:PATH")
    near_text: Cosine = Field(
        0.95, description="drop candidates at least this similar to any caption of the image, as (nearly) the same text"
    )
    min_truth: float | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="drop candidates that the judge of truth (`truth`) gives a lower probability of being true of the image; null: do not "
        "ask it",
    )
    max_words: int = Field(1000, ge=1, description="reject texts with more words; the encoder truncates texts at its own limit")


class RetrievalSettings(Params):
    """What is retrieved, for each image and for each caption.

    Raises pydantic.ValidationError, naming the key and what is allowed, on an unknown key or a value out of range.
    """

    images: ImageRetrieval | None = Field(
        default_factory=lambda: ImageRetrieval(), description="match images of the image-only collections; null disables this"
    )
    texts: TextRetrieval | None = Field(
        default_factory=lambda: TextRetrieval(), description="match sentences of the text collections; null disables this"
    )
    max_memory: Annotated[int | None, NotFingerprinted()] = Field(
        None, ge=1, description="maximum memory of a task that trains, fills or searches, in bytes, by estimate; null: no limit"
    )
    device: Device = Field("cpu", description="cpu, or cuda: search on a GPU, which requires FAISS for GPUs (`cmcl[retrieval-gpu]`)")
    threads: Annotated[int, NotFingerprinted()] = Field(1, ge=1, le=1024, description="number of threads per search task")
    block_rows: Annotated[int, NotFingerprinted()] = Field(
        131_072, ge=1, description="maximum number of collection vectors compared at a time (at most 256 MB of them); limits memory"
    )
    query_rows: Annotated[int, NotFingerprinted()] = Field(
        4_096, ge=1, description="number of queries searched for at a time; limits memory"
    )

    @model_validator(mode="after")
    def _something(self) -> RetrievalSettings:
        if self.images is None and self.texts is None:
            raise ValueError("neither images nor texts are asked for: leave retrieval out instead")
        return self

    @model_validator(mode="after")
    def _fits_gpu(self) -> RetrievalSettings:
        for name in ("images", "texts") if self.device == "cuda" else ():
            own: ListSettings | None = getattr(self, name)
            if own and max(own.k, own.kept) > GPU_MOST:
                key, value = ("k", own.k) if own.k > GPU_MOST else ("depth", own.kept)
                raise ValueError(f"{name}.{key} is {value}, but FAISS finds at most {GPU_MOST} on a GPU: lower it, or set device to cpu")
            if own and re.search("fs|RaBitQ", own.index):
                raise ValueError(f"{name}.index {own.index!r} cannot be searched on a GPU: take SQ8 or PQm, or set device to cpu")
        return self


class RetrievalParams(Params):
    """The settings of retrieval, and which images are taken."""

    retrieval: RetrievalSettings = Field(default_factory=lambda: RetrievalSettings())
    image_limits: ImageLimits = Field(default_factory=ImageLimits)
