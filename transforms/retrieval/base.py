"""Common parts of the retrieval stages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self

from schemas.corpus import Corpus
from schemas.errors import CorpusError
from schemas.vectors import VECTORS
from transforms.core.stage import Stage
from transforms.retrieval.collection import Collection
from transforms.retrieval.packages import check_faiss, check_gpu, packages
from transforms.retrieval.settings import ListSettings, RetrievalParams

_WANTING = {
    "images": "images are retrieved from the image collections, by their regions: give `images` and `regions` (or `region_files`), "
    "or set retrieval.images to null",
    "texts": "texts are retrieved from the text collections: give `texts`, or set retrieval.texts to null",
}


class RetrievalStage(Stage[RetrievalParams]):
    """A stage for one of the two kinds of lists; it exists unless the key of that kind is null."""

    extra = "retrieval"
    packages = packages()
    lists: ClassVar[Literal["images", "texts"]]

    def __post_init__(self) -> None:
        check_faiss()
        if self.params.retrieval.device == "cuda":
            check_gpu()

    @classmethod
    def applies(cls, params: RetrievalParams) -> bool:
        """Whether lists of this kind are enabled."""
        return getattr(params.retrieval, cls.lists) is not None

    def behind(self, stages: Sequence[Stage[Any]]) -> Self:
        """As for any stage; if collections or regions are missing, the error names the configuration's keys."""
        try:
            return super().behind(stages)
        except ValueError as error:
            raise ValueError(_WANTING[self.lists]) from error

    @property
    def own(self) -> ListSettings:
        """The settings of these lists. Raises ValueError if they are null."""
        settings: ListSettings | None = getattr(self.params.retrieval, self.lists)
        if settings is None:
            raise ValueError(f"{self.lists} are disabled")
        return settings


class OfImages:
    """The names of the stages that retrieve images for the pairs' images."""

    lists: ClassVar[Literal["images", "texts"]] = "images"
    vectors, index, shards = "image_vectors", "image_search_index", "image_search_shards"
    neighbours, caps, matches = "image_neighbours", "image_caps", "image_matches"


class OfTexts:
    """The names of the stages that retrieve sentences for captions."""

    lists: ClassVar[Literal["images", "texts"]] = "texts"
    vectors, index, shards = "text_vectors", "text_search_index", "text_search_shards"
    neighbours, caps, matches = "text_neighbours", "text_caps", "text_matches"


def collection_of(corpus: Corpus, stage: str) -> Collection:
    """The vectors of a collection that a stage wrote, opened once per process."""
    manifest = corpus.manifest(stage)
    if manifest is None:
        raise CorpusError(f"{corpus.url}: stage {stage} not found")
    return _collection_at(corpus, stage, manifest.contents["vectors"])


@lru_cache(maxsize=2)
def _collection_at(corpus: Corpus, stage: str, content: str) -> Collection:
    """`content`: a hash of the vectors, so that a later run in this process does not see an earlier one's."""
    tables = []
    for partition in range(corpus.partitions):
        with corpus.open(stage, "vectors", partition, VECTORS) as file:
            tables.append(file.read())
    return Collection(tables)
