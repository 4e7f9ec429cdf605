"""Evidence about pairs of an image and a text, many at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from transforms.truth.claims import MISSING, Claims, Images
from transforms.truth.words import Words

# Vectors are stored as whole numbers of this length. Any sum of their products is a whole number below 2^24, which float32 holds: inner
# products are exact, in any order, on every machine. The error of a cosine is about 0.0001.
LENGTH = 2896
_CELLS = 4_000_000  # cells of an image table, at most


def whole(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors float [n, width] as whole numbers int16."""
    return np.rint(vectors * LENGTH).astype(np.int16)


@dataclass(frozen=True)
class Texts:
    """n texts: `vectors` int16 [n, width] as by `whole`, and `claims`; None: the corpus has none. A vector of zeros: the text has none."""

    vectors: np.ndarray | None
    claims: Claims | None


@dataclass(frozen=True)
class Captioned:
    """I images with c captions, each image's adjacent.

    starts: int64 [I + 1], each image's first caption. captions: their vectors and claims. labels: instances by label of each image (None:
    it has no regions); None: the corpus has none. known: the labels that the detector has.
    """

    starts: np.ndarray
    captions: Texts
    labels: Sequence[Mapping[str, int] | None] | None = None
    known: Sequence[str] = ()

    def chunks(self, words: int) -> list[tuple[int, int]]:
        """Runs of images whose tables stay small."""
        step = max(1, _CELLS // max(words, 1))
        return [(low, min(low + step, len(self.starts) - 1)) for low in range(0, len(self.starts) - 1, step)]


def evidence_of(images: Captioned, texts: Texts, words: Words, image: np.ndarray, text: np.ndarray) -> dict[str, np.ndarray]:
    """Evidence int32 [n] by name about n pairs of an image, int64 [n] ascending, and a text, int64 [n]. Cosines are left out."""
    found = [
        _of_chunk(images, texts, words, slice(low, high), image[start:stop], text[start:stop])
        for low, high in images.chunks(len(words))
        for start, stop in [np.searchsorted(image, (low, high))]
        if start < stop
    ]
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]} if found else {}


def _of_chunk(images: Captioned, texts: Texts, words: Words, span: slice, image: np.ndarray, text: np.ndarray) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    if texts.vectors is not None and images.captions.vectors is not None:
        found |= similarities(images.captions.vectors, images.starts, texts.vectors, image, text)
    if texts.claims is not None and images.captions.claims is not None:
        owner = np.searchsorted(images.starts, np.arange(len(images.captions.claims)), side="right") - 1
        owner = np.where((owner >= span.start) & (owner < span.stop), owner - span.start, -1)
        labels = None if images.labels is None else images.labels[span]
        tables = Images(words, images.captions.claims, owner, span.stop - span.start, labels, images.known)
        found |= tables.evidence(image - span.start, text, texts.claims)
    return found


def similarities(captions: np.ndarray, starts: np.ndarray, texts: np.ndarray, image: np.ndarray, text: np.ndarray) -> dict[str, np.ndarray]:
    """Cosines of n texts with the captions of their images, in thousandths: the greatest, the mean, and by how much the greatest
    exceeds the captions' own (the mean, over captions, of the greatest with another).

    captions: int16 [c, width]. starts: int64 [images + 1]. texts: int16 [., width]. image, ascending, and text: int64 [n].
    """
    best, mean, lead = (np.full(len(text), MISSING, np.int32) for _ in range(3))
    cuts = np.searchsorted(image, np.arange(len(starts)))
    for at in np.unique(image).tolist():
        own = captions[starts[at] : starts[at + 1]].astype(np.float32)
        rows = slice(cuts[at], cuts[at + 1])
        products = texts[text[rows]].astype(np.float32) @ own.T
        best[rows], mean[rows] = _thousandths(products.max(axis=1)), _thousandths(products.astype(np.int64).sum(axis=1) // len(own))
        if len(own) > 1:
            among = own @ own.T
            np.fill_diagonal(among, -np.inf)
            lead[rows] = best[rows] - _thousandths(among.max(axis=1).astype(np.int64).sum() // len(own))
    return {"similarity_max": best, "similarity_mean": mean, "similarity_lead": lead}


def _thousandths(products: np.ndarray) -> np.ndarray:
    return (np.asarray(products).astype(np.int64) * 1000) // LENGTH**2
