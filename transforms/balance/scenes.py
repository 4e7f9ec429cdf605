"""Features whose flows leave a linear model on sentence embeddings nothing to learn.

Such a model learns one direction, along which the embeddings of false texts lie beyond those of true ones. If the chosen candidates'
differences along it add up to zero, it learns nothing. Encoding every candidate would cost more than all other stages together, so of a
kind with many the direction is found on a sample, and the differences along it are predicted from the words that a candidate inserts and
removes and the caption they are in. Words are represented by the mean embedding of the captions that have them.

BLAS rounds differently on different CPUs. So what it computes is computed in float64 and rounded to a grid that is coarser by far.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

from transforms.balance.embeddings import Embeddings
from transforms.balance.ngrams import TextPair

_DIMENSIONS = 32  # principal components of the captions' embeddings
_PENALTY = 1000.0  # of the ridge regression, whose features have unit variance
_STRENGTH = 30.0  # inverse strength of the L2 penalty of the direction, as where blind accuracy is measured
_PRIOR = 3  # pseudo-count of a word's captions, whose embeddings are average
_UNIT, _MOST = 25, 100  # of the feature: its root mean square, and its maximum
_GRID = 1024  # steps per unit, of components
_CHUNK = 5_000  # candidates at a time
_WORD = re.compile(r"\w+")


class Scenes:
    """The components of a cell's captions, and of their words."""

    def __init__(self, captions: Sequence[str], vectors: np.ndarray):
        """`vectors`: the captions' embeddings, [n, width]."""
        centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
        values, axes = np.linalg.eigh(centred.T @ centred / max(1, len(centred)))
        top = slice(-1, -1 - _DIMENSIONS, -1)
        components = _unit(centred @ axes[:, top] / np.sqrt(np.maximum(values[top], 1e-9)))
        self.captions = np.rint(components * _GRID) / _GRID
        captions_of: dict[str, list[int]] = {}
        for row, caption in enumerate(captions):
            for word in set(_WORD.findall(caption.lower())):
                captions_of.setdefault(word, []).append(row)
        self._words = {word: self.captions[rows].sum(axis=0) / (len(rows) + _PRIOR) for word, rows in captions_of.items()}

    def changed(self, pairs: Sequence[TextPair]) -> tuple[np.ndarray, np.ndarray]:
        """The mean components of the words that each candidate inserts, and of those it removes, float64 [n, 32] each."""
        inserted, removed = (np.zeros((len(pairs), self.captions.shape[1])) for _ in range(2))
        for row, pair in enumerate(pairs):
            true, false = (_WORD.findall(text[pair.before : len(text) - pair.after].lower()) for text in (pair.true, pair.false))
            for out, words, others in ((inserted, false, true), (removed, true, false)):
                known = [self._words[word] for word in words if word in self._words and word not in others]
                if known:
                    out[row] = np.mean(known, axis=0)
        return _unit(inserted), _unit(removed)


class Encoded:
    """A kind's candidates, some or all of them with their differences.

    sampled: rows of those that are encoded, int64 [m], ascending. rounds: of directions, each balanced as well as those before it: four
    where all are encoded, else one, as further ones cost more candidates than they balance.
    """

    def __init__(self, pairs: Sequence[TextPair], rows: np.ndarray, chosen: np.ndarray, scenes: Scenes, embeddings: Embeddings, most: int):
        """`rows`: of the captions. `chosen`: bool [n], three quarters of the encoded ones are among these. `most`: to encode."""
        self._all = len(pairs) <= most
        self.rounds = 4 if self._all else 1
        everything = np.arange(len(pairs))
        kept = spread(np.flatnonzero(chosen), most * 3 // 4)
        self.sampled = everything if self._all else np.union1d(kept, spread(everything, most - len(kept)))
        self._differences = embeddings.differences([pairs[row] for row in self.sampled.tolist()])
        self._parts = () if self._all else (*scenes.changed(pairs), scenes.captions[rows])
        self._count = len(pairs)

    def feature(self, chosen: np.ndarray) -> np.ndarray:
        """How far each candidate lies beyond its true text along the direction that separates the `chosen` ones, whole float64 [n]."""
        direction = separating(self._differences[chosen[self.sampled]])
        known = self._differences.astype(np.float64) @ direction
        found = known if self._all else self._predicted(known)
        return np.clip(np.rint(_unit(found) * _UNIT), -_MOST, _MOST)

    def _predicted(self, known: np.ndarray) -> np.ndarray:
        features = self._features(self.sampled)
        weights = np.linalg.solve(features.T @ features + _PENALTY * np.eye(features.shape[1]), features.T @ known)
        starts = range(0, self._count, _CHUNK)
        return np.concatenate([self._features(np.arange(at, min(at + _CHUNK, self._count))) @ weights for at in starts])

    def _features(self, rows: np.ndarray) -> np.ndarray:
        """Linear and quadratic terms, and the products of every component of the words with every one of the caption."""
        inserted, removed, caption = (part[rows] for part in self._parts)
        products = [(part[:, :, None] * caption[:, None, :]).reshape(len(rows), -1) for part in (inserted, removed)]
        return np.hstack([np.ones((len(rows), 1)), inserted, removed, inserted**2, removed**2, *products])


def separating(differences: np.ndarray) -> np.ndarray:
    """The direction along which a logistic regression separates differences from their mirror images, float64 [width]."""
    sides = np.where(np.arange(len(differences)) % 2, 1.0, -1.0)
    model = LogisticRegression(C=_STRENGTH, fit_intercept=False, max_iter=300).fit(differences.astype(np.float64) * sides[:, None], sides)
    direction: np.ndarray = model.coef_[0].astype(np.float64)
    return direction


def spread(rows: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the rows, evenly spread."""
    count = min(most, len(rows))
    return rows[np.arange(count) * len(rows) // max(1, count)]


def _unit(values: np.ndarray) -> np.ndarray:
    """Values with a root mean square of 1, float64."""
    scaled: np.ndarray = values / (np.sqrt(np.square(values, dtype=np.float64).mean()) + 1e-9)
    return scaled
