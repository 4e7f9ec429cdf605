"""The stages `tokenizer` and `tokens`: training data agrees with the other tables."""

from __future__ import annotations

import math

import pytest

from model.data.loader import Batches
from model.data.settings import DataSettings
from pipelines.run import plan_of, run
from pipelines.verify import verify
from schemas import ids
from schemas.corpus import WHOLE, Corpus, open_corpus
from schemas.errors import ConfigError
from schemas.tokenizer import Tokenizer
from schemas.tokens import NEGATIVE_KINDS, content_key, text_key
from tests.pipelines.conftest import hash_of, make_config, scene_files  # noqa: F401 - a fixture
from transforms.examples.tokens.settings import TokenSettings
from transforms.examples.tokens.stages import MakeTokenizer

TOKENS = {"tokens": {"size": 300, "sample": 150}, "swaps": {"per_kind": 2, "min_count": 2}}


@pytest.fixture(scope="module")
def corpus(scene_files, tmp_path_factory) -> Corpus:  # noqa: F811
    pytest.importorskip("torch", reason="the embedded detector requires torch: pip install 'cmcl[regions]'")
    folder = tmp_path_factory.mktemp("tokens") / "c"
    run(make_config(scene_files, folder, regions={}, **TOKENS))
    return open_corpus(str(folder))[0]


def rows(corpus: Corpus, stage: str, table: str) -> list[dict]:
    return [row for part in range(corpus.partitions) for row in corpus.open(stage, table, part).read().to_pylist()]


def test_the_ids_are_those_of_the_texts_row_for_row(corpus):
    tokenizer = Tokenizer.of(corpus.open("tokenizer", "tokenizer", WHOLE).read())
    digests = {row["image_id"]: row["sha256"] for row in rows(corpus, "pairs", "images")}
    counts = {row["image_id"]: len(row["boxes"]) for row in rows(corpus, "regions", "regions")}
    examples = rows(corpus, "examples", "examples")
    assert len(examples) == 200
    for example, row, index in zip(examples, rows(corpus, "tokens", "tokens"), rows(corpus, "tokens", "pair_index"), strict=True):
        row |= index
        place = ids.placement(example["image_id"])
        assert (row["pair_id"], row["image"], row["region_row"]) == (example["pair_id"], place, example["region_row"])
        assert (row["image_key"], row["regions"]) == (content_key(digests[example["image_id"]], place), counts[example["image_id"]])
        assert row["caption"] == tokenizer.encode([example["caption"]])[0].tolist() and row["length"] == len(row["caption"])
        assert row["key"] == text_key(example["caption"])
        for name in ("positives", "negatives"):
            texts = [rewrite["text"] for rewrite in example[name]]
            assert row[name] == [found.tolist() for found in tokenizer.encode(texts)]
            assert row[name.removesuffix("s") + "_keys"] == [text_key(text) for text in texts]
        assert [NEGATIVE_KINDS[kind] for kind in row["negative_kinds"]] == [rewrite["kind"] for rewrite in example["negatives"]]
        for mine, theirs in zip(row["negative_scores"], example["negatives"], strict=True):
            assert mine == theirs["score"] or (math.isnan(mine) and theirs["score"] is None)
    assert {kind for row in rows(corpus, "tokens", "tokens") for kind in row["negative_kinds"]} >= {0, 1}


def test_sentences_and_images_without_captions_have_their_tables(corpus):
    tokenizer = Tokenizer.of(corpus.open("tokenizer", "tokenizer", WHOLE).read())
    found = zip(rows(corpus, "texts", "texts"), rows(corpus, "tokens", "text_tokens"), rows(corpus, "tokens", "text_index"), strict=True)
    for text, row, index in found:
        assert row | index == {
            "text_id": text["text_id"],
            "placement": ids.placement(text["text_id"]),
            "length": len(row["tokens"]),
            "tokens": tokenizer.encode([text["text"]])[0].tolist(),
            "key": text_key(text["text"]),
        }
    for part in range(corpus.partitions):
        regions = corpus.open("image_regions", "regions", part).read().to_pylist()
        index = corpus.open("tokens", "image_index", part).read().to_pylist()
        assert [(row["region_row"], row["image"], row["regions"]) for row in index] == [
            (number, ids.placement(found["image_id"]), len(found["boxes"])) for number, found in enumerate(regions)
        ]


def test_partitions_and_workers_change_no_byte_of_the_tokenizer(corpus, scene_files, tmp_path):  # noqa: F811
    found, orders = set(), []
    for name, changes in (("a", {"partitions": 7}), ("b", {"partitions": 3, "workers": 2})):
        run(make_config(scene_files, tmp_path / name, tfidf={"k": 3}, tokens=TOKENS["tokens"], **changes))
        found.add((hash_of(tmp_path / name), Corpus(str(tmp_path / name), 0).manifest("tokenizer").contents["tokenizer"]))
        sentences = Batches(DataSettings(corpus=str(tmp_path / name), mix={"texts": 1}, batch={"texts": 16}), seed=3)
        orders.append([sentences[step].names for step in range(2 * len(sentences))])
    assert orders[0] == orders[1]  # what training sees does not depend on them either
    assert len(found) == 1 and next(iter(found))[1] == corpus.manifest("tokenizer").contents["tokenizer"]
    assert verify(*open_corpus(corpus.url)) == []


def test_the_sample_is_seeded_and_limited_in_size(corpus, scene_files, tmp_path):  # noqa: F811
    assert corpus.manifest("tokenizer").counts.numbers["texts_sampled"] == 150
    run(make_config(scene_files, tmp_path / "c", seed=5, tfidf=None, tokens=TOKENS["tokens"]))
    assert Corpus(str(tmp_path / "c"), 4).manifest("tokenizer").contents != corpus.manifest("tokenizer").contents


def test_combining_summaries_in_any_order_gives_the_sample(corpus):
    from transforms.core.task import Task

    stage = MakeTokenizer(TokenSettings(sample=40))
    parts = [stage.summarise(Task(corpus, stage, part, 0)) for part in range(corpus.partitions)]
    whole = stage.combine(parts)
    assert whole.num_rows == 40 and whole.equals(stage.combine([stage.combine(parts[2:]), *parts[1::-1]]))


def test_a_changed_tokenizer_reruns_only_it_and_the_tokens(corpus, scene_files):  # noqa: F811
    changed = make_config(scene_files, corpus.url, regions={}, **{**TOKENS, "tokens": {"size": 200, "sample": 150}})
    assert [state.stage.name for state in plan_of(changed)[1] if state.must_run] == ["tokenizer", "tokens"]


def test_missing_files_are_named_before_any_work(scene_files, tmp_path):  # noqa: F811
    config = make_config(scene_files, tmp_path / "c", tokens={"kind": "wordpiece", "vocabulary": "/nowhere/vocab.txt"})
    with pytest.raises(ConfigError, match="tokens: /nowhere/vocab.txt cannot be read"):
        run(config)
    assert not (tmp_path / "c/pairs").exists()
