"""Reads the `tokens` tables one pair or sentence at a time, as views of the file."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from schemas.store import RowFile
from schemas.tokens import TEXT_TOKENS, TOKENS

_COLUMNS_HELD = 4096  # record batches of a memory map whose arrays are cached


class Ragged(NamedTuple):
    """n concatenated arrays: the i-th is `values[starts[i]:starts[i + 1]]`."""

    starts: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, column: pa.ListArray) -> Ragged:
        """The rows of a list column of numbers."""
        return cls(column.offsets.to_numpy(), column.values.to_numpy())

    def at(self, index: int) -> np.ndarray:
        """The array at `index`."""
        return self.values[self.starts[index] : self.starts[index + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """The length of each array."""
        return np.asarray(self.starts[1:] - self.starts[:-1])


def _flat(name: str) -> Any:
    return property(lambda pair: pair._columns.flat(name).at(pair._at), doc=f"`{name}`, a view of the file if it is local.")


def _nested(name: str) -> Any:
    def texts(pair: PairTokens) -> Ragged:
        starts, rows = pair._columns.nested(name)
        return Ragged(rows.starts[starts[pair._at] : starts[pair._at + 1] + 1], rows.values)

    return property(texts, doc=f"`{name}`, views of the file if it is local.")


class PairTokens:
    """One pair, with the columns of `tokens` (`schemas/tokens.py`), each read when first accessed."""

    __slots__ = ("_at", "_columns")

    def __init__(self, columns: _Columns, at: int):
        self._columns, self._at = columns, at

    @property
    def pair_id(self) -> str:
        """The pair's id."""
        return self._columns.ids.at(self._at).tobytes().decode()

    caption: np.ndarray = _flat("caption")
    positives: Ragged = _nested("positives")
    positive_keys: np.ndarray = _flat("positive_keys")
    negatives: Ragged = _nested("negatives")
    negative_keys: np.ndarray = _flat("negative_keys")
    negative_kinds: np.ndarray = _flat("negative_kinds")
    negative_scores: np.ndarray = _flat("negative_scores")
    matched_images: np.ndarray = _flat("matched_images")
    matched_texts: np.ndarray = _flat("matched_texts")


class _Columns:
    """A record batch of `tokens`, whose columns are converted to arrays on first access."""

    def __init__(self, batch: pa.RecordBatch):
        _, starts, data = batch["pair_id"].buffers()  # without offset, as read from a file; scalars of Arrow are several times slower
        self.batch, self.ids = batch, Ragged(np.frombuffer(starts, np.int32), np.frombuffer(data or b"", np.uint8))
        self._held: dict[str, Any] = {}

    def flat(self, name: str) -> Ragged:
        """A list column of numbers."""
        if name not in self._held:
            self._held[name] = Ragged.of(self.batch[name])
        found: Ragged = self._held[name]
        return found

    def nested(self, name: str) -> tuple[np.ndarray, Ragged]:
        """A list column of texts: the index of each row's first text, and the texts."""
        if name not in self._held:
            column = self.batch[name]
            self._held[name] = column.offsets.to_numpy(), Ragged.of(column.values)
        found: tuple[np.ndarray, Ragged] = self._held[name]
        return found


class TokenFile(RowFile):
    """A partition of `tokens`, one pair at a time; raises as `RowFile` does."""

    def __init__(self, url: str):
        super().__init__(url, "tokens", TOKENS)
        self._arrays = lru_cache(_COLUMNS_HELD if self.mapped else 1)(lambda index: _Columns(self.batch(index)))

    def __getitem__(self, row: int) -> PairTokens:
        """The pair in row `row`. Raises IndexError outside [0, len)."""
        index, at = self.locate(row)
        return PairTokens(self._arrays(index), at)


class TextFile(RowFile):
    """A partition of `text_tokens`, one sentence at a time; raises as `RowFile` does."""

    def __init__(self, url: str):
        super().__init__(url, "text_tokens", TEXT_TOKENS)
        self._arrays = lru_cache(_COLUMNS_HELD if self.mapped else 1)(lambda index: _text_columns(self.batch(index)))

    def __getitem__(self, row: int) -> tuple[str, np.ndarray]:
        """Id and tokens of the sentence in row `row`. Raises IndexError outside [0, len)."""
        index, at = self.locate(row)
        ids, tokens = self._arrays(index)
        return ids[at].as_py(), tokens.at(at)


def _text_columns(batch: pa.RecordBatch) -> tuple[pa.StringArray, Ragged]:
    return batch["text_id"], Ragged.of(batch["tokens"])
