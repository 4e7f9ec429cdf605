"""Unit TF-IDF vectors of a partition's captions, stored so that their memory map is a SciPy matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix

from schemas.tfidf import TFIDF_VECTORS
from transforms.core.logarithms import log
from transforms.tfidf.document_frequencies import Vocabulary, kept_columns
from transforms.tfidf.settings import TfidfSettings


@dataclass(frozen=True)
class Vectors:
    """n captions; all arrays are views of the record batch they were read from.

    matrix: CSR float64 [n, words], int32 indices ascending within a row. image, content, text: uint64 [n] keys. pair_id, caption:
    Arrow string arrays [n].
    """

    matrix: csr_matrix
    image: np.ndarray
    content: np.ndarray
    text: np.ndarray
    pair_id: pa.Array
    caption: pa.Array

    def __len__(self) -> int:
        """The number of captions."""
        return self.matrix.shape[0]


def vector_batch(rows: pa.RecordBatch, terms: pa.Array, vocabulary: Vocabulary, settings: TfidfSettings) -> pa.RecordBatch:
    """The vectors (schema TFIDF_VECTORS) of `rows` (schema TFIDF_COUNTS), whose terms are rows of `terms`.

    A weight is count * idf, or (1 + ln count) * idf, divided by the norm of the caption's vector; a caption without kept words
    gets the zero vector.
    """
    lookup = kept_columns(terms, vocabulary)
    offsets = rows["terms"].offsets.to_numpy()
    start, stop = offsets[0], offsets[-1]
    local = rows["terms"].values.to_numpy()[start:stop]
    counts = rows["counts"].values.to_numpy()[rows["counts"].offsets[0].as_py() : rows["counts"].offsets[-1].as_py()]
    owners = np.repeat(np.arange(rows.num_rows), np.diff(offsets))
    columns = lookup[local] if len(local) else np.zeros(0, np.int32)
    kept = np.flatnonzero(columns >= 0)
    kept = kept[np.argsort(owners[kept] * max(len(vocabulary.terms), 1) + columns[kept])]
    columns, owners, weights = columns[kept], owners[kept], counts[kept].astype(np.float64)
    if settings.sublinear_tf:
        weights = log(weights) + 1.0
    weights *= vocabulary.idf[columns]
    # bincount adds in row order: the bits do not depend on which captions share a partition.
    length = np.sqrt(np.bincount(owners, weights=weights * weights, minlength=rows.num_rows))
    weights /= length[owners]
    indptr = pa.array(np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=rows.num_rows))]).astype(np.int32))
    schema = TFIDF_VECTORS
    return pa.RecordBatch.from_arrays(
        [
            *(rows[name] for name in ("pair_id", "caption", "image_key", "content_key", "text_key")),
            pa.ListArray.from_arrays(indptr, pa.array(columns.astype(np.int32, copy=False)), type=schema.field("terms").type),
            pa.ListArray.from_arrays(indptr, pa.array(weights), type=schema.field("weights").type),
        ],
        schema=schema,
    )


def read_vectors(batch: pa.RecordBatch, columns: int) -> Vectors:
    """A record batch of vectors as zero-copy arrays. `columns`: number of kept words in the vocabulary."""
    offsets = batch["terms"].offsets.to_numpy()
    start, stop = int(offsets[0]), int(offsets[-1])
    shift = batch["weights"].offsets[0].as_py() - start
    indices = batch["terms"].values.to_numpy()[start:stop]
    data = batch["weights"].values.to_numpy()[start + shift : stop + shift]
    image, content, text = (batch[name].to_numpy() for name in ("image_key", "content_key", "text_key"))
    matrix = _csr(data, indices, offsets - start if start else offsets, columns)
    return Vectors(matrix, image, content, text, batch["pair_id"], batch["caption"])


def _csr(data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, columns: int) -> csr_matrix:
    """A CSR matrix over these arrays as they are; the usual constructor scans them to choose an index type."""
    matrix = csr_matrix((len(indptr) - 1, columns), dtype=np.float64)
    matrix.data, matrix.indices, matrix.indptr = data, indices, indptr
    matrix.has_sorted_indices = True
    return matrix
