"""Retrieval as stages of a corpus: what is written, what is said of it, what bad input gets."""

from __future__ import annotations

import itertools
import shutil

import numpy as np
import pyarrow.compute as pc
import pytest

pytest.importorskip("faiss", reason="retrieval needs its extra: pip install 'cmcl[retrieval]'")
pytest.importorskip("sentence_transformers", reason="retrieval needs its extra: pip install 'cmcl[retrieval]'")

from pipelines.config import parse_config
from pipelines.run import plan_of, run
from pipelines.show import show
from pipelines.verify import corpus_hash, verify
from schemas.corpus import open_corpus
from schemas.errors import CmclError, ConfigError
from schemas.matches import Matched
from tests.forge import forge_table
from tests.transforms.retrieval.help import CAPTIONS, KINDS, WIDTH, made, rows, settings, write_inputs, write_regions

RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def corpus(inputs, tmp_path_factory):
    return made(inputs, tmp_path_factory.mktemp("whole") / "c")


def hash_of(corpus):
    return corpus_hash(*open_corpus(corpus.url))["corpus"]


def test_it_verifies(corpus):
    assert verify(*open_corpus(corpus.url)) == []


def test_matches_are_the_best_by_the_stored_vectors(corpus):
    for stage, vectors in (("image_matches", "image_vectors"), ("text_matches", "text_vectors")):
        asked = {row["id"]: np.array(row["vector"], float) for row in rows(corpus, vectors, "query_vectors")}
        held = {row["id"]: np.array(row["vector"], float) for row in rows(corpus, vectors, "vectors")}
        found = rows(corpus, stage, "matches")
        assert {match["query_id"] for match in found} <= set(asked)
        for query_id, own in itertools.groupby(found, key=lambda match: match["query_id"]):
            own = list(own)
            assert [match["rank"] for match in own] == list(range(len(own)))
            best = sorted(-round(float(asked[query_id] @ vector), 6) for vector in held.values())
            assert [-match["score"] for match in own] == pytest.approx(best[: len(own)], abs=2e-6)


def test_meaning_is_found(corpus):
    texts = {pair["pair_id"]: pair["caption"] for pair in rows(corpus, "pairs", "pairs")}
    first = {texts[match["query_id"]]: match["text"] for match in rows(corpus, "text_matches", "matches") if match["rank"] == 0}
    assert first["a kitten asleep on the couch"] == "A cat sleeps on a sofa."
    assert first["someone cooks a meal"] == "A woman is cooking dinner."


def test_a_score_is_made_of_its_parts(corpus):
    for match in rows(corpus, "image_matches", "matches"):
        assert match["score"] == pytest.approx((match["visual"] + match["objects"]) / 2, abs=2e-6) and match["text"] is None


def test_examples_hold_their_matches_and_lead_to_what_was_matched(corpus):
    images, texts = (
        {query: list(own) for query, own in itertools.groupby(rows(corpus, stage, "matches"), key=lambda one: one["query_id"])}
        for stage in ("image_matches", "text_matches")
    )
    find, seen = Matched(corpus), 0
    for example in rows(corpus, "examples", "examples"):
        assert [match["id"] for match in example["matches_image"]] == [match["matched_id"] for match in images[example["image_id"]]]
        assert [match["text"] for match in example["matches_text"]] == [match["text"] for match in texts.get(example["pair_id"], [])]
        for match in example["matches_image"]:
            assert find.regions(match).image_id == match["id"]
        for match in example["matches_text"]:
            assert find.text(match) == match["text"]
            seen += 1
    assert seen == len(rows(corpus, "text_matches", "matches")) > 5
    with pytest.raises(CmclError, match="but a match expects 'other'"):
        find.regions({**rows(corpus, "image_matches", "matches")[0], "matched_id": "other"})


def test_show_prints_matches(corpus):
    text = show(*open_corpus(corpus.url), "kitten")
    assert "image_matches: " in text and "A cat sleeps on a sofa." in text and "visual" in text


def test_short_lists_are_counted_by_cause(corpus):
    numbers = corpus.manifest("text_matches").counts.numbers
    assert numbers["short_lists"] == numbers["short_by_collection"] == len(CAPTIONS) + 1
    assert corpus.manifest("image_matches").extra["k"] == 100


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"partitions": 7, "workers": 2}, marks=pytest.mark.slow),
        {"partitions": 1, "retrieval": {"block_rows": 3, "query_rows": 2, "threads": 2}},
    ],
)
def test_the_same_whatever_partitions_workers_and_blocks(corpus, inputs, tmp_path, changes):
    other = made(inputs, tmp_path / "c", **changes)
    assert hash_of(other) == hash_of(corpus)


def test_k_reruns_search_guards_and_join_and_a_floor_guards_and_join(corpus, inputs):
    def stale(**texts):
        return [
            state.stage.name
            for state in plan_of(parse_config(settings(inputs, corpus.url, retrieval={"texts": texts}), "/"))[1]
            if state.must_run
        ]

    assert stale() == []
    assert stale(k=5) == ["text_neighbours", "text_matches", "text_uses", "examples"] == stale(nprobe=9)
    assert stale(index="IVF64,SQ8") == [
        "text_search_index",
        "text_search_shards",
        "text_neighbours",
        "text_matches",
        "text_uses",
        "examples",
    ]
    assert stale(max_uses=3) == ["text_caps", "text_matches", "text_uses", "examples"]
    assert stale(floor=0.5) == ["text_matches", "text_uses", "examples"] == stale(near_text=0.9)
    assert stale(max_words=50) == [
        "text_vectors",
        "text_search_index",
        "text_search_shards",
        "text_neighbours",
        "text_matches",
        "text_uses",
        "examples",
    ]


def test_lists_that_guards_have_eaten_into_are_filled_by_looking_deeper(corpus, inputs, tmp_path):
    """Of a search that kept one candidate a query, the same lists come."""
    deep = made(inputs, tmp_path / "a", retrieval={"texts": {"k": 4}, "images": {"k": 4}})
    shallow = made(inputs, tmp_path / "b", retrieval={"texts": {"k": 4, "depth": 1}, "images": {"k": 4, "depth": 1}})
    for stage in ("text_matches", "image_matches"):
        assert rows(deep, stage, "matches") == rows(shallow, stage, "matches")
    assert {len(example["matches_image"]) for example in rows(shallow, "examples", "examples")} == {4}


def test_a_copy_by_bytes_and_a_caption_among_the_sentences_are_dropped(inputs, tmp_path):
    own = shutil.copytree(inputs, tmp_path / "in")
    shutil.copy(own / "paired/paired2.png", own / "alone/alone3.png")
    shutil.copy(own / "regions/paired2.npz", own / "regions/alone3.npz")
    (own / "sentences.txt").write_text(
        (own / "sentences.txt").read_text() + "A kitten, asleep on the couch.\nA kitten asleep on a couch!\n"
    )
    found = made(own, tmp_path / "c")
    dropped = rows(found, "image_matches", "rejects")
    assert [(row["id"], row["reason"]) for row in dropped if "alone3" in row["detail"]] == [("p/paired2.png", "copy_of_image")]
    assert sorted(row["reason"] for row in rows(found, "text_matches", "rejects")) == ["near_text", "same_text"]
    assert verify(*open_corpus(found.url)) == []


def test_a_copy_of_other_bytes_is_told_by_its_perceptual_hash(inputs, tmp_path):
    from PIL import Image

    own = shutil.copytree(inputs, tmp_path / "in")
    Image.open(own / "paired/paired2.png").resize((96, 80)).save(own / "alone/alone3.png")
    found = made(own, tmp_path / "c", retrieval={"texts": None})
    assert [(row["id"], row["reason"]) for row in rows(found, "image_matches", "rejects")] == [("p/paired2.png", "near_copy")]
    assert (
        made(own, tmp_path / "d", retrieval={"texts": None, "images": {"near_copy_bits": None}}).manifest("image_matches").counts.dropped
        == 0
    )


def test_without_soft_labels_features_alone_count_and_the_manifest_says_so(tmp_path):
    found = made(write_inputs(tmp_path / "in", soft_labels=False), tmp_path / "c", retrieval={"texts": None})
    assert found.manifest("image_vectors").extra == {"object_weight": 0.0, "object_weight_because": "the regions have no soft labels"}
    matches = rows(found, "image_matches", "matches")
    assert matches and all(match["objects"] is None and match["visual"] == pytest.approx(match["score"], abs=2e-6) for match in matches)


def test_components_keep_what_there_is_to_keep(inputs, corpus, tmp_path):
    """As many components as numbers: the scores of the vectors as they are, to what float16 leaves."""
    found = made(inputs, tmp_path / "c", retrieval={"texts": None, "images": {"pca": 100}})
    assert found.manifest("image_components").extra["components"] == WIDTH
    assert found.manifest("image_components").extra["share_of_squares"] == pytest.approx(1)
    best = {match["query_id"]: match for match in rows(corpus, "image_matches", "matches") if match["rank"] == 0}
    for match in rows(found, "image_matches", "matches"):
        if match["rank"] == 0:
            assert match["score"] == pytest.approx(best[match["query_id"]]["score"], abs=2e-3)
    fewer = made(inputs, tmp_path / "d", partitions=1, retrieval={"texts": None, "images": {"pca": 4}})
    assert len(rows(fewer, "image_vectors", "vectors")[0]["vector"]) == 4 + KINDS - 1
    assert hash_of(fewer) == hash_of(made(inputs, tmp_path / "e", partitions=5, retrieval={"texts": None, "images": {"pca": 4}}))


@pytest.mark.parametrize(
    "instead",
    [
        {"features": np.zeros((4, WIDTH), np.float16)},
        {"features": np.full((4, WIDTH), np.nan, np.float16)},
        {"features": np.full((4, WIDTH), np.inf, np.float16)},
        {"soft_labels": np.eye(KINDS, dtype=np.float16)[[0] * 4]},
        {
            "features": np.zeros((0, WIDTH), np.float16),
            "norm_bb": np.zeros((0, 6), np.float16),
            "conf": np.zeros(0, np.float16),
            "soft_labels": np.zeros((0, KINDS), np.float16),
        },
    ],
)
def test_an_image_without_a_vector_is_rejected_somewhere_and_in_no_list(inputs, tmp_path, instead):
    own = shutil.copytree(inputs, tmp_path / "in")
    for name in ("alone3", "paired2"):
        rest = {
            "norm_bb": np.tile(np.array([0, 0, 0.5, 0.5, 0.5, 0.5], np.float16), (4, 1)),
            "conf": np.ones(4, np.float16),
            "features": np.ones((4, WIDTH), np.float16),
            "soft_labels": np.full((4, KINDS), 0.1, np.float16),
        }
        write_regions(own, name, RNG, **{**rest, **instead})
    found = made(own, tmp_path / "c", retrieval={"texts": None})
    for name, stages in (("a/alone3.png", ("image_regions", "image_vectors")), ("p/paired2.png", ("regions", "image_vectors"))):
        assert sum(row["id"] == name for stage in stages for row in rows(found, stage, "rejects")) == 1
    assert not any(
        match["matched_id"] == "a/alone3.png" or match["query_id"] == "p/paired2.png" for match in rows(found, "image_matches", "matches")
    )
    assert all(not example["matches_image"] for example in rows(found, "examples", "examples") if example["image_id"] == "p/paired2.png")
    assert verify(*open_corpus(found.url)) == []


def test_regions_of_another_detector_are_rejected_before_they_are_compared(inputs, tmp_path):
    own = shutil.copytree(inputs, tmp_path / "in")
    write_regions(own, "alone3", RNG, features=np.ones((4, WIDTH // 2), np.float16))
    write_regions(own, "paired2", RNG, soft_labels=np.full((4, KINDS - 2), 0.1, np.float16))
    found = made(own, tmp_path / "c", retrieval={"texts": None})
    (image,), (pair,) = rows(found, "image_regions", "rejects"), rows(found, "regions", "rejects")
    assert (image["id"], image["reason"], pair["id"], pair["reason"]) == ("a/alone3.png", "bad_row", "p/paired2.png", "bad_row")
    assert "features have shape (4, 8) instead of" in image["detail"] and "soft labels have shape (4, 5) instead of" in pair["detail"]
    assert len(rows(found, "image_vectors", "vectors")) == 23


def test_long_texts_are_rejected_and_short_ones_of_any_script_are_not(inputs, tmp_path):
    own = shutil.copytree(inputs, tmp_path / "in")
    (own / "sentences.txt").write_text("word " * 10_000 + "\n\n \t \n犬が走る\n?!\n")
    found = made(
        own,
        tmp_path / "c",
        retrieval={"images": None, "texts": {"max_words": 500}},
        region_files=None,
        images=[],
        sentences={"max_words": 20_000, "max_characters": 100_000},
    )
    assert [row["reason"] for row in rows(found, "text_vectors", "rejects")] == ["too_long"]
    texts = {row["text_id"]: row["text"] for row in rows(found, "texts", "texts")}
    assert {texts[row["id"]] for row in rows(found, "text_vectors", "vectors")} == {"犬が走る ?!"}


@pytest.mark.parametrize("count", [0, 1])
def test_a_collection_of_none_or_one(inputs, tmp_path, count):
    own = shutil.copytree(inputs, tmp_path / "in")
    (own / "sentences.txt").write_text("A dog on a beach.\n" * count)
    for path in sorted((own / "alone").iterdir())[count:]:
        path.write_bytes(b"")  # rejected
    found = made(own, tmp_path / "c", max_rejected=1.0, retrieval={"texts": {"floor": -1.0}})
    for stage, queries in (("image_matches", 8), ("text_matches", 9)):
        counts = found.manifest(stage).counts
        assert counts.rows_out["matches"] == count * queries and counts.numbers["short_by_collection"] == queries
    assert verify(*open_corpus(found.url)) == []


def test_all_below_the_floor(inputs, tmp_path):
    found = made(inputs, tmp_path / "c", retrieval={"images": None, "texts": {"floor": 0.999, "k": 3}}, region_files=None)
    counts = found.manifest("text_matches").counts
    assert counts.rows_out["matches"] == 0 and counts.numbers == {"short_lists": 9, "short_by_floor": 9}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"region_files": None}, "give `images` and `regions`"),
        ({"images": []}, "give `images` and `regions`"),
        ({"texts": []}, "give `texts`, or set retrieval.texts to null"),
        ({"retrieval": {"texts": {"encoder": "sentence-transformers:/nowhere"}}}, "/nowhere"),
        ({"retrieval": {"texts": {"encoder": "word2vec"}}}, "'word2vec' is not one of: embedded"),
        ({"retrieval": {"texts": {"encoder": "onnx:/nowhere"}}}, "onnx"),
    ],
)
def test_what_is_wanting_is_named_before_any_work(inputs, tmp_path, changes, text):
    with pytest.raises(ConfigError, match=text):
        run(parse_config(settings(inputs, tmp_path / "c", **changes), "/"))
    assert not (tmp_path / "c/pairs").exists()


@pytest.mark.parametrize(
    ("images", "text"),
    [
        ({"k": 0}, "retrieval.images.k"),
        ({"k": 10**9}, "retrieval.images.k"),
        ({"object_weight": 1.5}, "object_weight"),
        ({"object_weight": -0.1}, "object_weight"),
        ({"object_weight": float("nan")}, "object_weight"),
        ({"pca": 0}, "pca"),
        ({"floor": float("inf")}, "floor"),
        ({"near_match": 0}, "near_match"),
        ({"near_copy_bits": 65}, "near_copy_bits"),
        ({"weight": 0.5}, "weight"),
        ({"depth": 0}, "depth"),
        ({"index": "HNSW32"}, "'HNSW32' is none of: auto, Flat, or IVFn with"),
        ({"index": "IVF16"}, "is none of"),
        ({"nprobe": 0}, "nprobe"),
        ({"index": "__import__('os')"}, "is none of"),
        ({"min_recall": 1.1}, "min_recall"),
    ],
)
def test_wrong_settings_are_named(inputs, tmp_path, images, text):
    with pytest.raises(ConfigError, match=text):
        parse_config(settings(inputs, tmp_path / "c", retrieval={"images": images}), "/")


def test_nothing_asked_for_is_an_error(inputs, tmp_path):
    with pytest.raises(ConfigError, match="leave retrieval out"):
        parse_config(settings(inputs, tmp_path / "c", retrieval={"images": None, "texts": None}), "/")


def test_two_distributions_of_faiss_are_refused_by_name(inputs, tmp_path, monkeypatch):
    from transforms.retrieval import packages

    monkeypatch.setattr(packages, "version", lambda name: "1.15.0")
    with pytest.raises(ConfigError, match="faiss-cpu and faiss-gpu and faiss-gpu-cuvs are both installed"):
        run(parse_config(settings(inputs, tmp_path / "c"), "/"))


@pytest.mark.parametrize(
    ("stage", "table"),
    [("text_vectors", "vectors"), ("image_vectors", "query_vectors"), ("text_neighbours", "neighbours"), ("image_matches", "matches")],
)
def test_a_flipped_byte_is_named_and_made_again(corpus, inputs, tmp_path, stage, table):
    from pathlib import Path

    from pipelines.verify import forget

    place = Path(shutil.copytree(corpus.url, tmp_path / "c"))
    path = max(place.glob(f"{stage}/{table}-*.arrow"), key=lambda one: one.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    findings = verify(*open_corpus(str(place)))
    assert any(path.name in finding.text and "SHA-256 differs" in finding.text for finding in findings)
    forget(open_corpus(str(place))[0], findings)
    again = made(inputs, place)
    assert verify(*open_corpus(str(place))) == [] and hash_of(again) == hash_of(corpus)


def _with(name, change):
    """A table with one column changed."""

    def changed(table):
        at = table.schema.get_field_index(name)
        return table.set_column(at, table.schema.field(at), change(table[name]).cast(table.schema.field(at).type))

    return changed


@pytest.mark.parametrize(
    ("stage", "change", "text"),
    [
        ("image_matches", _with("row", lambda rows: pc.add(rows, 1)), "matches disagree with the row that they refer to"),
        (
            "image_matches",
            _with("partition", lambda partitions: pc.add(partitions, 99)),
            "matches disagree with the row that they refer to",
        ),
        ("text_matches", _with("text", lambda texts: pc.utf8_upper(texts)), "matches disagree with the row that they refer to"),
        ("image_matches", _with("rank", lambda ranks: pc.add(ranks, 1)), "its ranks do not count from 0"),
        ("image_matches", _with("score", lambda scores: pc.negate(scores)), "not in the order of their scores"),
        ("text_matches", _with("query_id", lambda ids: pc.utf8_reverse(ids)), "matches refer to queries that are not in the partition"),
    ],
)
def test_forged_matches_are_found(corpus, tmp_path, stage, change, text):
    place = shutil.copytree(corpus.url, tmp_path / "c")
    copy = open_corpus(str(place))[0]
    partition = max(range(copy.partitions), key=lambda one: copy.open(stage, "matches", one).read().num_rows)
    forge_table(copy, stage, "matches", partition, change)
    found = [finding.text for finding in verify(*open_corpus(str(place)))]
    assert any(text in one for one in found), found
    assert "rank" in text or any("not the join of" in one for one in found)
