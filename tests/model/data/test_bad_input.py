"""Bad data and settings: an error that names the problem, or rows that are left out and counted."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.training_corpus import Sizes, write_corpus
from model.data.loader import ShardLoader
from model.data.shards import Shards
from schemas import files
from schemas.corpus import Corpus
from schemas.errors import CmclError, ConfigError, CorpusError, SchemaError
from schemas.regions import RegionFile
from schemas.seals import write_sealed
from tests.model.data.conftest import batches, settings


def part(corpus: Path, stage: str, table: str, number: int = 1) -> Path:
    return corpus / stage / f"{table}-{number:05d}-of-00003.arrow"


def rewrite_manifest(corpus: Path, stage: str, **changes: Any) -> None:
    """Changes a manifest and reseals it."""
    held = Corpus(str(corpus), 3)
    manifest = held.manifest(stage)
    assert manifest
    write_sealed(held.manifest_url(stage), dataclasses.replace(manifest, seal="", **changes).to_json())


def overwrite(path: Path, at: int, data: bytes) -> None:
    """Changes bytes in the middle of a file, but not its size."""
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def test_no_corpus(tmp_path):
    with pytest.raises(CorpusError, match="no corpus at"):
        batches(str(tmp_path / "none"))


def test_a_corpus_without_tokens(copy):
    (copy / "tokens" / "manifest.json").unlink()
    with pytest.raises(CorpusError, match=r"the stage tokens, .* is missing or incomplete; set `tokens: \{\}`"):
        batches(str(copy))


def test_a_stage_that_failed_is_not_read(copy):
    rewrite_manifest(copy, "tokens", failed="too many rejects")
    with pytest.raises(CorpusError, match="the stage tokens, which training requires, is missing or incomplete"):
        batches(str(copy))


@pytest.mark.parametrize(
    ("stage", "table"),
    [
        ("tokens", "tokens"),
        ("tokens", "text_tokens"),
        ("tokens", "image_index"),
        ("tokens", "pair_index"),
        ("regions", "regions"),
        ("image_regions", "regions"),
    ],
)
def test_truncated_and_missing_files_are_named(copy, stage, table):
    path = part(copy, stage, table)
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], b"", None):
        path.unlink()
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(CorpusError, match=f"{path.name} has .* bytes, its manifest says {len(whole)}.*`cmcl verify`"):
            batches(str(copy))


@pytest.mark.parametrize(
    ("stage", "table", "lost"),
    [
        ("tokens", "tokens", "pairs"),
        ("regions", "regions", "pairs"),
        ("tokens", "text_tokens", "texts"),
        ("image_regions", "regions", "images"),
    ],
)
def test_damaged_files_are_skipped_and_their_rows_counted(copy, corpus, stage, table, lost):
    path = part(copy, stage, table)
    whole = batches(corpus).facts.rows
    path.write_bytes(path.read_bytes()[:-100])
    made = batches(str(copy), damaged="skip")
    skipped = {name: rows for name, rows in made.left_out.items() if "damaged" in name}
    assert list(skipped) == [f"{lost} in damaged files"] and skipped[f"{lost} in damaged files"] > 0
    assert made.facts.rows[lost] + sum(made.left_out.values()) == whole[lost] + sum(batches(corpus).left_out.values())
    assert {stream: rows for stream, rows in made.facts.rows.items() if stream != lost} == {
        stream: rows for stream, rows in whole.items() if stream != lost
    }
    names = [name for step in range(len(made)) for name in made[step].names]
    assert names and len(made.left_out) > 0


def test_other_bytes_of_the_same_size_are_found_by_their_hash(copy):
    path = part(copy, "regions", "regions")
    overwrite(path, path.stat().st_size // 2, b"\x55" * 64)
    with pytest.raises(CorpusError, match=rf"{path.name} is damaged: its content is not what was written"):
        batches(str(copy), verify=True)
    assert batches(str(copy), verify=True, damaged="skip").facts.rows["pairs"] > 0


@pytest.mark.parametrize("table", ["tokens", "text_tokens", "pair_index", "image_index", "text_index"])
def test_tables_other_than_features_are_always_hashed(copy, table):
    path = part(copy, "tokens", table)
    overwrite(path, path.stat().st_size // 2, bytes([path.read_bytes()[path.stat().st_size // 2] ^ 1]))
    with pytest.raises(CorpusError, match=rf"{path.name} is damaged: its content is not what was written"):
        batches(str(copy))


def test_a_damaged_record_batch_is_named_when_it_is_read(copy):
    """Unchecked offsets out of range would crash the process."""
    corpus = Corpus(str(copy), 3)
    with corpus.open("regions", "regions", 1) as file:
        offsets = file.batch(0)["features"].offsets.to_numpy().tobytes()
    path = part(copy, "regions", "regions")
    data = path.read_bytes()
    at = data.index(offsets)
    while at >= 0:
        overwrite(path, at + 8, (2**31 - 1).to_bytes(4, "little"))
        at = data.find(offsets, at + 1)
    with pytest.raises(CorpusError, match=f"{path.name}.* damaged"):
        made = batches(str(copy))
        for step in range(len(made)):
            made[step]


def test_a_file_of_another_table_is_refused(copy):
    path = part(copy, "tokens", "tokens")
    path.write_bytes(part(copy, "tokens", "text_tokens").read_bytes())
    manifest = Corpus(str(copy), 3).manifest("tokens")
    rewrite_manifest(
        copy,
        "tokens",
        files=[
            dataclasses.replace(file, bytes=path.stat().st_size, sha256=files.sha256_of(str(path))) if file.name == path.name else file
            for file in manifest.files
        ],
    )
    with pytest.raises(SchemaError, match=rf"{path.name} contains the table 'text_tokens', not 'tokens'"):
        batches(str(copy))


def test_a_damaged_tokenizer_is_named(copy):
    path = copy / "tokenizer" / "tokenizer.arrow"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(CmclError, match="tokenizer.arrow"):
        batches(str(copy))


def test_images_without_regions_are_left_out_and_counted(corpus):
    made = batches(corpus)
    assert made.left_out["pairs whose image has no regions"] == 3  # images 0 and 1 have 1 and 2 captions
    assert made.facts.rows["pairs"] == sum(1 + number % 6 for number in range(100)) - 3


def test_captions_and_sentences_past_the_limit_are_left_out_and_counted(corpus):
    whole, made = batches(corpus), batches(corpus, max_tokens=14)
    for stream, reason in (
        ("pairs", "pairs whose caption is longer than max_tokens"),
        ("texts", "texts longer than max_tokens, or without tokens"),
    ):
        assert made.left_out[reason] == whole.facts.rows[stream] - made.facts.rows[stream] > 0
    for step in range(len(made)):
        batch = made[step]
        assert batch.texts is None or int(batch.texts.lengths.max()) <= 14  # companions too


def test_a_limit_that_no_text_meets_leaves_nothing_to_train_on(corpus):
    with pytest.raises(ConfigError, match="mix.pairs: the corpus has 0 images of them"):
        batches(corpus, max_tokens=4, mix={"pairs": 1})


def test_a_stream_that_the_corpus_lacks(tmp_path):
    corpus = write_corpus(str(tmp_path / "c"), Sizes(images=20, alone=0, texts=0)).url
    made = batches(corpus)
    assert set(made.mix.pattern) == {"pairs"} and len(made[0]) == 12
    with pytest.raises(ConfigError, match="mix.texts: the corpus has 0 rows of them.*leave texts out of mix"):
        batches(corpus, mix={"pairs": 1, "texts": 1})


def test_an_empty_corpus(tmp_path):
    corpus = write_corpus(str(tmp_path / "c"), Sizes(images=0, alone=0, texts=0, captions=())).url
    with pytest.raises(ConfigError, match="no rows to train on"):
        batches(corpus)


def test_a_batch_that_the_corpus_cannot_fill(corpus):
    with pytest.raises(ConfigError, match=r"mix.pairs: the corpus has 98 images of them, and a batch takes 500; reduce batch.pairs"):
        batches(corpus, batch={"pairs": 500}, mix={"pairs": 1})
    made = batches(corpus, batch={"pairs": 500}, mix={"pairs": 1}, keep_last=True)
    assert sorted(len(made[step]) for step in range(len(made))) == sorted(
        sum(count > turn for count in (1 + number % 6 for number in range(2, 100))) for turn in range(6)
    )


def test_batches_of_one_pair(corpus):
    made = batches(corpus, batch={"pairs": 1}, mix={"pairs": 1})
    assert len(made) == made.facts.rows["pairs"] and made.dropped["pairs"] == 0
    batch = made[0]
    assert len(batch) == 1 and float(batch.mismatch.labels[0]) == 1  # nothing to mix it up with


def test_a_batch_must_be_shared_evenly(corpus):
    with pytest.raises(ConfigError, match="batch.pairs: 12 rows cannot be divided evenly among 5 processes"):
        batches(corpus, world=5)


def test_another_corpus_on_resume(corpus, tmp_path):
    state = ShardLoader(batches(corpus)).state()
    other = write_corpus(str(tmp_path / "c"), Sizes(captions=[1 + number % 6 for number in range(100)], matches=3, without_regions=2), 9)
    with pytest.raises(ConfigError, match="made with another corpus"):
        ShardLoader(batches(other.url)).load_state(state)


def test_regions_of_different_widths(copy, tmp_path):
    other = write_corpus(str(tmp_path / "other"), Sizes(features=16, captions=[1 + number % 6 for number in range(100)], matches=3))
    for path in (copy / "image_regions").iterdir():
        path.unlink()
    for path in Path(other.folder("image_regions")).iterdir():
        (copy / "image_regions" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(CorpusError, match=r"different widths \[\(8, 5\), \(16, 5\)\]"):
        batches(str(copy))


def test_pairs_go_on_without_matched_texts_whose_every_file_is_damaged(copy):
    for path in (copy / "tokens").glob("text_tokens-*"):
        path.write_bytes(path.read_bytes()[:-100])
    made = batches(str(copy), damaged="skip", mix={"pairs": 1})
    assert made[0].names and len(made[0].matched_texts) == 0


def test_regions_of_which_some_have_soft_labels(copy):
    """As where published files of two kinds are read together."""
    path = part(copy, "regions", "regions")
    table = pa.ipc.open_file(path).read_all()
    at, labels = table.schema.get_field_index("soft_labels"), table["soft_labels"].to_pylist()
    labels[[bool(one) for one in table["boxes"].to_pylist()].index(True)] = None
    table = table.set_column(at, table.schema.field(at), pa.array(labels, table.schema.field(at).type))
    shards = Shards(str(copy))
    assert shards.has_soft_labels(every=True) and shards.has_negatives("tfidf") and not shards.has_negatives("negation")
    with pa.OSFile(str(copy / "mixed.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    shards._regions[1] = RegionFile(str(copy / "mixed.arrow"))
    assert shards.has_soft_labels(every=False) and not shards.has_soft_labels(every=True)


def test_regions_without_soft_labels(tmp_path):
    corpus = write_corpus(str(tmp_path / "c"), Sizes(soft_labels=False)).url
    made = batches(corpus)
    assert made.facts.classes == 0 and made[0].images.soft_labels is None and made[0].images.hidden is not None


@pytest.mark.parametrize(("changes", "text"), [
    ({"mix": {}}, "at least one of pairs, images, texts"), ({"mix": {"pairs": 0}}, "at least 1"), ({"mix": {"pair": 1}}, "pair"),
    ({"batch": {"texts": 0}}, "at least 1"), ({"negatives": {"colour": 1}}, "kinds must be among tfidf, object"), ({"max_tokens": 2}, "max_tokens"),
    ({"damaged": "ignore"}, "damaged"), ({"geometry": 6}, "geometry"), ({"shuffle": True}, "shuffle"),
])  # fmt: skip
def test_wrong_settings_name_the_key(corpus, changes, text):
    with pytest.raises(ValueError, match=text):
        settings(corpus, **changes)


def test_a_corpus_elsewhere_reads_the_same(corpus):
    """Through fsspec, without a memory map."""
    import fsspec

    memory = fsspec.filesystem("memory")
    for stage in ("tokens", "tokenizer", "regions", "image_regions", ""):
        for name in files.listing(files.join(corpus, stage) if stage else corpus):
            memory.pipe(f"/c/{stage}/{name}" if stage else f"/c/{name}", (Path(corpus) / stage / name).read_bytes())
    here, there = batches(corpus), batches("memory://c")
    for step in (0, 2, 4, 9):
        assert here[step].names == there[step].names
        assert here[step].images is None or here[step].images.features.equal(there[step].images.features)


def test_flipped_bits_of_features_are_named_or_skipped(copy):
    """Region files are not hashed by default; what pyarrow raises then names no file."""
    path = part(copy, "regions", "regions")
    good, rng = path.read_bytes(), np.random.default_rng(0)
    footer = len(good) - 10 - int.from_bytes(good[-10:-6], "little")
    named = 0
    for at in [*rng.integers(footer, len(good), 60), *rng.integers(0, 1200, 30)]:
        overwrite(path, int(at), bytes([good[at] ^ (1 << int(rng.integers(8)))]))
        try:
            batches(str(copy))[0]
        except (CorpusError, SchemaError) as error:
            assert path.name in str(error)
            named += 1
        path.write_bytes(good)
    assert named > 20


def test_damage_inside_a_shard_is_skipped_too(copy, corpus):
    path = part(copy, "regions", "regions")
    overwrite(path, path.stat().st_size // 2, b"\x55" * 64)
    made = batches(str(copy), damaged="skip")
    whole = batches(corpus)
    assert made.left_out["pairs in damaged files"] > 0
    assert made.facts.rows["pairs"] + sum(made.left_out.values()) == whole.facts.rows["pairs"] + sum(whole.left_out.values())
    assert all(made[step].names for step in range(len(made)))


def test_an_error_in_a_worker_process_keeps_its_own_text(corpus, monkeypatch):
    made = batches(corpus, workers=1)

    def damaged(self, step):
        raise CorpusError("regions-00001 is damaged")

    monkeypatch.setattr(type(made), "__getitem__", damaged)
    with pytest.raises(CorpusError, match="^regions-00001 is damaged$"):
        next(iter(ShardLoader(made)))


def test_rows_that_no_batch_of_an_epoch_has_are_said(corpus, caplog):
    made = batches(corpus, batch={"pairs": 60}, mix={"pairs": 1})
    assert made.dropped["pairs"] > 0
    assert f"pairs: {made.dropped['pairs']} of {made.facts.rows['pairs']} rows are in no batch of an epoch" in caplog.text


def test_texts_are_padded_to_the_longest_at_most(corpus):
    """A bucket beyond it would need positions that no text has."""
    made = batches(corpus, mix={"texts": 1}, token_buckets=(63,), positives=0, negatives={}, siblings=False, matched_texts=0)
    assert made.facts.max_tokens < 63
    assert max(made[step].texts.ids.shape[1] for step in range(len(made))) == made.facts.max_tokens
