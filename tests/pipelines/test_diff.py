import itertools
import json
import os
import shutil
import tempfile

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.cli import main
from pipelines.diff import diff
from pipelines.diff_rows import identity
from pipelines.diff_text import as_json, as_text
from pipelines.run import run
from pipelines.verify import corpus_hash
from schemas import ids
from schemas.corpus import open_corpus
from schemas.rejects import Reason
from schemas.tables import IMAGES, MATCHES, PAIRS, REWRITES, SCHEMAS, TEXTS, column, table_schema
from tests.forge import forge_manifest, forge_table
from tests.pipelines.conftest import hash_of, make_config
from tests.written import write_corpus

ESCAPES = '<script>alert(1)</script> "\x1b[31m\u202e' + "\0" + "\U0001f600 &amp; \u2028"


def pair(image, caption, source="made"):
    return {"pair_id": ids.pair_id(image, caption), "image_id": image, "caption": caption, "source": source}


def image(name, uri="/a/x.jpg", width=4):
    return {"image_id": name, "source": "made", "uri": uri, "offset": None, "length": None, "width": width, "height": 3, "sha256": None}


def rewrite(pair_id, text, cosine, why="most_similar_below_margin", kind="tfidf"):
    return {
        "pair_id": pair_id,
        "text": text,
        "polarity": "negative",
        "level": "sentence",
        "kind": kind,
        "edits": None,
        "origin": None,
        "scores": [{"name": "cosine", "value": cosine}, {"name": "own", "value": 0.5}],
        "why": why,
        "truth": None,
    }


def tables(pairs, images=(), rewrites=(), texts=()):
    return {
        "pairs": {"pairs": (PAIRS, pairs), "images": (IMAGES, images)},
        "texts": {"texts": (TEXTS, texts)},
        "tfidf": {"rewrites": (REWRITES, rewrites)},
    }


def compared(one, other, **options):
    return diff(open_corpus(str(one)), open_corpus(str(other)), **options)


def table_of(found, name):
    return next(table for stage in found.stages for table in stage.tables if table.table == name)


@st.composite
def two_corpora(draw):
    """Rewrites of pairs of two corpora, the pairs' own, and by what they differ."""
    pairs = [
        pair(f"made/{number}", caption)
        for number in range(draw(st.integers(1, 12)))
        for caption in [f"caption {at} of {number}" for at in range(draw(st.integers(1, 3)))]
    ]
    rows = [rewrite(one["pair_id"], f"text {at}", 0.25) for one in pairs for at in range(draw(st.integers(0, 3)))]
    fates = draw(st.lists(st.sampled_from(["kept", "kept", "added", "removed", "score", "why"]), min_size=len(rows), max_size=len(rows)))
    old = [row for row, fate in zip(rows, fates, strict=True) if fate != "added"]
    new = [
        {
            **row,
            **({"why": "other"} if fate == "why" else {}),
            **({"scores": [{"name": "cosine", "value": 0.75}, {"name": "own", "value": 0.5}]} if fate == "score" else {}),
        }
        for row, fate in zip(rows, fates, strict=True)
        if fate != "removed"
    ]
    lost = draw(st.sets(st.integers(0, len(pairs) - 1), max_size=2))
    named = {row["pair_id"] for row in [*old, *new]}
    gone = {pairs[at]["pair_id"] for at in lost} - named
    return pairs, [one for one in pairs if one["pair_id"] not in gone], old, new, fates, gone


@settings(max_examples=25)
@given(two_corpora(), st.sampled_from([(1, 1), (4, 4), (3, 5), (1, 7), (8, 2)]), st.integers(1, 4))
def test_exactly_the_rows_that_differ_are_found_whatever_the_numbers_of_partitions(made, partitions, batch_rows):
    pairs, others, old, new, fates, gone = made
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(f"{folder}/a", partitions[0], tables(pairs, rewrites=old), batch_rows=batch_rows)
        write_corpus(f"{folder}/b", partitions[1], tables(others, rewrites=new))
        found = compared(f"{folder}/a", f"{folder}/b", examples=1000)
        hashes = [corpus_hash(*open_corpus(f"{folder}/{name}"))["corpus"] for name in "ab"]
    assert found.troubles == []
    rows = table_of(found, "rewrites")
    changed = fates.count("score") + fates.count("why")
    assert (rows.added, rows.removed, rows.changed, rows.reordered) == (fates.count("added"), fates.count("removed"), changed, 0)
    assert rows.columns == {name: fates.count(fate) for name, fate in (("scores", "score"), ("why", "why")) if fates.count(fate)}
    assert rows.scores == ({"cosine": {"rows": fates.count("score"), "mean": 0.5, "largest": 0.5}} if "score" in fates else {})
    known = {(row["pair_id"], row["text"]) for row in old}, {(row["pair_id"], row["text"]) for row in new}
    told = {what: {(row["pair_id"], row["text"]) for row in rows.examples.get(what, [])} for what in ("added", "removed", "changed")}
    assert told["added"] == known[1] - known[0] and told["removed"] == known[0] - known[1] and len(told["changed"]) == changed
    lost = table_of(found, "pairs")
    assert (lost.added, lost.removed, lost.changed) == (0, len(gone), 0)
    assert {row["pair_id"] for row in lost.examples.get("removed", [])} == gone
    assert found.status == int(hashes[0] != hashes[1])


def test_the_same_examples_whatever_the_partitions_and_another_choice_by_another_seed(tmp_path):
    pairs = [pair(f"made/{number}", "a dog") for number in range(60)]
    for partitions in (1, 3, 7):
        write_corpus(tmp_path / f"a{partitions}", partitions, tables(pairs[:5]))
        write_corpus(tmp_path / f"b{partitions}", partitions, tables(pairs[5:]))
    found = [
        compared(tmp_path / f"a{one}", tmp_path / f"b{other}", seed=seed)
        for one, other, seed in ((1, 1, 0), (3, 3, 0), (7, 3, 0), (1, 7, 0), (1, 1, 1))
    ]
    samples = [table_of(each, "pairs").examples for each in found]
    assert samples[0] == samples[1] == samples[2] == samples[3] != samples[4]
    assert len(samples[0]["added"]) == 10 and len(samples[0]["removed"]) == 5


def test_layout_does_not_count_but_content_does(tmp_path):
    pairs = [pair(f"made/{number}", "a dog") for number in range(9)]
    for name, uri, width in (("a", "/a/x.jpg", 4), ("b", "s3://b/y.jpg", 4), ("c", "/a/x.jpg", 5)):
        write_corpus(tmp_path / name, 2, tables(pairs, [image(one["image_id"], uri, width) for one in pairs]))
    assert compared(tmp_path / "a", tmp_path / "b").status == 0
    found = table_of(compared(tmp_path / "a", tmp_path / "c"), "images")
    assert found.columns == {"width": 9} and found.examples["changed"][0]["width"] == {"a": 4, "b": 5}


def test_the_order_of_rewrites_counts(tmp_path):
    pairs = [pair("made/1", "a dog"), pair("made/2", "a cat")]
    rows = [rewrite(one["pair_id"], text, 0.5) for one in pairs for text in ("x", "y", "z")]
    write_corpus(tmp_path / "a", 2, tables(pairs, rewrites=rows))
    write_corpus(tmp_path / "b", 2, tables(pairs, rewrites=[rows[2], *rows[:2], *rows[3:]]))
    found = compared(tmp_path / "a", tmp_path / "b")
    assert found.status == 1 and table_of(found, "rewrites").reordered == 1 and table_of(found, "rewrites").changed == 0


def test_nested_values_nulls_and_floats_are_compared_by_what_they_are(tmp_path):
    schema = table_schema(
        "figures",
        1,
        [
            column("pair_id", pa.string()),
            column("value", pa.float32(), nullable=True),
            column("lists", pa.list_(pa.list_(pa.float16(), 2))),
            column("parts", pa.struct([column("uri", pa.string(), layout=True), column("n", pa.int64(), nullable=True)]), nullable=True),
            column("flag", pa.bool_(), nullable=True),
            column("data", pa.binary(3), nullable=True),
        ],
    )
    pairs = [pair(f"made/{number}", "a dog") for number in range(30)]
    rows = [
        {
            "pair_id": one["pair_id"],
            "value": [None, float("nan"), 1.5][at % 3],
            "lists": [[0.5, at]] * (at % 4),
            "parts": {"uri": "a", "n": at} if at % 5 else None,
            "flag": [True, False, None][at % 3],
            "data": b"abc" if at % 2 else None,
        }
        for at, one in enumerate(pairs)
    ]
    changes = [
        ("value", None),
        ("lists", [[0.5, 99.0]]),
        ("parts", {"uri": "b", "n": None}),
        ("flag", None),
        ("data", b"abd"),
        ("value", -0.0),
    ]
    other = [{**row, "parts": row["parts"] and {**row["parts"], "uri": "elsewhere"}} for row in rows]
    for at, (name, value) in zip((2, 7, 8, 13, 14, 17), changes, strict=True):
        other[at][name] = value
    whole = tables(pairs)
    write_corpus(tmp_path / "a", 3, {**whole, "figures": {"figures": (schema, rows)}})
    write_corpus(tmp_path / "b", 2, {**whole, "figures": {"figures": (schema, other)}})
    found = table_of(compared(tmp_path / "a", tmp_path / "b"), "figures")
    assert found.columns == {"value": 2, "lists": 1, "parts": 1, "flag": 1, "data": 1} and found.changed == 6
    assert {row["pair_id"] for row in found.examples["changed"]} == {pairs[at]["pair_id"] for at in (2, 7, 8, 13, 14, 17)}


def match(query, matched, rank, score=0.5, modality="text"):
    text = "The dog ran." if modality == "text" else None
    return {
        "query_id": query,
        "modality": modality,
        "matched_id": matched,
        "rank": rank,
        "score": score,
        "text": text,
        "partition": 0,
        "row": 7,
    }


def test_examples_show_nested_values_in_words(tmp_path):
    pairs = [pair("made/1", "a dog")]
    row = {**rewrite(pairs[0]["pair_id"], "a cat", 0.1), "edits": [{"start": 2, "end": 5, "text": "cat"}]}
    for name, changed in (("a", []), ("b", [row]), ("c", [{**row, "edits": [], "scores": row["scores"][:1]}])):
        write_corpus(tmp_path / name, 1, tables(pairs, rewrites=changed))
    (added,) = table_of(compared(tmp_path / "a", tmp_path / "b"), "rewrites").examples["added"]
    assert (added["scores"], added["edits"], added["origin"]) == ("cosine 0.1; own 0.5", "start 2, end 5, text cat", None)
    assert "origin" not in as_text(compared(tmp_path / "a", tmp_path / "b"))
    (changed,) = table_of(compared(tmp_path / "b", tmp_path / "c"), "rewrites").examples["changed"]
    assert changed["edits"] == {"a": "start 2, end 5, text cat", "b": "nothing"} and changed["scores"] == {"a": "own 0.5", "b": "nothing"}


@pytest.mark.parametrize("partitions", [(1, 1), (3, 3), (4, 2)])
def test_matches_are_compared_by_query_and_what_matched(tmp_path, partitions):
    pairs = [pair(f"made/{number}", f"caption {at}") for number in range(20) for at in range(3)]
    queries = {"text": [one["pair_id"] for one in pairs], "image": sorted({one["image_id"] for one in pairs})}
    for name, cut, score, kept in (("a", partitions[0], 0.5, 60), ("b", partitions[1], 0.75, 50)):
        stages = tables(pairs)
        for modality, held in queries.items():
            rows = [match(query, f"m{rank}", rank, modality=modality) for query in held[:kept] for rank in range(2)]
            rows[5]["score"] = score
            stages[f"{modality}_matches"] = {"matches": (MATCHES, rows)}
        write_corpus(tmp_path / name, cut, stages)
    found = compared(tmp_path / "a", tmp_path / "b")
    assert not found.troubles
    for stage, lost in (("text_matches", 20), ("image_matches", 0)):
        rows = next(one for one in found.stages if one.stage == stage).tables[0]
        assert (rows.added, rows.removed, rows.changed, rows.notes) == (0, lost, 1, [])
        assert rows.scores == {"score": {"rows": 1, "mean": 0.25, "largest": 0.25}}


def test_every_table_that_counts_has_rows_that_can_be_told_apart():
    assert {name for name, schema in SCHEMAS.items() if name != "rejects" and not identity(name, schema)} == set()


def test_another_schema_version_is_said_and_what_is_common_compared(tmp_path):
    newer = table_schema("pairs", 2, [*(field for field in PAIRS if field.name != "source"), column("language", pa.string())])
    pairs = [pair(f"made/{number}", "a dog") for number in range(9)]
    write_corpus(tmp_path / "a", 2, {"pairs": {"pairs": (PAIRS, pairs)}})
    write_corpus(tmp_path / "b", 2, {"pairs": {"pairs": (newer, [{**one, "language": "en"} for one in pairs[1:]])}})
    found = compared(tmp_path / "a", tmp_path / "b")
    rows = table_of(found, "pairs")
    assert found.status == 1 and (rows.added, rows.removed, rows.changed) == (0, 1, 0)
    assert rows.notes == [
        "schema version 1 in a, 2 in b: their common columns are compared",
        "column language: not in a, string in b",
        "column source: string in a, not in b",
    ]


def test_rejects_and_stages_of_one_side_are_told(tmp_path):
    pairs = [pair("made/1", "a dog")]
    write_corpus(tmp_path / "a", 1, tables(pairs), {"tfidf": {Reason.SAME_TEXT: 3}})
    write_corpus(tmp_path / "b", 1, {"pairs": tables(pairs)["pairs"], "tfidf": tables(pairs)["tfidf"]}, {"tfidf": {Reason.SAME_TEXT: 5}})
    found = compared(tmp_path / "a", tmp_path / "b")
    assert found.status == 1
    text = as_text(found)
    assert "rejects same_text: 3 -> 5" in text and "texts: only in a" in text


@pytest.fixture(scope="module")
def runs(scene_files, tmp_path_factory):
    """Corpora of captions alone: one, the same in other partitions, and one with fewer negatives."""
    folder = tmp_path_factory.mktemp("diff")
    for name, changes in (("a", {}), ("same", {"partitions": 3}), ("fewer", {"tfidf": {"k": 7}})):
        run(make_config(scene_files, folder / name, pixels=False, images=[], **changes))
    return folder


def test_equal_corpora_are_equal_however_they_are_cut(runs, capsys):
    assert hash_of(runs / "a") == hash_of(runs / "same")
    assert main(["diff", str(runs / "a"), str(runs / "a")]) == main(["diff", str(runs / "a"), str(runs / "same")]) == 0
    out = capsys.readouterr().out
    assert "partitions: 4 -> 3" in out and "different" not in out


def test_a_changed_setting_is_told_with_what_came_of_it(runs, capsys):
    assert main(["diff", str(runs / "a"), str(runs / "fewer"), "--examples", "2"]) == 1
    out = capsys.readouterr().out
    one, other = (open_corpus(str(runs / name))[0].manifest("tfidf").counts for name in ("a", "fewer"))
    lost = one.rows_out["rewrites"] - other.rows_out["rewrites"]
    assert "ingredients settings.k: 10 -> 7" in out and f"rows: {lost:,} removed" in out and out.count("      - pair_id") == 2
    assert "pairs: the same" in out and "negatives differs in" in out
    assert main(["diff", str(runs / "a"), str(runs / "fewer"), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    rows = next(table for stage in said["stages"] if stage["stage"] == "tfidf" for table in stage["tables"])
    assert (said["status"], rows["removed"], rows["added"], rows["changed"]) == (1, lost, 0, 0)


def test_equal_tables_are_not_read(runs, tmp_path):
    """Files that are gone are not missed where the manifests say that they are the same: that is `verify`'s to find."""
    copy = shutil.copytree(runs / "a", tmp_path / "c")
    for path in itertools.chain(copy.glob("*/*.arrow")):
        path.unlink()
    assert compared(runs / "a", copy).status == 0
    found = compared(runs / "same", copy)
    assert found.status == 2 and any("pairs/pairs could not be compared" in text for text in found.troubles)


def spoil_half_made(copy):
    os.remove(copy / "tfidf/manifest.json")


def spoil_manifest(copy):
    path = copy / "texts/manifest.json"
    path.write_bytes(path.read_bytes()[:-200])


def spoil_table(copy):
    path = max(copy.glob("pairs/pairs-*.arrow"), key=lambda each: each.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def spoil_order(copy):
    corpus, _ = open_corpus(str(copy))
    forge_table(corpus, "pairs", "pairs", 0, lambda rows: rows.take(list(range(rows.num_rows))[::-1]))


def spoil_reference(copy):
    corpus, _ = open_corpus(str(copy))
    forge_table(corpus, "tfidf", "rewrites", 0, lambda rows: rows.set_column(0, rows.schema.field(0), pa.array(["f" * 20] * rows.num_rows)))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_half_made, "tfidf of "),
        (spoil_manifest, "texts of "),
        (spoil_table, "is damaged"),
        (spoil_order, "not in the order of the corpus"),
        (spoil_reference, "rows name a pair that is not in the partition"),
    ],
)
def test_what_cannot_be_compared_is_named_and_the_rest_compared(runs, tmp_path, spoil, said):
    copy = shutil.copytree(runs / "fewer", tmp_path / "c")
    spoil(copy)
    found = compared(runs / "same", copy)
    assert found.status == 2 and any(said in text for text in found.troubles)
    assert any(table.read for stage in found.stages for table in stage.tables if stage.stage in ("texts", "images", "examples"))


def test_a_failed_stage_is_said(runs, tmp_path):
    copy = shutil.copytree(runs / "a", tmp_path / "c")
    forge_manifest(open_corpus(str(copy))[0], "pairs", lambda manifest: setattr(manifest, "failed", "too many rejected"))
    assert "failed: nothing -> too many rejected" in as_text(compared(runs / "a", copy))


def test_a_locked_corpus_is_read(runs, tmp_path):
    from pipelines.lock import corpus_lock

    copy = shutil.copytree(runs / "a", tmp_path / "c")
    with corpus_lock(str(copy)):
        assert compared(runs / "a", copy).status == 0


def test_corpora_of_nothing_and_of_one_pair(tmp_path):
    for name, pairs in (("none", []), ("one", [pair("made/1", "a dog")])):
        write_corpus(tmp_path / name, 2, tables(pairs))
    assert compared(tmp_path / "none", tmp_path / "none").status == 0
    found = table_of(compared(tmp_path / "none", tmp_path / "one"), "pairs")
    assert (found.rows, found.added, found.removed) == ((0, 1), 1, 0)


def test_hostile_captions_are_text_on_one_line(tmp_path):
    long = "word " * 10_000
    pairs = [pair("made/1", ESCAPES, 'x"\x1b[2J'), pair("../made/2", long)]
    write_corpus(tmp_path / "a", 1, tables([]))
    write_corpus(tmp_path / "b", 2, tables(pairs))
    found = compared(tmp_path / "a", tmp_path / "b")
    text = as_text(found)
    assert all(line.isprintable() for line in text.split("\n")) and max(map(len, text.split("\n"))) < 1000
    assert "<script>alert(1)</script>" in text and text.count("      + pair_id") == 2
    assert as_json(found).isascii() and json.loads(as_json(found))["status"] == 1


@pytest.mark.parametrize("content", [None, b"{}", b'{"format": 1, "stages": []}', b'{"format": 9, "stages": []}'])
def test_no_corpus_is_trouble(runs, tmp_path, capsys, content):
    (tmp_path / "c").mkdir()
    if content is not None:
        (tmp_path / "c/corpus.json").write_bytes(content)
    assert main(["diff", str(runs / "a"), str(tmp_path / "c")]) == 2
    err = capsys.readouterr().err
    assert str(tmp_path / "c") in err and "Traceback" not in err
