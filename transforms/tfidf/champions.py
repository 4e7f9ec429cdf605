"""Bounded postings: a frequent word retrieves only the captions in which it weighs most.

Finding those takes the whole corpus: a combine over small summaries. The result is one pair of numbers per frequent word, the
point at which its postings are truncated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix

from schemas.tfidf import TFIDF_CHAMPIONS
from transforms.tfidf.document_frequencies import Vocabulary
from transforms.tfidf.vectors import Vectors


def order_keys(vectors: Vectors) -> np.ndarray:
    """Tie-breakers for equal weights, uint64 [n]: hashes of the word sequences, so copies of a text are kept or cut together."""
    return mix(vectors.text)


def mix(keys: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele et al. 2014): a bijection of uint64 [n] in which every output bit depends on every input bit."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


def champions_of(vectors: Vectors, vocabulary: Vocabulary, bound: int) -> pa.RecordBatch:
    """The `bound` captions of one partition in which each frequent word weighs most (schema TFIDF_CHAMPIONS, one row per caption).

    Frequent words occur in more than `bound` captions of the corpus. The summary has at most `bound` rows per word.
    """
    frequent = int(np.searchsorted(-vocabulary.df, -bound))  # columns are in descending order of df
    matrix = vectors.matrix
    chosen = np.flatnonzero(matrix.indices < frequent)
    owners = np.searchsorted(matrix.indptr, chosen, side="right") - 1
    return _truncated(matrix.indices[chosen], matrix.data[chosen], order_keys(vectors)[owners], bound)


def no_champions() -> pa.RecordBatch:
    """Champions of zero captions: the identity element of `merge_champions`."""
    return pa.RecordBatch.from_pylist([], schema=TFIDF_CHAMPIONS)


def merge_champions(parts: Sequence[pa.RecordBatch], bound: int) -> pa.RecordBatch:
    """The champions of all `parts`, at most `bound` rows per word; associative and commutative."""
    parts = list(parts) or [no_champions()]
    column, weight, order = (np.concatenate([part[name].to_numpy() for part in parts]) for name in TFIDF_CHAMPIONS.names)
    return _truncated(column, weight, order, bound)


def _truncated(column: np.ndarray, weight: np.ndarray, order: np.ndarray, bound: int) -> pa.RecordBatch:
    """Distinct rows sorted by column, then descending weight, then descending order; the first `bound` of each column."""
    sequence = np.lexsort((~order, -weight, column))
    again = (column[sequence][1:] == column[sequence][:-1]) & (order[sequence][1:] == order[sequence][:-1])
    sequence = sequence[np.concatenate([[True], ~again])] if len(sequence) else sequence
    column = column[sequence]
    starts = np.flatnonzero(np.concatenate([[True], column[1:] != column[:-1]])) if len(column) else np.zeros(0, np.int64)
    position = np.arange(len(column)) - np.repeat(starts, np.diff(np.append(starts, len(column))))
    chosen = sequence[position < bound]
    return pa.RecordBatch.from_arrays(
        [pa.array(column[position < bound].astype(np.int32, copy=False)), pa.array(weight[chosen]), pa.array(order[chosen])],
        schema=TFIDF_CHAMPIONS,
    )


def cuts_of(champions: pa.RecordBatch, bound: int) -> pa.RecordBatch:
    """The `bound`-th champion of each word that has that many (schema TFIDF_CHAMPIONS, one row per word)."""
    column = champions["column"].to_numpy()
    last = np.flatnonzero(np.concatenate([column[1:] != column[:-1], [True]])) if len(column) else np.zeros(0, np.int64)
    size = np.diff(np.concatenate([[-1], last]))
    return champions.take(pa.array(last[size >= bound]))


class Cuts:
    """Where postings are truncated: `weight` float64 and `order` uint64, one per column, 0 for words that are not truncated."""

    def __init__(self, artefact: pa.RecordBatch | pa.Table, columns: int):
        """Reads the output of `cuts_of`. `columns`: number of kept words in the vocabulary."""
        self.weight, self.order = np.zeros(columns), np.zeros(columns, np.uint64)
        where = artefact["column"].to_numpy()
        self.weight[where], self.order[where] = artefact["weight"].to_numpy(), artefact["order"].to_numpy()

    def apply(self, vectors: Vectors) -> csr_matrix:
        """The vectors CSR [n, words] without the words whose postings no longer include their caption."""
        matrix = vectors.matrix
        limit = self.weight[matrix.indices]
        kept = matrix.data > limit
        tied = np.flatnonzero(matrix.data == limit)
        owners = np.searchsorted(matrix.indptr, tied, side="right") - 1
        kept[tied] = order_keys(vectors)[owners] >= self.order[matrix.indices[tied]]
        total = np.concatenate([[0], np.cumsum(kept)])
        return csr_matrix((matrix.data[kept], matrix.indices[kept], total[matrix.indptr].astype(np.int32)), shape=matrix.shape)
