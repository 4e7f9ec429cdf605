"""Every changed byte of a corpus is detected, and repairing and running again restores the same corpus."""

import json
import os
import random
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.cli import main
from pipelines.run import run
from pipelines.scenes import make_scenes
from pipelines.verify import forget, verify
from schemas.corpus import WHOLE, open_corpus, read_index
from schemas.errors import CorpusError
from schemas.manifest import load_manifest, load_record
from schemas.rejects import Reason, reason_position, reject_batch
from schemas.seals import write_sealed
from tests.damage import cut, flip, lengthen, members, swap_with_the_next
from tests.forge import forge_manifest, forge_table
from tests.pipelines.conftest import hash_of, make_config

PARTITIONS = 2


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The inputs of a corpus of eight scenes with photos, three photos alone and twenty sentences, and the corpus."""
    folder = tmp_path_factory.mktemp("seals")
    make_scenes(folder / "scenes", 8, 3, texts=20)
    make_scenes(folder / "photos", 3, 4, captions=False)
    run(config_of(folder, folder / "corpus"))
    return folder


def config_of(folder, corpus, **changes):
    return make_config(folder, corpus, partitions=PARTITIONS, **{"tfidf": {"k": 3}, **changes})


@pytest.fixture(scope="module")
def fresh(small):
    return hash_of(small / "corpus")


@pytest.fixture(scope="module")
def victim(small, tmp_path_factory):
    """A copy that is repeatedly damaged and repaired."""
    return shutil.copytree(small / "corpus", tmp_path_factory.mktemp("victim") / "corpus")


@pytest.fixture
def corpus(small, tmp_path):
    """A copy that the test may damage."""
    return shutil.copytree(small / "corpus", tmp_path / "c")


def faults(place: Path) -> str:
    """The output of verify, one fault per line."""
    try:
        return "\n".join(finding.text for finding in verify(*open_corpus(str(place))))
    except CorpusError as error:
        return str(error)


def repair(place: Path) -> None:
    try:
        corpus, index = open_corpus(str(place))
    except CorpusError:
        return  # of `corpus.json`: a run writes it
    forget(corpus, verify(corpus, index))


_PLACES = st.tuples(st.integers(0, 10**6), st.floats(0, 1, exclude_max=True), st.integers(0, 7))


def named_when_flipped(victim: Path, place: tuple[int, float, int]) -> None:
    names = members(victim)
    name = names[place[0] % len(names)]
    before = flip(victim / name, *place[1:])
    try:
        assert name in faults(victim)
    finally:
        (victim / name).write_bytes(before)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(_PLACES)
def test_whatever_bit_is_flipped_verify_names_the_file(victim, place):
    named_when_flipped(victim, place)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=800, suppress_health_check=list(HealthCheck))
@given(_PLACES)
def test_whatever_bit_is_flipped_verify_names_the_file_hundreds_of_times(victim, place):
    named_when_flipped(victim, place)


def test_a_flip_in_each_file_is_named(victim):
    chance = random.Random(5)
    for number in range(len(members(victim))):
        named_when_flipped(victim, (number, chance.random(), chance.randrange(8)))
    assert faults(victim) == ""


def mended(small: Path, victim: Path, fresh: str, names: list[str], chance: random.Random) -> None:
    for name in names:
        flip(victim / name, chance.random(), chance.randrange(8))
    repair(victim)
    run(config_of(small, victim))
    assert faults(victim) == "" and hash_of(victim) == fresh


@pytest.mark.parametrize("kind", ["corpus.json", "manifest.json", "task-00001.json", ".arrow"])
def test_repair_and_a_run_give_the_fresh_hash(small, victim, fresh, kind):
    chance = random.Random(kind)
    mended(small, victim, fresh, [chance.choice([name for name in members(victim) if name.endswith(kind)])], chance)


def test_many_flips_at_once_are_mended(small, victim, fresh):
    chance = random.Random(8)
    mended(small, victim, fresh, chance.sample(members(victim), 12), chance)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_flip_in_each_file_is_mended(small, victim, fresh):
    chance = random.Random(9)
    mended(small, victim, fresh, ["corpus.json"], chance)  # alone: a run writes it, and only then can the others be repaired
    names = [name for name in members(victim) if name != "corpus.json"]
    chance.shuffle(names)
    for start in range(0, len(names), 3):  # three at a time, as each run takes seconds
        mended(small, victim, fresh, names[start : start + 3], chance)


_DAMAGES = [cut, lengthen, Path.unlink, swap_with_the_next]
_LIKELESS = ("corpus.json", "tfidf_vocabulary/tfidf_vocabulary.arrow")


@pytest.mark.parametrize("name", ["pairs/pairs-00000-of-00002.arrow", "tfidf/task-00000.json", "texts/manifest.json", *_LIKELESS])
def test_other_damage_is_named(victim, name):
    kept = {path: path.read_bytes() for path in map(victim.__truediv__, members(victim))}
    for damage in _DAMAGES[: 3 if name in _LIKELESS else 4]:
        damage(victim / name)
        said = faults(victim)
        assert name in said or (damage is Path.unlink and f"{name.partition('/')[0]}: has no manifest" in said)
        for path, data in kept.items():
            path.write_bytes(data)


@pytest.mark.parametrize("first", range(2))
def test_other_damage_is_mended(small, victim, fresh, first):
    names = ["examples/examples-00000-of-00002.arrow", "tfidf/task-00000.json", "texts/manifest.json", "pairs/images-00000-of-00002.arrow"]
    for name, damage in zip(names[2 * first :] + names[: 2 * first], _DAMAGES, strict=True):
        damage(victim / name)
    repair(victim)
    run(config_of(small, victim))
    assert faults(victim) == "" and hash_of(victim) == fresh


def test_a_damaged_caption_is_never_used(small, corpus):
    """The file keeps its size and, as with bit rot, its modification time."""
    path = corpus / "pairs/pairs-00001-of-00002.arrow"
    data, times = bytearray(path.read_bytes()), path.stat()
    word = open_corpus(str(corpus))[0].open("pairs", "pairs", 1).read()["caption"][0].as_py().encode()
    data[data.index(word)] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    changed = {"tfidf": {"k": 2}}
    with pytest.raises(CorpusError, match=r"pairs-00001-of-00002.arrow is damaged: .*`cmcl verify CORPUS --repair`, then `cmcl run`"):
        run(config_of(small, corpus, **changed))
    assert "pairs/pairs-00001-of-00002.arrow" in faults(corpus)
    repair(corpus)
    run(config_of(small, corpus, **changed))
    assert faults(corpus) == ""
    run(config_of(small, corpus.parent / "fresh", **changed))
    assert hash_of(corpus) == hash_of(corpus.parent / "fresh")


def test_a_task_with_a_record_but_no_manifest_is_checked(small, corpus, fresh):
    flip(corpus / "tfidf/rewrites-00000-of-00002.arrow", 0.5, 0)
    (corpus / "tfidf/manifest.json").unlink()  # as after a kill: the run reuses completed tasks
    assert {manifest.stage: manifest.ran for manifest in run(config_of(small, corpus)).ran if manifest.ran} == {"tfidf": 1}
    assert faults(corpus) == "" and hash_of(corpus) == fresh


def test_strays_are_named_and_the_projects_own_are_removed(small, corpus, fresh):
    own = {
        "pairs/pairs-00000-of-00099.arrow": "pairs/pairs-00000-of-00002.arrow",
        "pairs/task-00099.json": "pairs/task-00001.json",
        "texts/.tmp-task-00000.json-0123456789ab": "texts/task-00000.json",
    }
    theirs = ["notes.txt", "texts/notes.txt", "mine/photo.jpg", "pairs/mine/photo.jpg", "texts/task-00099.json"]
    for name, like in own.items():
        shutil.copy(corpus / like, corpus / name)
    for name in theirs:
        (corpus / name).parent.mkdir(exist_ok=True)
        (corpus / name).write_text("x")
    said = faults(corpus).splitlines()
    assert sorted(text.partition(":")[0] for text in said) == sorted([*own, *(name.removesuffix("/photo.jpg") for name in theirs)])
    repair(corpus)
    run(config_of(small, corpus))
    assert not any((corpus / name).exists() for name in own) and all((corpus / name).exists() for name in theirs)
    assert len(faults(corpus).splitlines()) == len(theirs) and hash_of(corpus) == fresh


def test_a_stage_that_is_no_longer_configured_is_not_a_fault(small, corpus):
    run(config_of(small, corpus, texts=[]))
    assert faults(corpus) == "" and (corpus / "texts/manifest.json").exists()


def put(table, column, first):
    field = table.schema.field(column)
    return table.set_column(table.schema.get_field_index(column), field, pa.array([first, *table[column].to_pylist()[1:]], field.type))


def one_reject(stage):
    return pa.Table.from_batches([reject_batch(stage, ["x"], np.array([reason_position(Reason.EMPTY)], np.int8), ["made up"])])


@pytest.mark.parametrize(
    ("stage", "table", "change", "expected"),
    [
        ("pairs", "pairs", lambda t: put(t, "caption", "a lie"), "pair ids do not match their content"),
        ("pairs", "images", lambda t: t.take(list(range(t.num_rows))[::-1]), "its images are out of order"),
        ("pairs", "images", lambda t: put(t, "image_id", "scenes/none"), "images"),
        ("images", "images", lambda t: pa.concat_tables([t, t]), "out of order or duplicated"),
        ("texts", "texts", lambda t: put(t, "text", "a lie"), "1 text ids do not match their content"),
        ("texts", "texts", lambda t: t.take(list(range(t.num_rows))[::-1]), "its texts are out of order"),
        ("tfidf", "rewrites", lambda t: put(t, "text", "a lie"), "1 negatives are not the caption of the pair that they come from"),
        ("tfidf", "rewrites", lambda t: t.slice(1), "its examples are not the join"),
        ("tfidf", "rejects", lambda t: pa.concat_tables([one_reject("tfidf"), t]), "1 rows have the reason empty, but the record counts 0"),
        ("tfidf", "rejects", lambda t: pa.concat_tables([t, one_reject("pairs")]), "contains rejects of another stage"),
        ("examples", "examples", lambda t: put(t, "caption", "a lie"), "its examples are not the join"),
        ("examples", "examples", lambda t: put(t, "negatives", []), "its examples are not the join"),
        ("examples", "examples", lambda t: t.slice(1), "its pairs are not the partition's pairs"),
    ],
)
def test_an_altered_and_resealed_table_is_named(corpus, stage, table, change, expected):
    forge_table(open_corpus(str(corpus))[0], stage, table, 0, change)
    said = faults(corpus)
    assert expected in said and "SHA-256" not in said and "is damaged" not in said


def test_another_partitions_table_under_this_name_is_named(corpus):
    place, _ = open_corpus(str(corpus))
    with place.open("texts", "texts", 1) as file:
        other = file.read()
    forge_table(place, "texts", "texts", 0, lambda _: other)
    assert "texts/00000: contains texts of another partition" in faults(corpus)


@pytest.mark.parametrize("level", ["table", "record", "manifest"])
def test_each_level_is_held_by_the_next(corpus, level):
    """A table is changed and the documents up to `level` are made to match: the one above reveals it."""
    place, index = open_corpus(str(corpus))
    kept = {path: path.read_bytes() for path in [corpus / "texts/task-00000.json", corpus / "texts/manifest.json", corpus / "corpus.json"]}
    forge_table(place, "texts", "texts", 0, lambda rows: rows.slice(0, rows.num_rows - 1))
    for path in list(kept)[["table", "record", "manifest"].index(level) :]:
        path.write_bytes(kept[path])
    expected = {
        "table": "bytes, but its record says",
        "record": "task-00000.json: is not the record that the manifest names",
        "manifest": "manifest.json: is not the manifest that corpus.json names",
    }[level]
    assert expected in faults(corpus)


def manifest_with(**changes):
    def change(manifest):
        for name, value in changes.items():
            setattr(manifest, name, value)

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (manifest_with(contents={"texts": "0" * 32, "rejects": "0" * 32}), "its content hashes do not match its files"),
        (manifest_with(contents={"pairs": "0" * 32}), "corpus.json says texts"),
        (manifest_with(partitions=3), "is for 3 partitions"),
        (manifest_with(stage="pairs"), "is the manifest of pairs"),
        (manifest_with(ran=7), "its tasks do not match the stage's tasks"),
        (manifest_with(files=[]), "its files do not match its tasks' files"),
        (manifest_with(ran="two"), "ran: Input should be a valid integer"),
        (manifest_with(counts=[]), "counts: "),
        (manifest_with(wall_s=None), "wall_s: Input should be a valid number"),
        (manifest_with(versions={"python": 3}), "versions.python: Input should be a valid string"),
        (manifest_with(records={"0": 1}), "records.0: Input should be a valid string"),
    ],
)
def test_a_manifest_that_was_forged_is_named(small, corpus, fresh, change, expected):
    forge_manifest(open_corpus(str(corpus))[0], "texts", change)
    said = faults(corpus)
    assert expected in said and "texts/manifest.json" in said
    assert "damaged" not in said
    repair(corpus)
    run(config_of(small, corpus))
    assert faults(corpus) == "" and hash_of(corpus) == fresh


@pytest.mark.parametrize(
    "changes",
    [
        {"partitions": 10**9},
        {"partitions": 0},
        {"partitions": "2"},
        {"partitions": True},
        {"seed": 1.5},
        {"stages": None},
        {"stages": [3]},
        {"stages": [{"stage": "../x"}]},
        {"more": 1},
    ],
)
def test_wrong_types_in_the_index_are_one_named_error(small, corpus, fresh, capsys, changes):
    index = json.loads((corpus / "corpus.json").read_text())
    write_sealed(str(corpus / "corpus.json"), {**index, **changes})
    for command in ("verify", "hash", "show"):
        assert main([command, str(corpus)]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"cmcl: error: {corpus}/corpus.json is not valid: ") and error.count("\n") == 1
        assert "`cmcl run CONFIG` writes it again" in error
    assert run(config_of(small, corpus)).ran == [] and hash_of(corpus) == fresh


def test_tables_taken_out_of_the_index_are_missed(corpus):
    index = read_index(str(corpus))
    stages = [replace(entry, tables=["pairs"]) if entry.stage == "pairs" else entry for entry in index.stages]
    write_sealed(str(corpus / "corpus.json"), asdict(replace(index, stages=stages)))
    assert "pairs/manifest.json: lists the tables images, pairs, rejects, but corpus.json says pairs" in faults(corpus)


@pytest.mark.parametrize(
    "changes",
    [{"counts": 3}, {"files": {}}, {"files": [{"name": "x"}]}, {"partition": "0"}, {"more": None}, {"partition": 1}, {"stage": "pairs"}],
)
def test_a_record_that_was_forged_is_named(corpus, changes):
    path = corpus / "texts/task-00000.json"
    write_sealed(str(path), {**json.loads(path.read_text()), **changes})
    assert "texts/task-00000.json" in faults(corpus)


def test_counts_that_disagree_with_the_rejects_are_named(corpus):
    place, _ = open_corpus(str(corpus))
    record = load_record(place.record_url("pairs", 0))
    record.counts.reasons["image_broken"] = 2
    write_sealed(place.record_url("pairs", 0), record.to_json())
    forge_manifest(place, "pairs")
    said = faults(corpus)
    assert "pairs/rejects-00000-of-00002.arrow: 0 rows have the reason image_broken, but the record counts 2" in said
    assert "are not the sums over reasons" in said


def test_a_corpus_of_the_previous_release_is_made_again(small, corpus, fresh, capsys):
    """As in format 1, without seals."""
    for path in corpus.rglob("*.json"):
        value = json.loads(path.read_text())
        value.pop("seal")
        value.pop("records", None)
        if path.name == "corpus.json":
            value["format"] = 1
            value["stages"] = [{name: entry[name] for name in ("stage", "tables", "main", "hashed")} for entry in value["stages"]]
        path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
    assert main(["verify", str(corpus)]) == 1
    assert "was built by an earlier release (format 1, without seals): `cmcl run CONFIG` rebuilds it" in capsys.readouterr().err
    assert all(manifest.ran for manifest in run(config_of(small, corpus)).ran)
    assert faults(corpus) == "" and hash_of(corpus) == fresh


def test_the_seals_of_the_documents_are_those_that_are_named(small):
    corpus, index = open_corpus(str(small / "corpus"))
    for entry in index.stages:
        manifest = load_manifest(corpus.manifest_url(entry.stage))
        assert manifest.seal == entry.manifest
        for partition in [WHOLE] if entry.corpus_wide else range(PARTITIONS):
            assert load_record(corpus.record_url(entry.stage, partition)).seal == manifest.records[str(partition)]
