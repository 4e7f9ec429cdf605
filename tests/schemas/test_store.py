import os

import fsspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import files
from schemas.errors import CorpusError, SchemaError
from schemas.store import TableFile, TableWriter
from schemas.tables import PAIRS, SCHEMAS, TEXTS, regions_schema


def texts(rows, start=0):
    numbers = range(start, start + rows)
    return pa.table(
        {"text_id": [f"t{n:06d}" for n in numbers], "text": [f"sentence {n}" for n in numbers], "source": ["s"] * rows}, schema=TEXTS
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=8), st.integers(1, 17))
def test_rows_come_back_in_fixed_batches_however_they_were_written(tmp_path_factory, pieces, batch_rows):
    url = str(tmp_path_factory.mktemp("t") / "texts.arrow")
    with TableWriter(url, TEXTS, batch_rows) as writer:
        start = 0
        for rows in pieces:
            writer.write(texts(rows, start))
            start += rows
    total = sum(pieces)
    with TableFile(url, "texts") as file:
        assert file.read().equals(texts(total))
        sizes = [batch.num_rows for batch in file.batches()]
    assert sizes == [batch_rows] * (total // batch_rows) + ([total % batch_rows] if total % batch_rows else [])
    assert (writer.info.rows, writer.info.bytes, writer.info.sha256) == (total, os.path.getsize(url), files.sha256_of(url))


def test_the_same_rows_give_the_same_bytes_however_they_were_batched(tmp_path):
    sums = set()
    for name, cut in (("a", [100]), ("b", [1] * 100), ("c", [33, 0, 67])):
        with TableWriter(str(tmp_path / name), TEXTS, 10) as writer:
            start = 0
            for rows in cut:
                writer.write(texts(rows, start))
                start += rows
        sums.add(writer.info.sha256)
    assert len(sums) == 1


def test_local_reads_are_views_of_the_file(tmp_path):
    url = str(tmp_path / "texts.arrow")
    with TableWriter(url, TEXTS, 50_000) as writer:
        writer.write(texts(50_000))
    before = pa.total_allocated_bytes()
    table = TableFile(url, "texts").read()
    assert table.num_rows == 50_000
    assert pa.total_allocated_bytes() - before < 10_000


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="half way"), TableWriter(str(tmp_path / "texts.arrow"), TEXTS) as writer:
        writer.write(texts(5))
        raise RuntimeError("half way")
    assert os.listdir(tmp_path) == []


def test_a_writer_that_fails_leaves_the_existing_file(tmp_path):
    url = str(tmp_path / "texts.arrow")
    with TableWriter(url, TEXTS) as writer:
        writer.write(texts(5))
    with pytest.raises(RuntimeError), TableWriter(url, TEXTS) as writer:
        raise RuntimeError
    with TableFile(url, "texts") as file:
        assert file.rows == 5
    assert os.listdir(tmp_path) == ["texts.arrow"]


def test_a_batch_of_another_table_is_refused(tmp_path):
    with pytest.raises(SchemaError, match="pairs"), TableWriter(str(tmp_path / "t.arrow"), TEXTS) as writer:
        writer.write(PAIRS.empty_table())
    assert os.listdir(tmp_path) == []


def test_memory_and_other_filesystems_work(tmp_path):
    url = "memory://store-test/deep/texts.arrow"
    with TableWriter(url, TEXTS, 10) as writer:
        writer.write(texts(25))
    assert TableFile(url, "texts").read().equals(texts(25))
    assert files.listing("memory://store-test/deep") == {"texts.arrow": writer.info.bytes}
    fsspec.filesystem("memory").rm("/store-test", recursive=True)


def test_another_version_is_named(tmp_path):
    url = str(tmp_path / "texts.arrow")
    future = TEXTS.with_metadata({**TEXTS.metadata, b"cmcl.version": b"99"})
    with pa.OSFile(url, "wb") as sink, pa.ipc.new_file(sink, future) as writer:
        writer.write_table(texts(3).cast(future))
    with pytest.raises(SchemaError, match=r"version 99 of 'texts'; this release reads version 1"):
        TableFile(url, "texts")


@pytest.mark.parametrize("damage", ["truncate", "text", "empty"])
def test_a_file_that_is_not_arrow_is_named(tmp_path, damage):
    url = str(tmp_path / "texts.arrow")
    with TableWriter(url, TEXTS) as writer:
        writer.write(texts(1000))
    content = {"truncate": open(url, "rb").read()[:-100], "text": b"not arrow at all", "empty": b""}[damage]
    with open(url, "wb") as file:
        file.write(content)
    with pytest.raises(CorpusError, match="texts.arrow is not a complete Arrow file"):
        TableFile(url, "texts")


def test_a_foreign_arrow_file_and_another_table_are_named(tmp_path):
    foreign = str(tmp_path / "foreign.arrow")
    with pa.OSFile(foreign, "wb") as sink, pa.ipc.new_file(sink, pa.schema([("a", pa.int8())])):
        pass
    with pytest.raises(SchemaError, match="not a cmcl table"):
        TableFile(foreign, "texts")
    url = str(tmp_path / "texts.arrow")
    with TableWriter(url, TEXTS):
        pass
    with pytest.raises(SchemaError, match="contains the table 'texts', not 'pairs'"):
        TableFile(url, "pairs")


def test_changed_columns_under_the_same_version_are_named(tmp_path):
    url = str(tmp_path / "texts.arrow")
    changed = pa.schema([("text_id", pa.string())], metadata=TEXTS.metadata)
    with pa.OSFile(url, "wb") as sink, pa.ipc.new_file(sink, changed):
        pass
    with pytest.raises(SchemaError, match="columns differ"):
        TableFile(url, "texts")


def test_an_unwritable_location_is_an_os_error():
    with pytest.raises(OSError), TableWriter("/proc/nowhere/texts.arrow", TEXTS):
        pass


def test_temporaries_of_a_killed_writer_are_swept(tmp_path):
    ours, mine = ".tmp-texts.arrow-0123456789ab", [".tmp-notes.arrow-0123456789ab", ".tmp-texts.arrow-0123", ".tmp-x"]
    for name in (ours, *mine):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "texts.arrow").write_bytes(b"whole")
    assert files.sweep_temporaries(str(tmp_path), "texts.arrow".__eq__) == [ours]
    assert sorted(os.listdir(tmp_path)) == [*mine, "texts.arrow"]


def test_every_table_has_a_name_and_a_version():
    for name, schema in SCHEMAS.items():
        assert schema.metadata[b"cmcl.table"] == name.encode()
        assert int(schema.metadata[b"cmcl.version"]) >= 1
    regions = regions_schema(256, 31)
    assert regions.field("features").type.value_type == pa.list_(pa.float16(), 256)
    with pytest.raises(ValueError, match="positive"):
        regions_schema(0, 5)


def test_a_plain_path_is_taken_as_it_is(tmp_path):
    url = str(tmp_path / "a::b" / "texts.arrow")
    with TableWriter(url, TEXTS) as writer:
        writer.write(texts(3))
    assert os.path.getsize(url) == writer.info.bytes and TableFile(url, "texts").rows == 3
