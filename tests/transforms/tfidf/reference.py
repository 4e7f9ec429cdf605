"""Reference implementation of the TF-IDF hard negatives, as plain as possible: dense matrices and Python loops."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from sklearn.feature_extraction.text import TfidfVectorizer

from schemas.ids import partition_of, placement
from transforms.tfidf.captions import Captions
from transforms.tfidf.counts import TermCounts, count_terms
from transforms.tfidf.document_frequencies import Vocabulary, frequencies_of, merge_frequencies, read_vocabulary, vocabulary_batch
from transforms.tfidf.settings import TfidfSettings
from transforms.tfidf.vectors import Vectors, read_vectors, vector_batch


@dataclass(frozen=True)
class Row:
    """One caption and its ids."""

    pair_id: str
    image_id: str
    caption: str
    sha256: bytes | None = None


def cosines(rows: Sequence[Row], settings: TfidfSettings) -> np.ndarray:
    """All cosines, float64 [n, n], rounded to 6 decimals, by scikit-learn."""
    vectorizer = TfidfVectorizer(
        max_df=settings.max_df, min_df=settings.min_df, sublinear_tf=settings.sublinear_tf, ngram_range=settings.ngrams
    )
    try:
        matrix = vectorizer.fit_transform([row.caption for row in rows]).toarray()
    except ValueError:  # empty vocabulary
        matrix = np.zeros((len(rows), 1))
    return np.minimum(np.round(matrix @ matrix.T, 6), 1.0)


def brute_force(rows: Sequence[Row], settings: TfidfSettings) -> dict[str, tuple[list, list]]:
    """By pair id: kept (other pair id, cosine) in order, and refused (other pair id, reason, cosine) up to the k-th kept."""
    similar = cosines(rows, settings)
    texts = [" ".join(re.findall(r"\w+", row.caption.lower())) for row in rows]
    by_text: dict[str, int] = {}
    for i in sorted(range(len(rows)), key=lambda i: rows[i].pair_id):
        by_text.setdefault(texts[i], i)
    firsts = set(by_text.values())  # captions with the same text form one candidate, the first of them
    out = {}
    for q, query in enumerate(rows):
        family = [i for i, row in enumerate(rows) if row.image_id == query.image_id]
        siblings = [i for i in family if i != q]
        own = max((similar[q, i] for i in siblings), default=None)
        kept: list[tuple[str, float]] = []
        refused: list[tuple[str, str, float]] = []
        order = sorted((i for i in firsts if i != q and similar[q, i] > 0), key=lambda i: (-similar[q, i], rows[i].pair_id))
        for i in order:
            score, other = similar[q, i], rows[i]
            if other.image_id == query.image_id:
                reason = "same_image"
            elif query.sha256 is not None and other.sha256 == query.sha256:
                reason = "copy_of_image"
            elif any(texts[i] == texts[s] for s in family):
                reason = "same_text"
            elif max(similar[s, i] for s in family) >= settings.near_text:
                reason = "near_text"
            elif score > settings.ceiling:
                reason = "above_ceiling"
            elif own is not None and score > round(max(settings.margin_floor, (1 - settings.margin) * own), 6):
                reason = "inside_margin"
            else:
                kept.append((other.pair_id, score))
                if len(kept) == settings.k:
                    break
                continue
            refused.append((other.pair_id, reason, score))
        out[query.pair_id] = (kept, refused)
    return out


def counts_of(rows: Sequence[Row], partitions: int, settings: TfidfSettings) -> list[TermCounts]:
    """The counts of each partition of `rows`, partitioned and sorted as in a corpus."""
    ordered = sorted(rows, key=lambda row: (placement(row.image_id), row.image_id, row.pair_id))
    homes = partition_of(np.array([placement(row.image_id) for row in ordered], np.int64), partitions)
    out = []
    for home in range(partitions):
        own = [row for row, partition in zip(ordered, homes, strict=True) if partition == home]
        table = pa.table({name: pa.array([getattr(row, name) for row in own], pa.string()) for name in ("pair_id", "image_id", "caption")})
        out.append(count_terms(table, pa.array([row.sha256 for row in own], pa.binary(32)), settings))
    return out


def vocabulary_of(counts: Sequence[TermCounts], settings: TfidfSettings) -> Vocabulary:
    """The vocabulary of all partitions."""
    return read_vocabulary(vocabulary_batch(merge_frequencies([frequencies_of(part) for part in counts]), settings))


def vectors_of(counts: Sequence[TermCounts], vocabulary: Vocabulary, settings: TfidfSettings) -> list[Vectors]:
    """The vectors of each partition."""
    return [read_vectors(vector_batch(part.rows, part.terms.column(0), vocabulary, settings), len(vocabulary.terms)) for part in counts]


def corpus_of(rows: Sequence[Row], partitions: int, settings: TfidfSettings) -> Captions:
    """The corpus of `rows` as the stages before the search make it."""
    counts = counts_of(rows, partitions, settings)
    return Captions(vectors_of(counts, vocabulary_of(counts, settings), settings))
