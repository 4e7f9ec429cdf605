"""Rows that a stage did not keep: the closed list of reasons, and the log that turns them into a `rejects` table.

Three things are told apart, because they count differently:

- *rejected*: a bad row (undecodable, broken, too long). It counts towards the limit on the rejected share.
- *excluded*: a good row left out on purpose (a downstream test image). It does not.
- *dropped*: a candidate that a guard refused (a would-be negative that may be true of the image). It is no input row at all.

Rows in = rows out + rejected + excluded + merged, where *merged* are exact duplicates; drops stand beside that sum.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import REJECTS


class Reason(StrEnum):
    """Why a row or a candidate was not kept. Append new ones at the end: the position is stored."""

    # Text
    EMPTY = "empty"
    TOO_LONG = "too_long"
    TOO_SHORT = "too_short"
    BAD_ENCODING = "bad_encoding"
    BAD_ROW = "bad_row"
    # Images
    IMAGE_MISSING = "image_missing"
    IMAGE_EMPTY = "image_empty"
    IMAGE_BROKEN = "image_broken"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_TOO_SMALL = "image_too_small"
    IMAGE_ANIMATED = "image_animated"
    IMAGE_MODE = "image_mode"
    IMAGE_UNREADABLE = "image_unreadable"
    IMAGE_REJECTED = "image_rejected"
    # Archives and ids
    UNSAFE_PATH = "unsafe_path"
    DUPLICATE_ID = "duplicate_id"
    CAPTION_MISSING = "caption_missing"
    # Left out on purpose
    EXCLUDED = "excluded"
    IMAGE_NOT_HELD = "image_not_held"
    # Candidates refused by a guard
    SAME_IMAGE = "same_image"
    COPY_OF_IMAGE = "copy_of_image"
    SAME_TEXT = "same_text"
    NEAR_TEXT = "near_text"
    ABOVE_CEILING = "above_ceiling"
    INSIDE_MARGIN = "inside_margin"
    REPEATED_TEXT = "repeated_text"
    # Engines
    ENGINE_FAILED = "engine_failed"
    NO_WORDS = "no_words"
    # Sources
    ARCHIVE_BROKEN = "archive_broken"
    # Swaps refused by a guard
    SYNONYM = "synonym"
    HYPERNYM = "hypernym"
    HYPONYM = "hyponym"
    IN_SIBLING = "in_sibling"
    IN_LABELS = "in_labels"
    LIKELY_TRUE = "likely_true"
    AMBIGUOUS = "ambiguous"
    # Regions
    REGIONS_MISSING = "regions_missing"
    # Back-translation: texts that are no captions, and candidates refused
    NO_CAPTION = "no_caption"
    CANDIDATE_FAILED = "candidate_failed"
    GARBLED = "garbled"
    UNCHANGED = "unchanged"
    NUMBERS_DIFFER = "numbers_differ"
    COLOURS_DIFFER = "colours_differ"
    NEGATION_DIFFERS = "negation_differs"
    PLACES_DIFFER = "places_differ"
    OBJECTS_DIFFER = "objects_differ"
    ATTRIBUTES_DIFFER = "attributes_differ"
    RELATIONS_DIFFER = "relations_differ"
    DISSIMILAR = "dissimilar"
    NEAR_POSITIVE = "near_positive"
    SURPLUS = "surplus"


REASONS = list(Reason)
_POSITION = {reason: position for position, reason in enumerate(REASONS)}
EXCLUSIONS = frozenset({Reason.EXCLUDED, Reason.IMAGE_NOT_HELD, Reason.NO_CAPTION})
GUARDS = frozenset({
    Reason.SAME_IMAGE, Reason.COPY_OF_IMAGE, Reason.SAME_TEXT, Reason.NEAR_TEXT, Reason.ABOVE_CEILING, Reason.INSIDE_MARGIN,
    Reason.REPEATED_TEXT, Reason.SYNONYM, Reason.HYPERNYM, Reason.HYPONYM, Reason.IN_SIBLING, Reason.IN_LABELS,
    Reason.LIKELY_TRUE, Reason.AMBIGUOUS, Reason.CANDIDATE_FAILED, Reason.GARBLED, Reason.UNCHANGED, Reason.NUMBERS_DIFFER,
    Reason.COLOURS_DIFFER,
    Reason.NEGATION_DIFFERS, Reason.PLACES_DIFFER, Reason.OBJECTS_DIFFER, Reason.ATTRIBUTES_DIFFER, Reason.RELATIONS_DIFFER,
    Reason.DISSIMILAR, Reason.NEAR_POSITIVE, Reason.SURPLUS,
})
_DICTIONARY = pa.array([reason.value for reason in REASONS])


def reject_batch(stage: str, ids: pa.Array | list[str], reasons: np.ndarray, details: pa.Array | list[str]) -> pa.RecordBatch:
    """A `rejects` record batch of n rows; `reasons` int8 [n] are positions in `REASONS`."""
    count = len(ids)
    return pa.RecordBatch.from_arrays([
        pa.array(np.full(count, stage, dtype=object), pa.string()) if count else pa.array([], pa.string()),
        pa.array(ids, pa.string()) if isinstance(ids, list) else ids,
        pa.DictionaryArray.from_arrays(pa.array(reasons, pa.int8()), _DICTIONARY),
        pa.array(details, pa.string()) if isinstance(details, list) else details,
    ], schema=REJECTS)


class RejectLog:
    """Collects the rejects of one task, row by row or by the batch, and counts them by reason."""

    def __init__(self, stage: str):
        self.stage = stage
        self.counts: Counter[str] = Counter()
        self._ids: list[str] = []
        self._reasons: list[int] = []
        self._details: list[str] = []
        self._batches: list[pa.RecordBatch] = []

    def add(self, row_id: str, reason: Reason, detail: str) -> None:
        """Notes one row. Details are cut to 500 characters: a hostile row must not swell the log."""
        self._ids.append(row_id)
        self._reasons.append(_POSITION[reason])
        self._details.append(detail[:500])
        self.counts[reason.value] += 1

    def add_batch(self, ids: pa.Array, reasons: np.ndarray, details: pa.Array) -> None:
        """Notes n rows at once; `reasons` int8 [n] are positions in `REASONS`."""
        for position, count in zip(*np.unique(reasons, return_counts=True), strict=True):
            self.counts[REASONS[position].value] += int(count)
        self._batches.append(reject_batch(self.stage, ids, reasons, details))

    def table(self) -> pa.Table:
        """All rejects, sorted by id, then reason, then detail, so that their order does not tell who found them first."""
        single = reject_batch(self.stage, self._ids, np.array(self._reasons, dtype=np.int8), self._details)
        table = pa.Table.from_batches([single, *self._batches], schema=REJECTS)
        keys = table.set_column(2, "reason", table["reason"].combine_chunks().cast(pa.string()) if table.num_rows else
                                pa.array([], pa.string()))
        order = pc.sort_indices(keys, [("id", "ascending"), ("reason", "ascending"), ("detail", "ascending")])
        return table.take(order)

    def shares(self) -> tuple[int, int, int]:
        """Rows (rejected, excluded, dropped) so far."""
        rejected = excluded = dropped = 0
        for reason, count in self.counts.items():
            if Reason(reason) in GUARDS:
                dropped += count
            elif Reason(reason) in EXCLUSIONS:
                excluded += count
            else:
                rejected += count
        return rejected, excluded, dropped


def reason_position(reason: Reason) -> int:
    """The stored code of a reason."""
    return _POSITION[reason]
