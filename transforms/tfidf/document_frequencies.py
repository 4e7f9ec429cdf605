"""Document frequencies of the corpus, and the vocabulary made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.tfidf import TFIDF_TERMS, documents_of, vocabulary_schema
from transforms.tfidf.counts import TermCounts
from transforms.tfidf.settings import TfidfSettings


@dataclass(frozen=True)
class Frequencies:
    """How many of `documents` captions hold each word: `terms` has the schema TFIDF_TERMS, sorted. Small enough for a shuffle."""

    documents: int
    terms: pa.RecordBatch


@dataclass(frozen=True)
class Vocabulary:
    """The words of the corpus.

    documents: captions counted. terms: the kept words, the most frequent first, equally frequent ones in code point order; the
    i-th is column i of every vector. idf: float64 [kept]. df: int64 [kept].

    The order makes no difference to a sum but for its last bits, and it is the same whatever the partitions; it makes the sparse
    product faster, since long postings come first and meet accumulators that nothing has touched (`corpus.invert`).
    """

    documents: int
    terms: pa.Array
    idf: np.ndarray
    df: np.ndarray


def frequencies_of(counts: TermCounts) -> Frequencies:
    """The document frequencies of one partition."""
    return Frequencies(counts.rows.num_rows, counts.terms)


def no_frequencies() -> Frequencies:
    """The document frequencies of no caption: the neutral element of `merge_frequencies`."""
    return Frequencies(0, pa.RecordBatch.from_pylist([], schema=TFIDF_TERMS))


def merge_frequencies(parts: Sequence[Frequencies]) -> Frequencies:
    """The document frequencies of all `parts`; associative and commutative, and the result is always sorted."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return no_frequencies()
    table = pa.Table.from_batches([part.terms for part in parts], schema=TFIDF_TERMS)
    grouped = table.group_by("term").aggregate([("df", "sum")]).sort_by("term").combine_chunks()
    terms, df = (grouped[name].combine_chunks() if grouped.num_rows else pa.array([], kind)
                 for name, kind in (("term", pa.string()), ("df_sum", pa.int64())))
    return Frequencies(sum(part.documents for part in parts), pa.RecordBatch.from_arrays([terms, df], schema=TFIDF_TERMS))


def vocabulary_batch(frequencies: Frequencies, settings: TfidfSettings) -> pa.RecordBatch:
    """The vocabulary artefact: every word, with which are kept by min_df and max_df, and its smoothed idf.

    The definitions are scikit-learn's (`TfidfVectorizer(smooth_idf=True)`), except that no kept word is no error: captions then
    have no neighbours.
    """
    df = frequencies.terms["df"].to_numpy()
    kept = (df >= _captions(settings.min_df, frequencies.documents)) & (df <= _captions(settings.max_df, frequencies.documents))
    idf = np.log((1 + frequencies.documents) / (1 + df)) + 1.0
    return pa.RecordBatch.from_arrays([frequencies.terms["term"], frequencies.terms["df"], pa.array(kept), pa.array(idf)],
                                      schema=vocabulary_schema(frequencies.documents))


def _captions(limit: int | float, documents: int) -> float:
    return limit if isinstance(limit, int) else limit * documents


def read_vocabulary(artefact: pa.RecordBatch | pa.Table) -> Vocabulary:
    """The vocabulary that `vocabulary_batch` made; raises SchemaError when it does not say on how many captions."""
    kept = artefact.filter(artefact["kept"])
    if isinstance(kept, pa.Table):
        kept = kept.combine_chunks().to_batches()[0] if kept.num_rows else pa.RecordBatch.from_pylist([], schema=kept.schema)
    order = np.argsort(-kept["df"].to_numpy(), kind="stable")
    return Vocabulary(documents_of(artefact.schema), kept["term"].take(pa.array(order)), kept["idf"].to_numpy()[order],
                      kept["df"].to_numpy()[order])


def kept_columns(terms: pa.Array, vocabulary: Vocabulary) -> np.ndarray:
    """The column int32 [terms] of each term, -1 for a word that is not kept."""
    found = pc.index_in(terms, value_set=vocabulary.terms)
    return pc.fill_null(found, -1).to_numpy()
