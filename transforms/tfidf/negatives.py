"""The hard negatives of one partition: search, guards and output record batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix

from schemas.rejects import REASONS, Reason, reason_position
from schemas.tables import LABEL, REWRITES, SCORE
from transforms.tfidf.captions import Captions
from transforms.tfidf.earlier_lists import EarlierLists
from transforms.tfidf.guards import ABSENT, KEPT, Queries, Truth, Verdicts, judge, make_queries
from transforms.tfidf.search import PADDING, UNIT, ExactSearch, Hits
from transforms.tfidf.settings import TfidfSettings

_SLACK = 40  # extra candidates in the first search, to replace those that guards refuse
_CELLS = 4_000_000  # candidates held at a time during a deeper search
_SCORE_NAMES = pa.array(["cosine", "own", "limit"])
_WHY = pa.array(["most_similar_below_margin", "most_similar_below_ceiling"])


class Search(Protocol):
    """Finds candidates of rows CSR [q, words]: `ExactSearch` or `BoundedSearch`."""

    def find(self, rows: csr_matrix, depth: int, certain: bool) -> Hits:
        """The `depth` best candidates of each row; a few rows may get fewer unless `certain`."""


@dataclass
class Stats:
    """Totals of a task: captions, and the sums of `Negatives.numbers` and of drops by reason, logged or not."""

    captions: int = 0
    numbers: Counter[str] = field(default_factory=Counter)
    drops: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Found:
    """Judged candidates of some captions, m rows ordered by caption, then by falling similarity and rising pair id.

    query, candidate: int64 [m], caption numbers. score, own, limit: int32 [m], millionths; own is -1 without another caption. verdict:
    int8 [m]. truth: int32 [m], the judge's probability in millionths, -1: not judged.
    """

    query: np.ndarray
    candidate: np.ndarray
    score: np.ndarray
    own: np.ndarray
    limit: np.ndarray
    verdict: np.ndarray
    truth: np.ndarray

    def where(self, chosen: np.ndarray) -> Found:
        """The rows selected by `chosen`, a mask or row numbers."""
        return Found(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Negatives:
    """Output for about `query_rows` captions: `rewrites` (schema REWRITES), and the refused candidates in the form that
    `RejectLog.add_batch` takes.

    drop_ids: pair ids; drop_reasons: int8; drop_details: "<pair id of the candidate> <cosine>", followed by " x<captions>" if
    several captions have that text.
    pair_ids: of the captions. numbers: of each caption, int64 [captions]: negatives; whether there are fewer than k (`short`) or no kept
    word (`wordless`); negatives that the judge was asked about (`judged`), and the sum of their probabilities (`truth_millionths`).
    unlogged: refused candidates that are only counted: pair ids, positions in `REASONS`, and numbers of candidates, int64.
    """

    rewrites: pa.RecordBatch
    drop_ids: pa.Array
    drop_reasons: np.ndarray
    drop_details: pa.Array
    pair_ids: pa.Array
    numbers: dict[str, np.ndarray]
    unlogged: tuple[pa.Array, np.ndarray, np.ndarray]


def hard_negatives(
    corpus: Captions,
    part: int,
    settings: TfidfSettings,
    stats: Stats,
    search: Search | None = None,
    truth: Truth | None = None,
    numbers: np.ndarray | None = None,
    earlier: EarlierLists | None = None,
) -> Iterator[Negatives]:
    """The hard negatives of the captions of one part of `corpus`, batch by batch in the order of the part.

    All captions of an image must be adjacent in one part. `search` defaults to the exact search, `truth` to no judge. `stats` is
    updated in place. numbers: int64, ascending, captions of whole images of the part; by default all. earlier: the part's lists of an
    earlier run, for the exact search.
    Raises ValueError if an image's captions are not adjacent.
    """
    searcher: Search = search or ExactSearch(corpus, settings.block_rows)
    chosen = np.arange(*corpus.span(part)) if numbers is None else numbers
    image = corpus.image[chosen]
    starts = np.flatnonzero(np.concatenate([[True], image[1:] != image[:-1]])) if len(chosen) else np.zeros(0, np.int64)
    if len(np.unique(image)) != len(starts):
        raise ValueError("the captions of an image must be adjacent")
    for low, high in _cuts(starts, len(chosen), settings.query_rows):
        found = find(corpus, chosen[low:high], settings, searcher, truth, earlier)
        output = _output(corpus, found, chosen[low:high], settings, stats)
        stats.captions += high - low
        stats.numbers.update({name: int(of.sum()) for name, of in output.numbers.items()})
        yield output


def _cuts(starts: np.ndarray, count: int, rows: int) -> Iterator[tuple[int, int]]:
    """Consecutive runs of whole images with about `rows` captions and at least one image each."""
    ends = np.append(starts[1:], count)
    low = 0
    while low < count:
        high = int(ends[max(np.searchsorted(ends, low + rows, side="right") - 1, np.searchsorted(ends, low, side="right"))])
        yield low, high
        low = high


def find(
    corpus: Captions,
    numbers: np.ndarray,
    settings: TfidfSettings,
    search: Search,
    truth: Truth | None = None,
    earlier: EarlierLists | None = None,
) -> Found:
    """The judged candidates of captions `numbers` int64 [q], ascending, of whole images; includes refused ones up to the k-th kept."""
    rows = corpus.gather(numbers)
    queries = make_queries(corpus, rows, numbers, settings)
    pieces = list(_settled(corpus, rows, queries, settings, search, truth, earlier))
    found = Found(*(np.concatenate([getattr(piece, name) for piece in pieces]) for name in Found.__dataclass_fields__))
    return found.where(np.argsort(found.query, kind="stable")) if len(pieces) > 1 else found


def _settled(
    corpus: Captions,
    rows: csr_matrix,
    queries: Queries,
    settings: TfidfSettings,
    search: Search,
    truth: Truth | None,
    earlier: EarlierLists | None,
) -> Iterator[Found]:
    """Searches and judges, then searches deeper for images with an unsettled caption until all are settled."""
    limit = min(settings.max_depth, corpus.candidates)
    first = min(settings.k + _SLACK + (settings.k // 2 if truth else 0), limit)
    hits = earlier.hits(rows, queries) if earlier else search.find(rows, first, first == limit)
    work = [(rows, queries, hits, np.full(rows.shape[0], 0 if earlier else first))]
    while work:
        rows, queries, hits, depths = work.pop()
        verdicts = judge(corpus, queries, hits, settings, truth)
        verdicts.settled[depths == limit] = True
        again = np.zeros(queries.group[-1] + 1 if len(queries.group) else 0, bool)
        again[queries.group[~verdicts.settled]] = True
        again = again[queries.group]
        yield _picked(queries, verdicts, ~again)
        if not again.any():
            continue
        depth = min(max(int(depths.max()) * 4, first), limit)
        chosen = np.flatnonzero(again)
        rows, queries, missing = rows[chosen], queries.take(again), ~verdicts.settled[chosen]
        depths = np.where(missing, depth, depths[chosen])
        old = Hits(hits.keys[chosen], hits.floor[chosen], hits.complete[chosen])
        starts = np.flatnonzero(np.concatenate([[True], queries.group[1:] != queries.group[:-1]]))
        for low, high in _cuts(starts, len(chosen), max(_CELLS // depth, 1)):
            span = slice(low, high)
            part = np.zeros(len(chosen), bool)
            part[span] = True
            known = Hits(old.keys[span], old.floor[span], old.complete[span])
            new = search.find(rows[span][np.flatnonzero(missing[span])], depth, depth == limit)
            work.append((rows[span], queries.take(part), _replaced(known, missing[span], new), depths[span]))


def _replaced(known: Hits, missing: np.ndarray, new: Hits) -> Hits:
    """`known`, with the rows marked in `missing` bool [q] replaced by those of `new`."""
    keys = np.full((len(missing), max(known.keys.shape[1], new.keys.shape[1])), PADDING)
    keys[:, : known.keys.shape[1]] = known.keys
    keys[missing] = PADDING
    keys[missing, : new.keys.shape[1]] = new.keys
    floor, complete = known.floor.copy(), known.complete.copy()
    floor[missing], complete[missing] = new.floor, new.complete
    return Hits(keys, floor, complete)


def _picked(queries: Queries, verdicts: Verdicts, rows: np.ndarray) -> Found:
    """The judged candidates of the captions marked in `rows` bool [q]."""
    chosen = (verdicts.verdict != ABSENT) & rows[:, None]
    row = np.repeat(np.arange(len(rows)), chosen.sum(axis=1))
    return Found(
        queries.numbers[row],
        verdicts.candidate[chosen],
        verdicts.score[chosen],
        queries.own[row].astype(np.int32),
        queries.limit[row].astype(np.int32),
        verdicts.verdict[chosen],
        verdicts.truth[chosen],
    )


def _output(corpus: Captions, found: Found, numbers: np.ndarray, settings: TfidfSettings, stats: Stats) -> Negatives:
    """The rewrites and drops of judged candidates of captions int64 [n], ascending; drops are also counted in `stats`."""
    is_kept = found.verdict == KEPT
    kept, dropped = found.where(is_kept), found.where(~is_kept)
    for position, count in zip(*np.unique(dropped.verdict, return_counts=True), strict=True):
        stats.drops[REASONS[position].value] += int(count)
    logged = (dropped.verdict != reason_position(Reason.SAME_IMAGE)) & settings.drop_rows
    noted, silent = dropped.where(logged), dropped.where(~logged)
    pair_ids = corpus.strings(lambda part: part.pair_id, numbers)
    details = pc.binary_join_element_wise(_strings(corpus, noted.candidate, "pair_id"), _decimals(noted.score), " ")
    details = pc.binary_join_element_wise(details, _times(corpus.copies[noted.candidate]), "")
    counted, times = np.unique(np.searchsorted(numbers, silent.query) * len(REASONS) + silent.verdict, return_counts=True)
    at = np.searchsorted(numbers, kept.query)
    return Negatives(
        rewrites(corpus, kept, pair_ids, at, settings.truth_scores),
        _take(pair_ids, np.searchsorted(numbers, noted.query)),
        noted.verdict,
        details,
        pair_ids,
        _numbers(corpus, kept, numbers, at, settings.k),
        (_take(pair_ids, counted // len(REASONS)), counted % len(REASONS), times),
    )


def _numbers(corpus: Captions, kept: Found, numbers: np.ndarray, at: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """`Negatives.numbers` of captions int64 [n]; at: int64, the position among them of each kept candidate's caption."""
    judged = kept.truth >= 0

    def total(where: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(where, weights, len(numbers)).astype(np.int64)

    negatives = total(at)
    return {
        "negatives": negatives,
        "short": (negatives < k).astype(np.int64),
        "wordless": (np.diff(corpus.gather(numbers).indptr) == 0).astype(np.int64),
        "judged": total(at[judged]),
        "truth_millionths": total(at[judged], kept.truth[judged]),
    }


def _strings(corpus: Captions, candidates: np.ndarray, column: str) -> pa.Array:
    """`pair_id` or `caption` of caption numbers in any order."""
    used = np.zeros(len(corpus), bool)
    used[candidates] = True
    numbers = np.flatnonzero(used)
    position = np.empty(len(corpus), np.int32)
    position[numbers] = np.arange(len(numbers), dtype=np.int32)
    return _take(corpus.strings(lambda part: getattr(part, column), numbers), position[candidates])


def _take(strings: pa.Array, rows: np.ndarray) -> pa.Array:
    """`strings.take(rows)`, three times as fast for strings of equal length, such as ids."""
    count = len(strings)
    offsets = np.frombuffer(strings.buffers()[1], np.int32, count + 1, 4 * strings.offset) if count else np.zeros(1, np.int32)
    width = int(offsets[-1] - offsets[0]) // max(count, 1)
    if not 0 < width <= 64 or len(rows) * width >= 2**31 or (np.diff(offsets) != width).any():
        return strings.take(pa.array(rows))
    cells = np.frombuffer(strings.buffers()[2], f"V{width}", count, int(offsets[0]))
    starts = np.arange(0, (len(rows) + 1) * width, width, dtype=np.int32)
    return pa.StringArray.from_buffers(len(rows), pa.py_buffer(starts), pa.py_buffer(cells[rows]))


def _decimals(score: np.ndarray) -> pa.Array:
    """Millionths as text with six decimals."""
    table, codes = np.unique(score, return_inverse=True)
    return pa.array([f"{value / UNIT:.6f}" for value in table.tolist()], pa.string()).take(pa.array(codes))


def _times(copies: np.ndarray) -> pa.Array:
    """ " x500" for a candidate whose text 500 captions share; "" for a unique one."""
    table, codes = np.unique(copies, return_inverse=True)
    return pa.array([f" x{count}" if count > 1 else "" for count in table.tolist()], pa.string()).take(pa.array(codes))


def rewrites(corpus: Captions, kept: Found, pair_ids: pa.Array, at: np.ndarray, scored: bool = True) -> pa.RecordBatch:
    """The `rewrites` rows of kept candidates: polarity negative, level sentence, kind tfidf.

    scores: the cosine, the similarity to the image's other captions (`own`, omitted if there are none), and the limit on the
    cosine. at: int64, where the id of each one's caption is in `pair_ids`. scored: write the judge's probabilities.
    """
    count = len(kept.query)
    related = kept.own >= 0
    values = np.stack([kept.score, kept.own, kept.limit], axis=1)
    shown = np.ones((count, 3), bool)
    shown[:, 1] = related
    offsets = np.concatenate([[0], np.cumsum(2 + related)]).astype(np.int32)
    names = np.broadcast_to(np.arange(3, dtype=np.int8), (count, 3))
    score = pa.StructArray.from_arrays(
        [
            pa.DictionaryArray.from_arrays(pa.array(names[shown]), _SCORE_NAMES),
            pa.array((values[shown] / UNIT).astype(np.float32)),
        ],
        fields=list(SCORE),
    )
    origin, text = _strings(corpus, kept.candidate, "pair_id"), _strings(corpus, kept.candidate, "caption")
    schema = REWRITES
    return pa.RecordBatch.from_arrays(
        [
            _take(pair_ids, at),
            text,
            _label("negative", count),
            _label("sentence", count),
            _label("tfidf", count),
            pa.nulls(count, schema.field("edits").type),
            origin,
            pa.ListArray.from_arrays(pa.array(offsets), score, type=schema.field("scores").type),
            pa.DictionaryArray.from_arrays(pa.array((~related).astype(np.int8)), _WHY),
            pa.array((kept.truth / UNIT).astype(np.float32), mask=(kept.truth < 0) | (not scored)),
        ],
        schema=schema,
    )


def _label(value: str, count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int8)), pa.array([value])).cast(LABEL)
