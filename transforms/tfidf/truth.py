"""The judge of truth's view of TF-IDF candidates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from transforms.tfidf.captions import Captions
from transforms.tfidf.pairwise import pair_cosines
from transforms.truth.stage import CorpusJudge


class CandidateTruth:
    """Asks a corpus's judge about candidates for the captions of one part; images are judged with all their captions."""

    def __init__(self, judge: CorpusJudge, corpus: Captions, part: int, image_ids: Sequence[str]):
        """`image_ids`: of the captions of `part`, in order."""
        self._judge, self._corpus = judge, corpus
        self._first = corpus.span(part)[0]
        self._image_ids, self._labels = image_ids, judge.labels_of(part)
        self.labels = self._labels is not None

    def chances(self, numbers: np.ndarray, group: np.ndarray, row: np.ndarray, candidate: np.ndarray) -> np.ndarray:
        """The probability that each of m candidates is true of the image, int64 [m], in millionths.

        numbers, group: int64 [q], captions of whole images, as in `Queries`. row: int64 [m], ascending, which of them. candidate: int64
        [m], caption numbers.
        """
        count = len(self._corpus)
        pairs, back = np.unique(group[row] * count + candidate, return_inverse=True)
        image, text = pairs // count, pairs % count
        starts = np.searchsorted(group, np.arange(group[-1] + 2))
        labels: list[Counter[str] | None] | None = None
        if self._labels is not None:
            labels = [self._labels.get(self._image_ids[numbers[start] - self._first]) for start in starts[:-1].tolist()]
        evidence = self._judge.evidence(numbers, starts, labels, image, text)
        evidence["cosine"] = self._cosines(numbers, starts, image, text)
        return self._judge.judge.millionths(evidence)[back]

    def _cosines(self, numbers: np.ndarray, starts: np.ndarray, image: np.ndarray, text: np.ndarray) -> np.ndarray:
        """The greatest cosine of each text with a caption of the image, int32 [n] in thousandths."""
        own = self._corpus.gather(numbers)
        distinct, at = np.unique(text, return_inverse=True)
        others = self._corpus.gather(distinct)
        best = np.zeros(len(text))
        for step in range(int(np.diff(starts).max())):
            caption = np.minimum(starts[image] + step, starts[image + 1] - 1)
            best = np.maximum(best, pair_cosines(own, caption, others, at))
        return (best * 1000).astype(np.int32)
