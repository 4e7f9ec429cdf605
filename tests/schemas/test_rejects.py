from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from schemas.rejects import REASONS, Outcome, Reason, RejectLog, reason_position, reject_batch

entries = st.lists(st.tuples(st.text(max_size=4), st.sampled_from(REASONS), st.text(max_size=6)), max_size=20)


@given(entries, st.randoms())
def test_the_order_of_adding_does_not_matter(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    tables = []
    for order in (rows, shuffled):
        log = RejectLog("s")
        for row in order:
            log.add(*row)
        tables.append(log.table())
    assert tables[0].equals(tables[1])


@given(entries)
def test_counts_distinguish_rejected_excluded_and_dropped(rows):
    log = RejectLog("s")
    half = len(rows) // 2
    for row in rows[:half]:
        log.add(*row)
    rest = rows[half:]
    log.add_batch(
        pa.array([row[0] for row in rest], pa.string()),
        np.array([reason_position(row[1]) for row in rest], np.int8),
        pa.array([row[2] for row in rest], pa.string()),
    )
    outcomes = log.outcomes()
    reasons = [row[1] for row in rows]
    assert outcomes == Counter(reason.outcome for reason in reasons)
    assert outcomes.total() == len(rows) == log.table().num_rows
    assert sorted(log.table()["reason"].to_pylist()) == sorted(reason.value for reason in reasons)


def test_a_hostile_detail_is_truncated():
    log = RejectLog("s")
    log.add("x", Reason.TOO_LONG, "a" * 10_000)
    assert len(log.table()["detail"][0].as_py()) == 500


def test_stored_codes_of_reasons_stay():
    assert [reason_position(Reason.EMPTY), reason_position(Reason.IMAGE_BROKEN), reason_position(Reason.SAME_IMAGE)] == [0, 7, 19]
    assert reject_batch("s", ["a"], np.array([19]), ["d"])["reason"].to_pylist() == ["same_image"]


def test_every_reason_has_an_outcome():
    by_outcome = {outcome: {reason.value for reason in REASONS if reason.outcome is outcome} for outcome in Outcome}
    assert by_outcome[Outcome.EXCLUDED] == {"excluded", "image_not_held", "no_caption"}
    assert {"image_broken", "regions_missing", "engine_failed"} <= by_outcome[Outcome.REJECTED]
    assert {"same_image", "likely_true", "surplus"} <= by_outcome[Outcome.DROPPED]
    assert Reason("empty") is Reason.EMPTY
