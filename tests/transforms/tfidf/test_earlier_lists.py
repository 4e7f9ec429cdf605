"""Lists of an earlier run brought up to date equal those of a search in the whole corpus, and few captions are searched for."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from schemas.ids import image_id
from schemas.rejects import RejectLog
from schemas.tables import REWRITES
from tests.transforms.tfidf.reference import Row, counts_of, vectors_of, vocabulary_of
from tests.transforms.tfidf.test_negatives import CORPUS, make_rows
from transforms.tfidf.additions import changed_texts
from transforms.tfidf.captions import Captions
from transforms.tfidf.earlier_lists import ChangedCaptions, EarlierLists
from transforms.tfidf.negatives import Negatives, Stats, hard_negatives
from transforms.tfidf.search import ExactSearch
from transforms.tfidf.settings import TfidfSettings

CAPTIONS = Path(os.environ.get("CMCL_DATA", Path(__file__).parents[4] / "shared/data")) / "coco_val2017/captions_val2017.json"


class CountedSearch(ExactSearch):
    """Counts the captions that are searched for."""

    searched = 0

    def find(self, rows, depth, certain):
        self.searched += rows.shape[0]
        return super().find(rows, depth, certain)


def corpora_of(steps: list[list[Row]], partitions: int, options: TfidfSettings) -> list[Captions]:
    """The corpora of several states, with the vocabulary of all their rows."""
    rows = {row.pair_id: row for state in steps for row in state}
    vocabulary = vocabulary_of(counts_of(list(rows.values()), 1, options), options)
    return [Captions(vectors_of(counts_of(state, partitions, options), vocabulary, options)) for state in steps]


def output(
    corpus: Captions, options: TfidfSettings, part: int, earlier: EarlierLists | None = None
) -> tuple[pa.Table, pa.Table, Stats, list, int]:
    """Rewrites, rejects, totals, counts, and the captions that were searched for."""
    stats, log, search = Stats(), RejectLog("tfidf"), CountedSearch(corpus, options.block_rows)
    found: list[Negatives] = list(hard_negatives(corpus, part, options, stats, search, None, None, earlier))
    for one in found:
        log.add_batch(one.drop_ids, one.drop_reasons, one.drop_details)
    counts = [(one.pair_ids, {name: of.tolist() for name, of in one.numbers.items()}, one.unlogged[0].to_pylist()) for one in found]
    return pa.Table.from_batches([one.rewrites for one in found], REWRITES), log.table(), stats, counts, search.searched


def assert_same(before: Captions, now: Captions, options: TfidfSettings) -> tuple[int, int]:
    """Asserts that lists brought up to date equal new ones; returns how many captions were searched for, and how many there are."""
    changed, searched = changed_texts(before.parts, now), 0
    for part in range(len(now.parts)):
        if changed is not None and len(now.parts[part]):
            rewrites, rejects, *_ = output(before, options, part)
            earlier = EarlierLists(ChangedCaptions(now, changed.texts), part, options, rewrites, rejects)
            own, anew = output(now, options, part, earlier), output(now, options, part)
            assert own[:4] == anew[:4]
            searched += own[4]
    return searched, len(now)


@settings(max_examples=150, deadline=None)
@given(
    CORPUS,
    st.lists(st.tuples(st.integers(0, 7), st.sampled_from(["cat", "dog red", "bus on", "a red bus", "Cat, dog"])), max_size=3),
    st.sets(st.integers(0, 23), max_size=4),
    st.sets(st.integers(0, 7), max_size=1),
    st.integers(1, 4),
    st.integers(1, 6),
    st.sampled_from([(0.9, 0.1, 0.5, 0.95), (1.0, 0.0, 0.0, 1.0), (0.7, 0.4, 0.1, 0.8), (0.8, 0.2, 0.3, 0.6)]),
    st.sampled_from([3, 8, 20_000]),
)
def test_lists_brought_up_to_date_equal_new_ones(drawn, added, removed, other_bytes, partitions, k, guards, most):
    ceiling, margin, floor, near = guards
    options = TfidfSettings(
        k=k, query_rows=5, ceiling=ceiling, margin=margin, margin_floor=floor, near_text=near, max_df=1.0, max_depth=max(most, k)
    )
    touched = {image_id("t", str(image)) for image in other_bytes}
    rows = [replace(row, sha256=b"x" * 32) if row.image_id in touched else row for row in make_rows(drawn + added)]
    now = [row for at, row in enumerate(rows) if at not in removed]
    if now:
        searched, whole = assert_same(*corpora_of([make_rows(drawn), now], partitions, options), options)
        event("some lists are brought up to date" if searched < whole else "all are searched for")


def test_ties_at_the_end_of_the_deepest_search():
    # All texts are alike: a search that may go no deeper than 60 leaves out all that tie there, so the lists become empty.
    options = TfidfSettings(k=5, max_depth=60, max_df=1.0, margin=None)
    rows = make_rows([(image, f"bus {image}x") for image in range(3, 75)], copies=False)
    before, now = corpora_of([rows[:58], rows], 1, options)
    assert output(before, options, 0)[0].num_rows and not output(now, options, 0)[0].num_rows
    assert_same(before, now, options)


@pytest.mark.skipif(not CAPTIONS.exists(), reason=f"{CAPTIONS} not found")
def test_real_captions_are_rarely_searched_for_again():
    notes = json.loads(CAPTIONS.read_text(encoding="utf-8"))["annotations"][:1200]
    rows = make_rows([(note["image_id"] % 2**16, note["caption"]) for note in notes], copies=False)
    options = TfidfSettings(k=20)
    before, now, fewer = corpora_of([rows[:-12], rows, rows[12:]], 2, options)
    searched, whole = assert_same(before, now, options)
    assert searched < 0.1 * whole
    searched, whole = assert_same(now, fewer, options)
    assert searched < 0.5 * whole
