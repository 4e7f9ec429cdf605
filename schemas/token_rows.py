"""Reading the `tokens` table: one pair at a time, as views of the file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from schemas.store import RowFile
from schemas.tokens import TEXT_TOKENS, TOKENS

_COLUMNS_HELD = 4096  # record batches of a memory map whose arrays are kept at hand


class Ragged(NamedTuple):
    """n arrays behind one another: the i-th is `values[starts[i]:starts[i + 1]]`."""

    starts: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, column: pa.ListArray) -> Ragged:
        """The rows of a list column of numbers."""
        return cls(column.offsets.to_numpy(), column.values.to_numpy())

    def at(self, index: int) -> np.ndarray:
        """The array at `index`."""
        return self.values[self.starts[index]:self.starts[index + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """The length of each."""
        return np.diff(self.starts)


@dataclass(frozen=True)
class PairTokens:
    """One pair; what the columns hold is told in `schemas/tokens.py`. Arrays are views of the file where it is local."""

    pair_id: str
    caption: np.ndarray
    positives: Ragged
    positive_keys: np.ndarray
    negatives: Ragged
    negative_keys: np.ndarray
    negative_kinds: np.ndarray
    negative_scores: np.ndarray
    matched_images: np.ndarray
    matched_texts: np.ndarray


class _Columns:
    """A record batch of `tokens` as arrays."""

    def __init__(self, batch: pa.RecordBatch):
        self._ids = batch["pair_id"]
        self._flat = {name: Ragged.of(batch[name]) for name in (
            "caption", "positive_keys", "negative_keys", "negative_kinds", "negative_scores", "matched_images", "matched_texts")}
        self._nested = {name: (batch[name].offsets.to_numpy(), Ragged.of(batch[name].values)) for name in ("positives", "negatives")}

    def row(self, at: int) -> PairTokens:
        return PairTokens(self._ids[at].as_py(), positives=self._texts("positives", at), negatives=self._texts("negatives", at),
                          **{name: column.at(at) for name, column in self._flat.items()})

    def _texts(self, name: str, at: int) -> Ragged:
        starts, texts = self._nested[name]
        return Ragged(texts.starts[starts[at]:starts[at + 1] + 1], texts.values)


class TokenFile(RowFile):
    """A partition of `tokens`, one pair at a time; raises as `RowFile` does."""

    def __init__(self, url: str):
        super().__init__(url, "tokens", TOKENS)
        self._arrays = lru_cache(_COLUMNS_HELD if self.mapped else 1)(lambda index: _Columns(self.batch(index)))

    def __getitem__(self, row: int) -> PairTokens:
        """The pair in row `row`. Raises IndexError outside of [0, len)."""
        index, at = self.locate(row)
        return self._arrays(index).row(at)


class TextFile(RowFile):
    """A partition of `text_tokens`, one sentence at a time; raises as `RowFile` does."""

    def __init__(self, url: str):
        super().__init__(url, "text_tokens", TEXT_TOKENS)
        self._arrays = lru_cache(_COLUMNS_HELD if self.mapped else 1)(lambda index: _text_columns(self.batch(index)))

    def __getitem__(self, row: int) -> tuple[str, np.ndarray]:
        """Id and tokens of the sentence in row `row`. Raises IndexError outside of [0, len)."""
        index, at = self.locate(row)
        ids, tokens = self._arrays(index)
        return ids[at].as_py(), tokens.at(at)


def _text_columns(batch: pa.RecordBatch) -> tuple[pa.StringArray, Ragged]:
    return batch["text_id"], Ragged.of(batch["tokens"])
