"""Common parts of sentence encoders: their protocol, and batches of a few shapes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from transforms.engines.registry import EngineError

WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256)  # in tokens, special ones included: batches are padded to one of these
BATCH = 16  # as fast as more, and small partitions and additions are padded less


class EncoderError(EngineError):
    """An unavailable encoder: the text says what is missing and which command provides it."""


class SentenceEncoder(Protocol):
    """The protocol of encoders. Loaded once per process; calls are serialised."""

    @property
    def fingerprint(self) -> str:
        """A hash of weights, settings and versions: equal hashes give equal vectors (up to the last bits on other hardware)."""

    @property
    def width(self) -> int:
        """The dimension of the vectors."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors, float32 [n, width], one per text. Texts are truncated to the model's maximum length."""


class PaddedEncoder:
    """Encodes in batches of a few shapes.

    Batches always have `BATCH` rows and one of `WIDTHS` tokens: short texts and the last batch are padded. So a text is processed by
    kernels of the same shape, and gets the same vector, whatever else is in its batch.

    limit: the model's maximum number of tokens.
    """

    def __init__(self, fingerprint: str, limit: int):
        self.fingerprint = fingerprint
        self._limit, self._lock = min(limit, WIDTHS[-1]), threading.Lock()
        self.width = int(self.vectors(["a"] * BATCH, WIDTHS[0]).shape[1])

    def tokens(self, texts: Sequence[str], **options: Any) -> Any:
        """The tokenizer's result, truncated."""
        raise NotImplementedError

    def vectors(self, texts: Sequence[str], width: int) -> np.ndarray:
        """Unit vectors, float32 [n, width of the model], of texts that are padded to `width` tokens."""
        raise NotImplementedError

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors, float32 [n, width]."""
        with self._lock:  # the tokenizer is not thread-safe either: it keeps padding and truncation between calls
            return self._encode(texts)

    def _encode(self, texts: Sequence[str]) -> np.ndarray:
        lengths = [min(len(ids), self._limit) for ids in self.tokens(texts, max_length=self._limit)["input_ids"]] if texts else []
        padded = [next(width for width in WIDTHS if length <= width) for length in lengths]
        out = np.zeros((len(texts), self.width), dtype=np.float32)
        for width in sorted(set(padded)):
            rows = [row for row, own in enumerate(padded) if own == width]
            for start in range(0, len(rows), BATCH):
                own = rows[start : start + BATCH]
                full = [texts[row] for row in own] + [""] * (BATCH - len(own))
                out[own] = self.vectors(full, width)[: len(own)]
        return out
