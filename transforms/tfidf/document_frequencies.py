"""Document frequencies of the corpus and the vocabulary derived from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.tfidf import TFIDF_TERMS, documents_of, vocabulary_schema
from transforms.core.logarithms import log
from transforms.tfidf.counts import TermCounts
from transforms.tfidf.settings import TfidfSettings


@dataclass(frozen=True)
class Frequencies:
    """How many of `documents` captions contain each word: `terms` has schema TFIDF_TERMS, sorted. Small enough to shuffle."""

    documents: int
    terms: pa.RecordBatch


@dataclass(frozen=True)
class Vocabulary:
    """The words of the corpus.

    documents: captions counted. terms: the kept words, most frequent first, ties in code point order; the i-th is column i of
    every vector. idf: float64 [kept]. df: int64 [kept].

    The order affects only the last bits of a sum and does not depend on the partitions. It speeds up the sparse product: long
    postings come first and meet untouched accumulators (`captions.invert`).
    """

    documents: int
    terms: pa.Array
    idf: np.ndarray
    df: np.ndarray


def frequencies_of(counts: TermCounts) -> Frequencies:
    """The document frequencies of one partition."""
    return Frequencies(counts.rows.num_rows, counts.terms)


def no_frequencies() -> Frequencies:
    """Document frequencies of zero captions: the identity element of `merge_frequencies`."""
    return Frequencies(0, pa.RecordBatch.from_pylist([], schema=TFIDF_TERMS))


def merge_frequencies(parts: Sequence[Frequencies]) -> Frequencies:
    """The document frequencies of all `parts`; associative and commutative; the result is sorted."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return no_frequencies()
    table = pa.Table.from_batches([part.terms for part in parts], schema=TFIDF_TERMS)
    grouped = table.group_by("term").aggregate([("df", "sum")]).sort_by("term").combine_chunks()
    terms, df = (
        grouped[name].combine_chunks() if grouped.num_rows else pa.array([], kind)
        for name, kind in (("term", pa.string()), ("df_sum", pa.int64()))
    )
    return Frequencies(sum(part.documents for part in parts), pa.RecordBatch.from_arrays([terms, df], schema=TFIDF_TERMS))


def vocabulary_batch(frequencies: Frequencies, settings: TfidfSettings) -> pa.RecordBatch:
    """The vocabulary table: every word, whether min_df and max_df keep it, and its smoothed idf.

    Definitions follow scikit-learn (`TfidfVectorizer(smooth_idf=True)`), except that an empty vocabulary is not an error: captions
    then have no candidates.
    """
    df = frequencies.terms["df"].to_numpy()
    kept = (df >= _captions(settings.min_df, frequencies.documents)) & (df <= _captions(settings.max_df, frequencies.documents))
    idf = log((1 + frequencies.documents) / (1 + df)) + 1.0
    return pa.RecordBatch.from_arrays(
        [frequencies.terms["term"], frequencies.terms["df"], pa.array(kept), pa.array(idf)], schema=vocabulary_schema(frequencies.documents)
    )


def _captions(limit: int | float, documents: int) -> float:
    return limit if isinstance(limit, int) else limit * documents


def read_vocabulary(artefact: pa.RecordBatch | pa.Table) -> Vocabulary:
    """Reads the output of `vocabulary_batch`; raises SchemaError if it does not record the number of captions."""
    kept = artefact.filter(artefact["kept"])
    if isinstance(kept, pa.Table):
        kept = kept.combine_chunks().to_batches()[0] if kept.num_rows else pa.RecordBatch.from_pylist([], schema=kept.schema)
    order = np.argsort(-kept["df"].to_numpy(), kind="stable")
    return Vocabulary(
        documents_of(artefact.schema), kept["term"].take(pa.array(order)), kept["idf"].to_numpy()[order], kept["df"].to_numpy()[order]
    )


def kept_columns(terms: pa.Array, vocabulary: Vocabulary) -> np.ndarray:
    """The column of each term, int32 [terms], -1 if it is not kept."""
    found = pc.index_in(terms, value_set=vocabulary.terms)
    return pc.fill_null(found, -1).to_numpy()
