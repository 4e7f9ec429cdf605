"""Word counts of a partition's captions: the only step that reads text.

Words follow scikit-learn's default `token_pattern`: runs of two or more word characters in the lower-cased caption.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.ids import placements
from schemas.tfidf import TFIDF_COUNTS, TFIDF_TERMS
from transforms.tfidf.settings import TfidfSettings

_WORDS = re.compile(r"\w+|\n")
_CHUNK = 16_384  # captions tokenised at a time: limits how many words are held as Python strings
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so its powers are invertible modulo 2**64


@dataclass(frozen=True)
class TermCounts:
    """The words of one partition: `rows` (schema TFIDF_COUNTS, one row per caption), `terms` (schema TFIDF_TERMS, one row per word)."""

    rows: pa.RecordBatch
    terms: pa.RecordBatch


def count_terms(pairs: pa.Table, sha256: pa.Array | pa.ChunkedArray | None, settings: TfidfSettings) -> TermCounts:
    """Counts the words of a partition's captions.

    pairs: columns pair_id, image_id, caption, n rows. sha256: binary(32) [n], null where the image's hash is unknown, or None
    if all are unknown; it identifies copies of an image. Raises ValueError if the lengths differ.
    """
    if sha256 is not None and len(sha256) != pairs.num_rows:
        raise ValueError(f"sha256 has {len(sha256)} rows, pairs has {pairs.num_rows}")
    words, owners = _tokenise(pairs["caption"])
    rows = pairs.num_rows
    offsets = _offsets(owners, rows)
    text_keys = _sequence_keys(words, owners, offsets)
    long = pc.greater(pc.utf8_length(words.dictionary), 1).to_numpy(zero_copy_only=False)
    chosen = long[words.indices.to_numpy()] if len(words) else np.zeros(0, bool)
    words, owners = words.filter(pa.array(chosen)), owners[chosen]
    if settings.ngrams != (1, 1):
        words, owners = _ngrams(words, owners, settings.ngrams)
    terms, codes = _sorted_vocabulary(words)
    owners, columns, counts = _group(owners, codes, len(terms))
    indptr = pa.array(_offsets(owners, rows).astype(np.int32))
    image_keys = _image_keys(pairs["image_id"])
    schema = TFIDF_COUNTS
    batch = pa.RecordBatch.from_arrays(
        [
            _whole(pairs["pair_id"]),
            _whole(pairs["caption"]),
            pa.array(image_keys),
            pa.array(_content_keys(sha256, image_keys)),
            pa.array(text_keys),
            pa.ListArray.from_arrays(indptr, pa.array(columns), type=schema.field("terms").type),
            pa.ListArray.from_arrays(indptr, pa.array(counts), type=schema.field("counts").type),
        ],
        schema=schema,
    )
    frequencies = pa.array(np.bincount(columns, minlength=len(terms)).astype(np.int64))
    return TermCounts(batch, pa.RecordBatch.from_arrays([terms, frequencies], schema=TFIDF_TERMS))


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column with any number of chunks as a single array."""
    if isinstance(column, pa.Array):
        return column
    return (
        column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    )


def _tokenise(captions: pa.ChunkedArray) -> tuple[pa.DictionaryArray, np.ndarray]:
    """Every word of every caption in order, including one-letter words, and each word's caption int64 [words]."""
    parts = list(_token_chunks(captions))
    words = pa.chunked_array(parts, pa.string()).dictionary_encode()
    words = words.combine_chunks() if words.num_chunks != 1 else words.chunk(0)
    if isinstance(words, pa.ChunkedArray):  # zero chunks
        words = pa.array([], pa.string()).dictionary_encode()
    codes = words.indices.to_numpy()
    break_code = pc.index(words.dictionary, "\n").as_py()
    breaks = codes == break_code
    owners = np.cumsum(breaks) - breaks
    return words.filter(pa.array(~breaks)), owners[~breaks]


def _token_chunks(captions: pa.ChunkedArray) -> Iterator[pa.Array]:
    """Words of `_CHUNK` captions at a time, with a line break after each caption."""
    for start in range(0, len(captions), _CHUNK):
        texts = captions.slice(start, _CHUNK).to_pylist()
        text = "\n".join(texts)
        if text.count("\n") >= len(texts):  # some caption contains a line break
            text = "\n".join(caption.replace("\n", " ") for caption in texts)
        # One call per chunk, not per caption. Lower-casing the joined text is the same as lower-casing each caption: the only
        # context-dependent rule, the Greek final sigma, treats a line break as the end of a word.
        tokens = _WORDS.findall(text.lower())
        tokens.append("\n")
        yield pa.array(tokens, pa.string())


def _offsets(owners: np.ndarray, rows: int) -> np.ndarray:
    """CSR row offsets int64 [rows + 1] of ascending row numbers."""
    return np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=rows))]).astype(np.int64)


def _sequence_keys(words: pa.DictionaryArray, owners: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """A hash uint64 [rows] of each caption's word sequence: a polynomial in the hashes of its words, modulo 2**64."""
    rows = len(offsets) - 1
    if not len(words):
        return np.zeros(rows, np.uint64)
    hashes = placements(words.dictionary.to_pylist()).astype(np.uint64)[words.indices.to_numpy()]
    position = np.arange(len(words)) - offsets[owners]
    powers = np.cumprod(np.full(int(position.max()) + 1, _BASE, np.uint64))
    total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashes * powers[position], dtype=np.uint64)])
    return total[offsets[1:]] - total[offsets[:-1]]


def _ngrams(words: pa.DictionaryArray, owners: np.ndarray, sizes: tuple[int, int]) -> tuple[pa.DictionaryArray, np.ndarray]:
    """All n-grams of each caption, `sizes` giving the least and greatest n, joined by spaces, and their captions."""
    text = words.cast(pa.string())
    grams, homes = [], []
    for size in range(sizes[0], sizes[1] + 1):
        count = len(text) - size + 1
        if count <= 0:
            continue
        inside = np.flatnonzero(owners[:count] == owners[size - 1 :])
        picks = [text.take(pa.array(inside + step)) for step in range(size)]
        grams.append(pc.binary_join_element_wise(*picks, " ") if size > 1 else picks[0])
        homes.append(owners[inside])
    if not grams:
        return pa.array([], pa.string()).dictionary_encode(), np.zeros(0, np.int64)
    return pa.concat_arrays(grams).dictionary_encode(), np.concatenate(homes)


def _sorted_vocabulary(words: pa.DictionaryArray) -> tuple[pa.Array, np.ndarray]:
    """The distinct words in code point order, and each word's position among them, int32 [words]."""
    codes = words.indices.to_numpy()
    used = np.flatnonzero(np.bincount(codes, minlength=len(words.dictionary)))
    terms = words.dictionary.take(pa.array(used))
    order = pc.sort_indices(terms).to_numpy()
    position = np.zeros(len(words.dictionary), np.int32)
    position[used[order]] = np.arange(len(order), dtype=np.int32)
    return terms.take(pa.array(order)), position[codes]


def _group(owners: np.ndarray, codes: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct (row, column) pairs in ascending order: rows int64, columns int32 and counts int32."""
    keys = owners.astype(np.int64) * max(width, 1) + codes
    keys.sort()
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.zeros(0, np.int64)
    counts = np.diff(np.append(starts, len(keys)))
    rows, columns = np.divmod(keys[starts], max(width, 1))
    return rows, columns.astype(np.int32), counts.astype(np.int32)


def _image_keys(image_ids: pa.ChunkedArray) -> np.ndarray:
    """A hash uint64 [n] of each image id."""
    coded = _whole(image_ids).dictionary_encode()
    return placements(coded.dictionary.to_pylist()).astype(np.uint64)[coded.indices.to_numpy()]


def _content_keys(sha256: pa.Array | pa.ChunkedArray | None, image_keys: np.ndarray) -> np.ndarray:
    """The first 8 bytes of each image's SHA-256 as uint64 [n]; the image key where it is null."""
    if sha256 is None or not len(image_keys):
        return image_keys
    digests = _whole(sha256)
    known = pc.is_valid(digests).to_numpy(zero_copy_only=False)
    filled = pc.fill_null(digests, pa.scalar(bytes(32), digests.type))
    data = np.frombuffer(filled.buffers()[1], np.uint8, 32 * len(filled), 32 * filled.offset)
    return np.where(known, data.reshape(-1, 32)[:, :8].copy().view(">u8")[:, 0].astype(np.uint64), image_keys)
