"""Bounded top-k: candidates come from truncated postings and are scored by their full vectors.

A caption costs at most `bound` candidates per word, however large the corpus.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix

from transforms.tfidf.captions import Captions
from transforms.tfidf.champions import Cuts
from transforms.tfidf.pairwise import pair_cosines
from transforms.tfidf.search import PADDING, ExactSearch, Hits, make_keys, ranks_of, scores_of

_ROWS = 256  # captions re-scored at a time
_BLOCK = 32_768  # captions per block of postings: the product's accumulators fit in the CPU cache


class CutCaptions(Captions):
    """A corpus with truncated postings: the same captions, but `inverted` and `sample` see only the words that `cuts` leaves.

    The inverted blocks are cached: at most 12 bytes per posting, about 80 per caption. Create it once per process.
    """

    def __init__(self, corpus: Captions, cuts: pa.RecordBatch | pa.Table):
        """Truncates the postings of `corpus`; the other arrays are shared with it."""
        self.__dict__.update({name: value for name, value in corpus.__dict__.items() if name != "_samples"})
        limits = Cuts(cuts, corpus.columns)
        self._cut = [limits.apply(part) for part in corpus.parts]

    def matrix(self, part: int) -> csr_matrix:
        """The vectors of one part, without the words that `cuts` removes."""
        return self._cut[part]

    def inverted(self, rows: int) -> Iterator[tuple[np.ndarray, csr_matrix]]:
        """All blocks; their size is fixed and ignores `rows`."""
        yield from self._blocks

    @cached_property
    def _blocks(self) -> list[tuple[np.ndarray, csr_matrix]]:
        return list(super().inverted(_BLOCK))


class BoundedSearch:
    """Finds candidates through `cuts` (made by `champions.cuts_of`) and rescores the `rescore` best of each row in full."""

    def __init__(self, corpus: Captions, cuts: pa.RecordBatch | pa.Table, rescore: int):
        """Truncates the postings of `corpus`. `rescore`: minimum number of candidates rescored per caption."""
        self.corpus, self.rescore = corpus, rescore
        self.partial = ExactSearch(CutCaptions(corpus, cuts), _BLOCK)

    def find(self, rows: csr_matrix, depth: int, certain: bool) -> Hits:
        """The candidates of each row, CSR [q, words]: the max(`rescore`, `depth`) best by the words that retrieved them.

        Candidates that tie at the cutoff are all left out, so the result does not depend on the blocks.
        """
        partial = self.partial.find(rows, max(self.rescore, depth), certain)
        present = (partial.keys != PADDING) & (scores_of(partial.keys) > np.maximum(partial.floor, 0)[:, None])
        keys = np.full(partial.keys.shape, PADDING)
        for start in range(0, rows.shape[0], _ROWS):
            self._rescore(rows, slice(start, start + _ROWS), partial.keys, present, keys)
        keys.sort(axis=1)
        return Hits(keys[:, : int(present.sum(axis=1).max(initial=0))], np.zeros_like(partial.floor), partial.complete)

    def _rescore(self, rows: csr_matrix, span: slice, partial: np.ndarray, present: np.ndarray, keys: np.ndarray) -> None:
        """Fills `keys` uint64 [q, width] in the rows of `span` for the candidates marked `present`."""
        here = present[span]
        row = np.repeat(np.arange(len(here)), here.sum(axis=1))
        ranks = ranks_of(partial[span][here])
        numbers = self.corpus.by_rank[ranks]
        marked = np.zeros(len(self.corpus), bool)
        marked[numbers] = True
        used = np.flatnonzero(marked)
        position = np.empty(len(self.corpus), np.int32)
        position[used] = np.arange(len(used), dtype=np.int32)
        keys[span][here] = make_keys(pair_cosines(rows[span], row, self.corpus.gather(used), position[numbers]), ranks)
