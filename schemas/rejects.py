"""Rows that a stage did not keep: the closed list of reasons, and the log that becomes the stage's `rejects` table.

There are four outcomes, which count differently:

- *rejected*: a bad row (undecodable, broken, too long). It counts towards the limit on the rejected share.
- *excluded*: a good row left out on purpose (such as a downstream test image). It does not count towards that limit.
- *merged*: an exact duplicate of a kept row.
- *dropped*: a candidate that a guard refused (such as a negative that may be true of the image). It is not an input row at all.

Rows in = rows out + rejected + excluded + merged; dropped candidates are not part of that sum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import REJECTS


class Outcome(StrEnum):
    """What happens to a row or candidate that a stage does not keep; see the module's docstring."""

    REJECTED = "rejected"
    EXCLUDED = "excluded"
    MERGED = "merged"
    DROPPED = "dropped"


class Reason(StrEnum):
    """Why a row or candidate was not kept, and its outcome. Append new members at the end: the position is stored."""

    outcome: Outcome

    def __new__(cls, value: str, outcome: Outcome = Outcome.REJECTED) -> Reason:
        """Creates a member. `Reason(value)` looks one up and raises ValueError for an unknown value."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.outcome = outcome
        return member

    # Text
    EMPTY = "empty", Outcome.REJECTED
    TOO_LONG = "too_long", Outcome.REJECTED
    TOO_SHORT = "too_short", Outcome.REJECTED
    BAD_ENCODING = "bad_encoding", Outcome.REJECTED
    BAD_ROW = "bad_row", Outcome.REJECTED
    # Images
    IMAGE_MISSING = "image_missing", Outcome.REJECTED
    IMAGE_EMPTY = "image_empty", Outcome.REJECTED
    IMAGE_BROKEN = "image_broken", Outcome.REJECTED
    IMAGE_TOO_LARGE = "image_too_large", Outcome.REJECTED
    IMAGE_TOO_SMALL = "image_too_small", Outcome.REJECTED
    IMAGE_ANIMATED = "image_animated", Outcome.REJECTED
    IMAGE_MODE = "image_mode", Outcome.REJECTED
    IMAGE_UNREADABLE = "image_unreadable", Outcome.REJECTED
    IMAGE_REJECTED = "image_rejected", Outcome.REJECTED
    # Archives and ids
    UNSAFE_PATH = "unsafe_path", Outcome.REJECTED
    DUPLICATE_ID = "duplicate_id", Outcome.REJECTED
    CAPTION_MISSING = "caption_missing", Outcome.REJECTED
    # Left out on purpose
    EXCLUDED = "excluded", Outcome.EXCLUDED
    IMAGE_NOT_HELD = "image_not_held", Outcome.EXCLUDED
    # Candidates refused by a guard
    SAME_IMAGE = "same_image", Outcome.DROPPED
    COPY_OF_IMAGE = "copy_of_image", Outcome.DROPPED
    SAME_TEXT = "same_text", Outcome.DROPPED
    NEAR_TEXT = "near_text", Outcome.DROPPED
    ABOVE_CEILING = "above_ceiling", Outcome.DROPPED
    INSIDE_MARGIN = "inside_margin", Outcome.DROPPED
    REPEATED_TEXT = "repeated_text", Outcome.DROPPED
    # Engines
    ENGINE_FAILED = "engine_failed", Outcome.REJECTED
    NO_WORDS = "no_words", Outcome.REJECTED
    # Sources
    ARCHIVE_BROKEN = "archive_broken", Outcome.REJECTED
    # Swaps refused by a guard
    SYNONYM = "synonym", Outcome.DROPPED
    HYPERNYM = "hypernym", Outcome.DROPPED
    HYPONYM = "hyponym", Outcome.DROPPED
    IN_SIBLING = "in_sibling", Outcome.DROPPED
    IN_LABELS = "in_labels", Outcome.DROPPED
    LIKELY_TRUE = "likely_true", Outcome.DROPPED
    AMBIGUOUS = "ambiguous", Outcome.DROPPED
    # Regions
    REGIONS_MISSING = "regions_missing", Outcome.REJECTED
    # Back-translation: texts that are not captions, and refused candidates
    NO_CAPTION = "no_caption", Outcome.EXCLUDED
    CANDIDATE_FAILED = "candidate_failed", Outcome.DROPPED
    GARBLED = "garbled", Outcome.DROPPED
    UNCHANGED = "unchanged", Outcome.DROPPED
    NUMBERS_DIFFER = "numbers_differ", Outcome.DROPPED
    COLOURS_DIFFER = "colours_differ", Outcome.DROPPED
    NEGATION_DIFFERS = "negation_differs", Outcome.DROPPED
    PLACES_DIFFER = "places_differ", Outcome.DROPPED
    OBJECTS_DIFFER = "objects_differ", Outcome.DROPPED
    ATTRIBUTES_DIFFER = "attributes_differ", Outcome.DROPPED
    RELATIONS_DIFFER = "relations_differ", Outcome.DROPPED
    DISSIMILAR = "dissimilar", Outcome.DROPPED
    NEAR_POSITIVE = "near_positive", Outcome.DROPPED
    SURPLUS = "surplus", Outcome.DROPPED
    # Images whose store or disk did not respond: a later run tries again
    IMAGE_UNREACHABLE = "image_unreachable", Outcome.REJECTED
    # Retrieval: items without a vector, and refused candidates
    BAD_VECTOR = "bad_vector", Outcome.REJECTED
    NO_SOFT_LABELS = "no_soft_labels", Outcome.REJECTED
    NEAR_COPY = "near_copy", Outcome.DROPPED
    NEAR_MATCH = "near_match", Outcome.DROPPED
    # Candidates that the judge of truth refused
    JUDGED_TRUE = "judged_true", Outcome.DROPPED
    # Swaps left out for blind balance
    UNBALANCED = "unbalanced", Outcome.DROPPED
    # Retrieved items whose uses (`max_uses`) all go to better queries
    OVERUSED = "overused", Outcome.DROPPED
    # Retrieved texts that the judge of truth refused
    JUDGED_FALSE = "judged_false", Outcome.DROPPED
    # Back-translation: a candidate without the word that stood in for another
    STAND_IN_LOST = "stand_in_lost", Outcome.DROPPED


REASONS = list(Reason)
TRANSIENT = frozenset({Reason.IMAGE_UNREACHABLE})  # caused by the machine or store: tasks with such rejects are repeated
_POSITION = {reason: position for position, reason in enumerate(REASONS)}


@cache
def _dictionary() -> pa.Array:
    """The reasons as stored. Made on demand: the first array of a process imports pandas where that is installed, which takes long."""
    return pa.array([reason.value for reason in REASONS])


def reject_batch(stage: str, ids: pa.Array | list[str], reasons: np.ndarray, details: pa.Array | list[str]) -> pa.RecordBatch:
    """A `rejects` record batch of n rows; `reasons` int8 [n] are positions in `REASONS`."""
    count = len(ids)
    return pa.RecordBatch.from_arrays(
        [
            pa.array(np.full(count, stage, dtype=object), pa.string()) if count else pa.array([], pa.string()),
            pa.array(ids, pa.string()) if isinstance(ids, list) else ids,
            pa.DictionaryArray.from_arrays(pa.array(reasons, pa.int8()), _dictionary()),
            pa.array(details, pa.string()) if isinstance(details, list) else details,
        ],
        schema=REJECTS,
    )


class RejectLog:
    """Collects a task's rejects, by row or by batch, and counts them by reason."""

    def __init__(self, stage: str):
        self.stage = stage
        self.counts: Counter[str] = Counter()
        self._ids: list[str] = []
        self._reasons: list[int] = []
        self._details: list[str] = []
        self._batches: list[pa.RecordBatch] = []

    def add(self, row_id: str, reason: Reason, detail: str) -> None:
        """Adds one row. Details are truncated to 500 characters, so that a hostile row cannot inflate the log."""
        self._ids.append(row_id)
        self._reasons.append(_POSITION[reason])
        self._details.append(detail[:500])
        self.counts[reason.value] += 1

    def add_batch(self, ids: pa.Array, reasons: np.ndarray, details: pa.Array) -> None:
        """Adds n rows at once; `reasons` int8 [n] are positions in `REASONS`."""
        for position, count in zip(*np.unique(reasons, return_counts=True), strict=True):
            self.counts[REASONS[position].value] += int(count)
        self._batches.append(reject_batch(self.stage, ids, reasons, details))

    def take_over(self, rows: list[pa.RecordBatch], counts: Mapping[str, int]) -> None:
        """Adds rows (schema REJECTS) of an earlier run, and replaces the counts by reason."""
        self._batches += rows
        self.counts = Counter(counts)

    def table(self) -> pa.Table:
        """All rejects, sorted by id, reason and detail, so that the order does not depend on which was found first."""
        single = reject_batch(self.stage, self._ids, np.array(self._reasons, dtype=np.int8), self._details)
        table = pa.Table.from_batches([single, *self._batches], schema=REJECTS)
        keys = table.set_column(
            2, "reason", table["reason"].combine_chunks().cast(pa.string()) if table.num_rows else pa.array([], pa.string())
        )
        order = pc.sort_indices(keys, [("id", "ascending"), ("reason", "ascending"), ("detail", "ascending")])
        return table.take(order)

    def outcomes(self) -> Counter[Outcome]:
        """Number of rows so far, by outcome."""
        found: Counter[Outcome] = Counter()
        for reason, count in self.counts.items():
            found[Reason(reason).outcome] += count
        return found


def reason_position(reason: Reason) -> int:
    """The stored code of a reason."""
    return _POSITION[reason]
