"""Features whose flows leave a linear model on sentence embeddings nothing to learn.

Such a model learns one direction, along which the embeddings of false texts lie beyond those of true ones. If the chosen candidates'
differences along it add up to zero, it learns nothing. Encoding every candidate would cost more than all other stages together, so of a
kind with many the direction is found on a sample, and the other candidates' differences along it are predicted from the words that they
insert and remove and the caption these are in. Words are represented by the mean embedding of the captions that have them.

BLAS rounds differently on different CPUs. So what it computes is computed in float64 and rounded to a grid that is coarser by far.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from transforms.balance.embeddings import Embeddings
from transforms.balance.ngrams import TextPair

_DIMENSIONS = 32  # principal components of the captions' embeddings
_PENALTY = 1000.0  # of the ridge regression, whose features have unit variance
_STRENGTH = 30.0  # inverse strength of the L2 penalty of the direction, as where blind accuracy is measured
_PRIOR = 3  # pseudo-count of a word's captions, whose embeddings are average
_UNIT = {1: 60, 3: 40, 4: 25}  # root mean square of a feature, by the number of rounds: the more directions, the less each counts
_MOST = 4  # the maximum of a feature, in multiples of it
_LEAST = 200  # encoded candidates among the chosen ones, for more than one direction
_FEWEST = 20  # likewise for one
_FEW = 4  # three rounds if at most this many times as many candidates are chosen as are encoded
_GRID = 1024  # steps per unit, of components
_CHUNK = 5_000  # candidates at a time
_WORD = re.compile(r"\w+")


class Scenes:
    """The embeddings of a cell's captions and their principal components, and the means of both over the captions with a word."""

    def __init__(self, captions: Sequence[str], vectors: np.ndarray):
        """`vectors`: the captions' embeddings, [n, width]."""
        self.vectors = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
        values, axes = np.linalg.eigh(self.vectors.T @ self.vectors / max(1, len(vectors)))
        top = slice(-1, -1 - _DIMENSIONS, -1)
        components = _unit(self.vectors @ axes[:, top] / np.sqrt(np.maximum(values[top], 1e-9)))
        self.captions = np.rint(components * _GRID) / _GRID
        self._number: dict[str, int] = {}
        words = [[self._number.setdefault(word, len(self._number)) for word in _distinct(caption)] for caption in captions]
        ends = np.cumsum([0, *map(len, words)])
        numbers = np.array([number for own in words for number in own], dtype=np.int64)
        has = sp.csr_matrix((np.ones(len(numbers)), numbers, ends), shape=(len(captions), len(self._number)))
        counts = np.bincount(numbers, minlength=len(self._number))[:, None] + _PRIOR
        self.words, self.word_vectors = has.T @ self.captions / counts, has.T @ self.vectors / counts

    def changed(self, pairs: Sequence[TextPair]) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        """The words that each candidate inserts, and those that it removes, each with its share of them, float64 [n, words] each."""
        sides: tuple[list[list[int]], list[list[int]]] = ([], [])
        for pair in pairs:
            true, false = (_WORD.findall(text[pair.before : len(text) - pair.after].lower()) for text in (pair.true, pair.false))
            for side, words, others in zip(sides, (false, true), (true, false), strict=True):
                side.append([self._number[word] for word in words if word in self._number and word not in others])
        return self._shares(sides[0]), self._shares(sides[1])

    def _shares(self, words: Sequence[Sequence[int]]) -> sp.csr_matrix:
        sizes = np.array([len(own) for own in words], dtype=np.int64)
        numbers = np.array([number for own in words for number in own], dtype=np.int64)
        shares = np.repeat(1 / np.maximum(sizes, 1), sizes)
        return sp.csr_matrix((shares, numbers, np.append(0, np.cumsum(sizes))), shape=(len(words), len(self._number)))


class Encoded:
    """A kind's candidates, some or all of them with their differences.

    rounds: of directions, each balanced as well as those before it: four where all candidates are encoded, three where they are a good
    part of the chosen ones, else one, as further ones cost more candidates than they balance.
    """

    def __init__(self, pairs: Sequence[TextPair], rows: np.ndarray, scenes: Scenes, embeddings: Embeddings, most: int, expected: int):
        """`rows`: of the captions. `most`: to encode. `expected`: how many are chosen, approximately."""
        self._pairs, self._rows, self._scenes, self._embeddings = pairs, rows, scenes, embeddings
        self._all = len(pairs) <= most
        self.rounds = 4 if self._all else 3 if expected <= _FEW * most else 1
        self._batch = most // self.rounds
        self._directions: list[np.ndarray] = []
        self._encode(np.arange(len(pairs) if self._all else 0))
        if not self._all:
            self._changed = scenes.changed(pairs)
            self._components = [_unit(own @ scenes.words) for own in self._changed]
            self._fit = np.concatenate([self._fitting(chunk) for chunk in self._chunks()])

    def _encode(self, rows: np.ndarray) -> None:
        self.sampled = rows  # ascending
        self._differences = self._embeddings.differences([self._pairs[row] for row in rows.tolist()]) if len(rows) else np.empty((0, 0))

    def features(self, chosen: np.ndarray) -> np.ndarray | None:
        """How far each candidate lies beyond its true text along the direction that separates the `chosen` ones, and along earlier ones.

        Encodes more candidates first, three quarters of them chosen ones. Whole float64 [n, directions]; None if too few are chosen for
        another one.
        """
        if not self._all:
            known = np.zeros(len(chosen), bool)
            known[self.sampled] = True
            own = spread(np.flatnonzero(chosen & ~known), self._batch * 3 // 4)
            others = spread(np.flatnonzero(~known), self._batch - len(own))
            self._encode(np.union1d(self.sampled, np.union1d(own, others)))
        count = chosen[self.sampled].sum()
        if count < (_LEAST if self._directions else _FEWEST):
            return None
        self._directions.append(separating(self._differences[chosen[self.sampled]]))
        unit = _UNIT[self.rounds if count >= _LEAST else 1]
        return np.stack([np.clip(np.rint(_unit(self._along(one)) * unit), -_MOST * unit, _MOST * unit) for one in self._directions], axis=1)

    def _along(self, direction: np.ndarray) -> np.ndarray:
        """The differences along a direction, float64 [n]: those of encoded candidates, and predictions for the others."""
        known: np.ndarray = self._differences.astype(np.float64) @ direction
        if self._all:
            return known
        changed = [own @ (self._scenes.word_vectors @ direction) for own in self._changed]
        context = np.stack([*changed, (self._scenes.vectors @ direction)[self._rows], *self._fit.T], axis=1)
        context /= np.sqrt(np.square(context).mean(axis=0)) + 1e-9
        features = self._features(self.sampled, context)
        penalty = np.full(features.shape[1], _PENALTY)
        penalty[0] = 0  # of the constant
        weights = np.linalg.solve(features.T @ features + np.diag(penalty), features.T @ known)
        found = np.concatenate([self._features(chunk, context) @ weights for chunk in self._chunks()])
        found[self.sampled] = known
        return found

    def _features(self, rows: np.ndarray, context: np.ndarray) -> np.ndarray:
        """Linear and quadratic terms, and the products of every component of the words with every one of the caption.

        `context`: differences along the direction of the words that are inserted and removed and of the caption, and `_fitting`.
        """
        (inserted, removed), caption = (own[rows] for own in self._components), self._scenes.captions[self._rows[rows]]
        products = [(part[:, :, None] * caption[:, None, :]).reshape(len(rows), -1) for part in (inserted, removed)]
        own = context[rows]
        terms = [inserted, removed, inserted**2, removed**2, own, own**2, own[:, :1] * own[:, 1:]]
        return np.hstack([np.ones((len(rows), 1)), *terms, *products])

    def _fitting(self, rows: np.ndarray) -> np.ndarray:
        """How well the inserted and the removed words suit the caption and each other, and how distinctive they are, float64 [m, 5]."""
        inserted, removed = (own[rows] @ self._scenes.word_vectors for own in self._changed)
        caption = self._scenes.vectors[self._rows[rows]]
        products = [(one * other).sum(axis=1) for one, other in ((inserted, caption), (removed, caption), (inserted, removed))]
        return np.stack([*products, *(np.sqrt((own**2).sum(axis=1)) for own in (inserted, removed))], axis=1)

    def _chunks(self) -> list[np.ndarray]:
        return [np.arange(at, min(at + _CHUNK, len(self._rows))) for at in range(0, len(self._rows), _CHUNK)]


def _distinct(text: str) -> list[str]:
    """The words of a text, each once, in order: a set's order differs between processes, and sums with it."""
    return list(dict.fromkeys(_WORD.findall(text.lower())))


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
