import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.corpus_hash import TableHash, hash_batches
from schemas.tables import LABEL, LAYOUT, SCORE

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("raw", pa.binary(2)),
        pa.field("number", pa.float32()),
        pa.field("label", LABEL),
        pa.field("scores", pa.list_(SCORE)),
        pa.field("spans", pa.list_(pa.struct([("start", pa.int32()), ("text", pa.string())]))),
        pa.field("flag", pa.bool_()),
        pa.field("row", pa.int64(), metadata=LAYOUT),
    ]
)

row = st.fixed_dictionaries({
    "id": st.none() | st.text(max_size=5), "raw": st.none() | st.binary(min_size=2, max_size=2),
    "number": st.none() | st.floats(width=32, allow_nan=False), "label": st.none() | st.sampled_from(["a", "b", "c"]),
    "scores": st.none() | st.lists(st.fixed_dictionaries({"name": st.sampled_from(["x", "y"]), "value": st.just(0.5)}), max_size=3),
    "spans": st.none() | st.lists(st.none() | st.fixed_dictionaries({"start": st.integers(0, 9), "text": st.text(max_size=3)}),
                                  max_size=3),
    "flag": st.none() | st.booleans(), "row": st.integers(0, 100),
})  # fmt: skip


def digest(batches):
    return hash_batches(SCHEMA, [pa.RecordBatch.from_pylist(rows, schema=SCHEMA) for rows in batches])


@settings(max_examples=80, deadline=None)
@given(st.lists(row, max_size=12), st.data())
def test_batch_boundaries_do_not_matter(rows, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    pieces = [rows[start:end] for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    whole = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    slices = [whole.slice(start, end - start) for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    assert digest([rows]) == digest(pieces) == hash_batches(SCHEMA, slices)


@settings(max_examples=120, deadline=None)
@given(st.lists(row, min_size=1, max_size=6), st.data())
def test_any_change_shows_but_layout_does_not(rows, data):
    at = data.draw(st.integers(0, len(rows) - 1))
    other = data.draw(row)
    changed = [*rows[:at], other, *rows[at + 1 :]]
    same = {**rows[at], "row": 0} == {**other, "row": 0}
    assert (digest([rows]) == digest([changed])) == same


def test_order_shows():
    one, two = ({"id": "a", "number": 1.0}, {"id": "b", "number": 1.0})
    assert digest([[one, two]]) != digest([[two, one]])
    assert digest([[one]]) != digest([[one, one]])


def test_a_boundary_between_strings_shows():
    assert digest([[{"id": "ab"}, {"id": "c"}]]) != digest([[{"id": "a"}, {"id": "bc"}]])


def test_columns_that_numpy_has_no_numbers_for_are_refused():
    batch = pa.record_batch({"data": pa.array([b"x"], pa.large_binary())})
    with pytest.raises(TypeError, match="large_binary"):
        TableHash(batch.schema).update(batch)
