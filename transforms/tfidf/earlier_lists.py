"""The lists of an earlier run brought up to date: of a caption that was there, only texts that have changed are searched for.

What an earlier run kept and refused is every candidate down to the k-th kept one, except those of the caption's own image. Without the
texts that have changed, and with those of them that are similar enough, this is still every candidate down to the last one that is left. So
the guards decide on it as on the result of a search, and where they leave fewer than k, the corpus is searched after all.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix

from transforms.tfidf.additions import cosines_of
from transforms.tfidf.captions import Captions, invert
from transforms.tfidf.guards import Queries
from transforms.tfidf.pairwise import pair_cosines
from transforms.tfidf.search import PADDING, UNIT, ExactSearch, Hits, make_keys, millionths, scores_of
from transforms.tfidf.settings import TfidfSettings

_SLACK = 40  # more changed texts than k and this in one list: it is searched again


class ChangedCaptions(Captions):
    """A corpus of which only the candidates with some texts are searched; the other arrays are shared with it.

    Create it once per process.
    """

    def __init__(self, corpus: Captions, texts: np.ndarray):
        """texts: keys, uint64. `whole` is the number of all candidates."""
        self.__dict__.update(corpus.__dict__)
        self.whole = corpus.candidates
        self.is_changed = np.isin(corpus.text, texts)
        numbers = np.flatnonzero(self.is_changed & corpus.is_candidate)
        self.candidates = len(numbers)
        self._block = [(numbers[order], block) for order, block in [invert([corpus.gather(numbers)])]] if len(numbers) else []

    def inverted(self, rows: int) -> Iterator[tuple[np.ndarray, csr_matrix]]:
        """The changed candidates as one block."""
        yield from self._block


class EarlierLists:
    """The candidates, among the texts that have not changed, of one part's captions in an earlier run.

    Of the part's n captions: last: uint64 [n], the greatest key that is left; 0: the list is unknown. starts: int64 [n + 1], where each
    one's candidates begin in `keys` uint64 [m].
    """

    def __init__(self, changed: ChangedCaptions, part: int, settings: TfidfSettings, rewrites: pa.Table, rejects: pa.Table):
        """rewrites, rejects: those of the earlier run, with the columns pair_id, origin and scores, and id and detail."""
        self._changed, self._settings = changed, settings
        self.first, end = changed.span(part)
        own = changed.parts[part].pair_id
        noted = pc.split_pattern(rejects["detail"], " ", max_splits=2)
        owner = _rows(pa.chunked_array([*rewrites["pair_id"].chunks, *rejects["id"].chunks], pa.string()), own)
        ids = pa.chunked_array([*rewrites["origin"].chunks, *pc.list_element(noted, 0).chunks], pa.string())
        number = _rows(ids, pa.concat_arrays([one.pair_id for one in changed.parts]))
        score = np.concatenate([cosines_of(rewrites["scores"]), _millionths(pc.list_element(noted, 1))])
        full = np.bincount(owner[: rewrites.num_rows][owner[: rewrites.num_rows] >= 0], minlength=len(own)) >= settings.k
        left = (owner >= 0) & (number >= 0)
        left[left] = full[owner[left]] & ~changed.is_changed[number[left]]
        owner, number, score = owner[left], number[left], score[left]
        keys = make_keys(score / UNIT, changed.rank[number])
        order = np.argsort(owner, kind="stable")
        self.keys = keys[order]
        self.starts = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(own)))])
        self.last = np.zeros(len(own), np.uint64)
        np.maximum.at(self.last, owner, keys)
        self.last[scores_of(self.last) >= millionths(settings.near_text)] = 0  # texts that are as near may be missing

    def hits(self, rows: csr_matrix, queries: Queries) -> Hits:
        """The candidates of captions CSR [q, words] of the part; none, and the greatest floor, where the earlier list is unknown."""
        changed, at = self._changed, queries.numbers - self.first
        last = self.last[at]
        known = last > 0
        least = np.where(known, scores_of(last), UNIT + 1)  # the earlier list has each that is more similar
        depth = self._settings.k + _SLACK
        new = ExactSearch(changed, self._settings.block_rows).above(rows, depth, np.maximum(least - 1, 0) / UNIT).keys
        similar = ((new != PADDING) & (scores_of(new) >= least[:, None])).sum(axis=1)
        row, column = np.nonzero(new <= last[:, None])
        counts = np.where(known, np.diff(self.starts)[at], 0)
        old = np.arange(counts.sum()) + np.repeat(self.starts[at] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
        beside, siblings = self._siblings(rows, queries, last)
        owner = np.concatenate([np.repeat(np.arange(len(at)), counts), row, beside])
        keys = np.concatenate([self.keys[old], new[row, column], siblings])
        # A search that may go no deeper leaves out what ties at its end. More texts than before might reach that end here.
        bounded = changed.whole > self._settings.max_depth
        tied = (similar > 0) & bounded
        floor = np.where(known, least - 1 + tied, UNIT + 1)
        sizes = np.bincount(owner, minlength=len(at))
        floor[(similar >= min(depth, changed.candidates + 1)) | (tied & (sizes >= self._settings.max_depth))] = UNIT + 1
        order = np.lexsort((keys, owner))
        found = np.full((len(at), int(sizes.max(initial=0))), PADDING)
        found[np.arange(found.shape[1]) < sizes[:, None]] = keys[order]
        return Hits(found, floor, np.zeros(len(at), bool))

    def _siblings(self, rows: csr_matrix, queries: Queries, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Candidates of the caption's own image: rows of `queries` int64 [m], and keys uint64 [m], up to `last` of each row."""
        changed = self._changed
        size = np.bincount(queries.group)
        size, first = size[queries.group], (np.cumsum(size) - size)[queries.group]
        owner, keys = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
        for step in range(1, int(size.max(initial=0))):
            here = np.flatnonzero((size > step) & (last > 0))
            other = first[here] + (here - first[here] + step) % size[here]
            number = queries.numbers[other]
            chosen = changed.is_candidate[number] & ~changed.is_changed[number]
            here, other, number = here[chosen], other[chosen], number[chosen]
            own = make_keys(pair_cosines(rows, here, rows, other), changed.rank[number])
            owner.append(here[own <= last[here]])
            keys.append(own[own <= last[here]])
        return np.concatenate(owner), np.concatenate(keys)


def _rows(ids: pa.ChunkedArray, among: pa.Array) -> np.ndarray:
    """The row of each of n ids in `among`, int64 [n]; -1: none."""
    found = pc.index_in(ids, value_set=among).fill_null(-1)
    return np.concatenate([np.zeros(0, np.int64), *(chunk.to_numpy() for chunk in found.chunks)]).astype(np.int64)


def _millionths(decimals: pa.ChunkedArray) -> np.ndarray:
    values = decimals.cast(pa.float64())
    return np.rint(np.concatenate([np.zeros(0), *(chunk.to_numpy(zero_copy_only=False) for chunk in values.chunks)]) * UNIT).astype(
        np.int64
    )
