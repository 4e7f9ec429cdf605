"""Sentence embeddings of texts, each encoded once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from transforms.balance.ngrams import TextPair
from transforms.engines.encoders.sentence import sentence_encoder


class Embeddings:
    """An encoder, and the embeddings that are known."""

    def __init__(self, encoder: str, captions: Sequence[str], vectors: np.ndarray | None):
        """`vectors`: of the captions, [n, width]; None: they are encoded."""
        self._encoder = encoder
        self._known: dict[str, np.ndarray] = {}
        if vectors is None:
            self.captions = self._of(captions)
        else:
            self.captions = vectors
            self._known = dict(zip(captions, vectors, strict=True))

    def differences(self, pairs: Sequence[TextPair]) -> np.ndarray:
        """The embeddings of the false texts minus those of the true ones, float32 [n, width]."""
        both = self._of([pair.false for pair in pairs] + [pair.true for pair in pairs])
        return both[: len(pairs)] - both[len(pairs) :]

    def _of(self, texts: Sequence[str]) -> np.ndarray:
        new = sorted(set(texts) - self._known.keys())
        if new:
            self._known.update(zip(new, sentence_encoder(self._encoder).encode(new), strict=True))
        return np.stack([self._known[text] for text in texts])
