import shutil

import pyarrow as pa
import pytest

from pipelines.run import run
from pipelines.verify import corpus_hash, forget, verify
from schemas.corpus import open_corpus
from tests.forge import forge_manifest, forge_table
from tests.pipelines.conftest import hash_of, make_config


@pytest.fixture(scope="module")
def whole(scene_files, tmp_path_factory):
    place = tmp_path_factory.mktemp("verify") / "c"
    run(make_config(scene_files, place))
    return place


@pytest.fixture
def corpus(whole, tmp_path):
    """A copy that the test may damage."""
    return shutil.copytree(whole, tmp_path / "c")


def faults(place):
    return [finding.text for finding in verify(*open_corpus(str(place)))]


def largest(place, pattern):
    return max(place.glob(pattern), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("stage", ["pairs", "images", "texts", "tfidf_counts", "tfidf", "examples"])
def test_a_flipped_byte_is_found_and_repaired(scene_files, corpus, stage):
    before = hash_of(corpus)
    path = largest(corpus, f"{stage}/*.arrow")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    findings = verify(*open_corpus(str(corpus)))
    assert f"{stage}/{path.name}: its content is not what was written (SHA-256 differs)" in [f.text for f in findings]
    assert forget(open_corpus(str(corpus))[0], findings) == 1
    report = run(make_config(scene_files, corpus))
    assert {manifest.stage: manifest.ran for manifest in report.ran if manifest.ran} == {stage: 1}
    assert faults(corpus) == [] and hash_of(corpus) == before


def test_missing_cut_and_foreign_files_are_named(corpus):
    missing, cut = corpus / "tfidf/rewrites-00000-of-00004.arrow", corpus / "examples/examples-00001-of-00004.arrow"
    missing.unlink()
    cut.write_bytes(cut.read_bytes()[:1000])
    (corpus / "texts/notes.txt").write_text("mine")
    (corpus / "pairs/.tmp-pairs-1").write_text("half")
    found = faults(corpus)
    assert "tfidf/rewrites-00000-of-00004.arrow: is missing" in found
    assert any(text.startswith("examples/examples-00001-of-00004.arrow: has 1000 bytes, but its record says") for text in found)
    assert "texts/notes.txt: not in the manifest" in found and "pairs/.tmp-pairs-1: not in the manifest" in found


def rewrite(place, stage, table, change):
    """Replaces a table's first partition with a modified one, and updates all records to match."""
    corpus, _ = open_corpus(str(place))
    partition = next(p for p in range(4) if corpus.open(stage, table, p).rows > 3)
    forge_table(corpus, stage, table, partition, change)


def put(table, column, values):
    return table.set_column(table.schema.get_field_index(column), table.schema.field(column), pa.chunked_array([pa.array(values)]))


@pytest.mark.parametrize(
    ("stage", "table", "change", "expected"),
    [
        (
            "pairs",
            "pairs",
            lambda t: put(t, "image_id", ["scenes/none", *t["image_id"].to_pylist()[1:]]),
            "refer to an image that is not in",
        ),
        (
            "pairs",
            "pairs",
            lambda t: put(t, "caption", ["changed", *t["caption"].to_pylist()[1:]]),
            "1 pair ids do not match their content",
        ),
        ("pairs", "pairs", lambda t: t.take(list(range(t.num_rows))[::-1]), "its pairs are out of order"),
        ("pairs", "pairs", lambda t: pa.concat_tables([t.slice(0, 1), t]), "a pair id is duplicated"),
        (
            "tfidf",
            "rewrites",
            lambda t: put(t, "pair_id", ["f" * 20, *t["pair_id"].to_pylist()[1:]]),
            "refer to a pair that is not in the partition",
        ),
        (
            "tfidf",
            "rewrites",
            lambda t: put(t, "origin", ["f" * 20, *t["origin"].to_pylist()[1:]]),
            "1 negatives come from pairs that are not",
        ),
        ("tfidf", "rewrites", lambda t: t.take(list(range(t.num_rows))[::-1]), "not in the order of their pairs"),
        ("examples", "examples", lambda t: t.slice(1), "its pairs are not the partition's pairs"),
    ],
)
def test_references_are_checked_even_when_the_bytes_are_right(corpus, stage, table, change, expected):
    rewrite(corpus, stage, table, change)
    assert any(expected in text for text in faults(corpus)), faults(corpus)


def test_a_wrong_schema_version_is_named(corpus):
    rewrite(corpus, "texts", "texts", lambda t: t.replace_schema_metadata({**t.schema.metadata, b"cmcl.version": b"7"}))
    assert any("contains version 7 of 'texts'; this release reads version 1" in text for text in faults(corpus))


def test_counts_that_do_not_add_up_are_named(corpus):
    def one_more(manifest):
        manifest.counts.rows_in += 1

    forge_manifest(open_corpus(str(corpus))[0], "pairs", one_more)
    found = faults(corpus)
    assert any(text.startswith("pairs/manifest.json: 201 rows in, but") for text in found)
    assert "pairs/manifest.json: its counts are not the sums of its tasks' counts" in found


def test_a_stage_without_manifest_is_named(corpus):
    (corpus / "tfidf/manifest.json").unlink()
    assert "tfidf: has no manifest: the stage never finished" in faults(corpus)


def test_the_hash_sees_a_changed_row_and_no_moved_corpus(corpus, whole, tmp_path):
    moved = shutil.move(shutil.copytree(corpus, tmp_path / "x"), tmp_path / "moved")
    assert hash_of(moved) == hash_of(whole)
    rewrite(corpus, "texts", "texts", lambda t: put(t, "text", ["changed", *t["text"].to_pylist()[1:]]))
    changed, before = (corpus_hash(*open_corpus(str(place))) for place in (corpus, whole))
    assert {name for name in before if before[name] != changed[name]} == {"texts/texts", "corpus"}
