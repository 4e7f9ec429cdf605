"""The stages that make vectors.

image_components  corpus-wide  with `pca` alone: the principal components of a seeded sample of images
image_vectors     row-local    of the pairs' images, and of the images alone
text_vectors      row-local    of captions, and of the sentences of the text collections
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import imagehash
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from schemas.corpus import WHOLE
from schemas.ids import placements
from schemas.regions import Regions, regions_in
from schemas.rejects import Reason
from schemas.tokens import content_key, text_key
from schemas.vectors import COMPONENTS, MODEL_KEY, QUERY_VECTORS, VECTORS, VISUAL_KEY, WEIGHT_KEY, WIDTH_KEY
from transforms.core.stage import Input, SummaryStage
from transforms.core.task import Task
from transforms.engines.encoders.sentence import sentence_encoder, spec_fingerprint
from transforms.ingest.images.fetch import ImageError
from transforms.ingest.images.probe import open_image
from transforms.retrieval.base import RetrievalStage
from transforms.retrieval.image_vectors import ImageSpace, NoVector, visual_part
from transforms.retrieval.packages import packages
from transforms.retrieval.settings import ImageRetrieval, RetrievalParams, TextRetrieval

_IMAGES = (("pairs", "regions", "query_vectors", QUERY_VECTORS), ("images", "image_regions", "vectors", VECTORS))
_TEXTS = (("pairs", "pairs", "pair_id", "caption", "query_vectors", QUERY_VECTORS),
          ("texts", "texts", "text_id", "text", "vectors", VECTORS))  # fmt: skip
_WRITTEN = 4096  # rows made at a time
_SAMPLE = pa.schema([("hash", pa.uint64()), ("id", pa.string()), ("visual", pa.list_(pa.float32()))])


class _Images(RetrievalStage):
    lists = "images"

    @property
    def images(self) -> ImageRetrieval:
        """The settings of image lists."""
        assert isinstance(self.own, ImageRetrieval)
        return self.own


class ImageComponents(_Images, SummaryStage[RetrievalParams]):
    """Writes the principal components (about the origin, so that they keep inner products) of the visual parts of sampled images."""

    name = "image_components"
    internal = True
    packages = packages("threadpoolctl")
    reads = (Input("regions", "regions", "corpus"), Input("image_regions", "regions", "corpus"))
    writes = {"components": COMPONENTS}

    @classmethod
    def applies(cls, params: RetrievalParams) -> bool:
        """Only if features are reduced."""
        images = params.retrieval.images
        return images is not None and images.pca is not None and images.object_weight < 1

    @property
    def settings(self) -> Mapping[str, Any]:
        """The number of components, and of sampled images."""
        return {"pca": self.images.pca, "pca_sample": self.images.pca_sample}

    def summarise(self, task: Task) -> pa.Table:
        """One partition's candidates for the sample of images."""
        found = _SAMPLE.empty_table()
        for stage in ("regions", "image_regions"):
            with task.open(stage, "regions") as file:
                for batch in file.batches():
                    rows = [row for row in (_sampled(image, task.seed) for image in regions_in(batch)) if row]
                    found = self.combine([found, pa.Table.from_pylist(rows, schema=_SAMPLE)])
        return found

    def combine(self, summaries: Sequence[pa.Table]) -> pa.Table:
        """The images with the lowest hashes, in ascending order."""
        both = pa.concat_tables(summaries)
        order = pc.sort_indices(both, [("hash", "ascending"), ("id", "ascending")])
        return both.take(order[: self.images.pca_sample]).combine_chunks()

    def process(self, task: Task, payload: pa.Table) -> None:
        """Writes the configured number of components, or fewer if there are fewer images or dimensions."""
        assert self.images.pca
        count, task.extra = payload.num_rows, {}
        if not count:
            return
        sample = payload["visual"].combine_chunks().values.to_numpy().reshape(count, -1).astype(np.float64)
        kept = min(self.images.pca, *sample.shape)
        with task.engine(), threadpool_limits(1):  # LAPACK's last bits depend on the number of threads
            squares, vectors = np.linalg.eigh(sample.T @ sample)
        best = vectors[:, ::-1][:, :kept].T
        best = best * np.where(best[np.arange(kept), np.abs(best).argmax(1)] < 0, -1, 1)[:, None]
        shares = squares[::-1][:kept] / squares.sum()
        task.write("components", pa.Table.from_arrays([_lists(best, pa.float64()), pa.array(shares)], schema=COMPONENTS))
        task.extra = {"components": kept, "share_of_squares": round(float(shares.sum()), 6), "images_sampled": count}


def _sampled(image: Regions, seed: int) -> dict[str, Any] | None:
    try:
        if len(image.features):
            drawn = int.from_bytes(blake2b(f"{seed}\0image_components\0{image.image_id}".encode(), digest_size=8).digest(), "big")
            return {"hash": drawn, "id": image.image_id, "visual": visual_part(image.features, image.confidence).astype(np.float32)}
    except NoVector:
        pass  # `image_vectors` rejects it
    return None


class ImageVectors(_Images):
    """Writes the vectors of the pairs' images and of the images without captions, from their regions; images without one are rejected."""

    name = "image_vectors"
    revision = 2
    packages = packages("ImageHash", "pillow", "threadpoolctl")
    writes = {"query_vectors": QUERY_VECTORS, "vectors": VECTORS}
    rows_by, rows_counted = ("image_id",), ("regions",)
    row_numbers = {("query_vectors", "row"): ("regions", "regions"), ("vectors", "row"): ("image_regions", "regions")}
    reads = (
        Input("pairs", "images"),
        Input("images", "images"),
        Input("regions", "regions"),
        Input("image_regions", "regions"),
        Input("image_components", "components", "corpus", optional=True),
    )

    @property
    def settings(self) -> Mapping[str, Any]:
        """The weight of objects, and whether images are hashed."""
        return {"object_weight": self.images.object_weight, "hashes": self.images.near_copy_bits is not None}

    def process(self, task: Task, payload: Any) -> None:
        """Makes one partition, a record batch of regions at a time."""
        components = task.read("image_components", "components", WHOLE)["component"].to_pylist() if self.has("image_components") else None
        for source, stage, table, schema in _IMAGES:
            images = task.read(source, "images")
            places = {image_id: row for row, image_id in enumerate(images["image_id"].to_pylist())}
            with task.open(stage, "regions") as file, threadpool_limits(1):
                weight = self._weight(task, file.schema)
                space = ImageSpace(weight, np.array(components) if components else None)
                first = 0
                for batch in file.batches():
                    task.counts.rows_in += batch.num_rows
                    rows = [places[image.image_id] for image in regions_in(batch)]
                    own = images.select(["sha256", "uri", "offset", "length"]).take(pa.array(rows)).to_pylist()
                    found = _Rows(schema, {WEIGHT_KEY: repr(weight)})
                    for row, (image, about) in enumerate(zip(regions_in(batch), own, strict=True), start=first):
                        self._add(task, found, row, image, about, space)
                    first += batch.num_rows
                    if found.ids:
                        task.write(table, found.batch())

    def _weight(self, task: Task, schema: pa.Schema) -> float:
        """w, or 0 if the regions have no soft labels: the detector's only column is the background, or it has none."""
        if self.images.object_weight == 0 or schema.field("soft_labels").type.value_type.list_size > 1:
            task.extra["object_weight"] = self.images.object_weight
            return self.images.object_weight
        task.extra |= {"object_weight": 0.0, "object_weight_because": "the regions have no soft labels"}
        return 0.0

    def _add(self, task: Task, found: _Rows, row: int, image: Regions, about: dict[str, Any], space: ImageSpace) -> None:
        try:
            vector = space.vector(image)
            phash = self._phash(about)
        except (NoVector, ImageError) as error:
            task.rejects.add(image.image_id, error.reason, error.detail)
        else:
            width = len(image.features[0]) if space.components is None else len(space.components)
            found.metadata |= {VISUAL_KEY: str(width if space.weight < 1 else 0)}
            key = content_key(about["sha256"], int(placements([image.image_id])[0]))
            found.add(image.image_id, row, key, phash, vector)

    def _phash(self, about: dict[str, Any]) -> int | None:
        """The perceptual hash (of the low frequencies of a DCT) of an image; None without pixels, or if hashes are not compared."""
        if self.images.near_copy_bits is None or about["uri"] is None:
            return None
        image = open_image(about["uri"], about["offset"], about["length"], self.params.image_limits)
        return int(str(imagehash.phash(image)), 16)


class TextVectors(RetrievalStage):
    """Writes the vectors of captions and of the sentences of the text collections."""

    name = "text_vectors"
    lists = "texts"
    packages = packages("torch", "transformers", "sentence-transformers")
    writes = {"query_vectors": QUERY_VECTORS, "vectors": VECTORS}
    rows_by, rows_counted = ("pair_id", "text_id"), ("pairs", "texts")
    row_numbers = {("query_vectors", "row"): ("pairs", "pairs"), ("vectors", "row"): ("texts", "texts")}
    reads = (Input("pairs", "pairs", columns=("pair_id", "caption")), Input("texts", "texts", columns=("text_id", "text")))

    def __post_init__(self) -> None:
        super().__post_init__()
        spec_fingerprint(self.texts.encoder)  # raises if the encoder is unavailable

    @property
    def texts(self) -> TextRetrieval:
        """The settings of text lists."""
        assert isinstance(self.own, TextRetrieval)
        return self.own

    @property
    def settings(self) -> Mapping[str, Any]:
        """The encoder's fingerprint, and the maximum length of texts."""
        return {"encoder": spec_fingerprint(self.texts.encoder), "max_words": self.texts.max_words}

    def process(self, task: Task, payload: Any) -> None:
        """Makes one partition, a few thousand texts at a time."""
        encoder = sentence_encoder(self.texts.encoder)
        for stage, source, name, text, table, schema in _TEXTS:
            with task.open(stage, source) as file:
                first = 0
                for batch in file.batches():
                    for start in range(0, batch.num_rows, _WRITTEN):
                        part = batch.slice(start, _WRITTEN)
                        found = _Rows(schema, {MODEL_KEY: encoder.fingerprint})
                        taken = list(self._taken(task, part[name].to_pylist(), part[text].to_pylist()))
                        task.check_cancelled()
                        with task.engine():
                            vectors = encoder.encode([words for _, _, words in taken])
                        for (row, row_id, words), vector in zip(taken, vectors, strict=True):
                            if not np.isfinite(vector).all() or not vector.any():
                                task.rejects.add(row_id, Reason.BAD_VECTOR, "the encoder's vector is zero or not finite")
                            else:
                                found.add(row_id, first + row, text_key(words), None, vector.astype(np.float16))
                        first += part.num_rows
                        if found.ids:
                            task.write(table, found.batch())

    def _taken(self, task: Task, row_ids: Sequence[str], texts: Sequence[str]) -> Iterator[tuple[int, str, str]]:
        """Row, id and text of the texts that can be encoded; the others are rejected."""
        for row, (row_id, text) in enumerate(zip(row_ids, texts, strict=True)):
            task.counts.rows_in += 1
            words = len(text.split())
            if not words:
                task.rejects.add(row_id, Reason.EMPTY, "the text is blank")
            elif words > self.texts.max_words:
                task.rejects.add(row_id, Reason.TOO_LONG, f"{words} words, more than max_words ({self.texts.max_words})")
            else:
                yield row, row_id, text


class _Rows:
    """Collects rows of `vectors` or `query_vectors`; `metadata` is added to the schema's."""

    def __init__(self, schema: pa.Schema, metadata: dict[bytes, str]):
        self.ids: list[str] = []
        self.metadata = metadata
        self._schema = schema
        self._rows: list[int] = []
        self._keys: list[int] = []
        self._phashes: list[int | None] = []
        self._vectors: list[np.ndarray] = []

    def add(self, row_id: str, row: int, key: int, phash: int | None, vector: np.ndarray) -> None:
        self.ids.append(row_id)
        self._rows.append(row)
        self._keys.append(key)
        self._phashes.append(phash)
        self._vectors.append(vector)

    def batch(self) -> pa.RecordBatch:
        """The rows, at least one."""
        vectors = np.stack(self._vectors)
        metadata = {**(self._schema.metadata or {}), **self.metadata, WIDTH_KEY: str(vectors.shape[1])}
        return pa.RecordBatch.from_arrays(
            [
                pa.array(self.ids, pa.string()),
                pa.array(self._rows, pa.int64()),
                pa.array(self._keys, pa.int64()),
                pa.array(self._phashes, pa.uint64()),
                _lists(vectors, pa.float16()),
            ],
            schema=self._schema.with_metadata(metadata),
        )


def _lists(rows: np.ndarray, kind: pa.DataType) -> pa.ListArray:
    """Rows [n, width] as a list column."""
    offsets = np.arange(len(rows) + 1, dtype=np.int64) * rows.shape[1]
    return pa.ListArray.from_arrays(
        pa.array(offsets.astype(np.int32)), pa.array(rows.ravel(), kind), type=pa.list_(pa.field("item", kind, nullable=False))
    )
