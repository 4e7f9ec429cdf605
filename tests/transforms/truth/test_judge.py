"""The judge of truth: whole numbers all the way, evidence of claims, weights that are checked."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ConfigError
from transforms.engines.parsers.load import caption_parser
from transforms.graphs.stage import graph_batch
from transforms.truth.claims import MISSING, Images, read_claims
from transforms.truth.evidence import LENGTH, Captioned, Texts, evidence_of, similarities, whole
from transforms.truth.judge import COSINE, ENCODER, GRAPHS, LABELS, SETS, WEIGHTS, Judge, judge_of
from transforms.truth.swaps import FAMILIES
from transforms.truth.trees import FEW_WORDS, as_trees
from transforms.truth.words import Words


def descend(tree: tuple[list[int], list[int], list[int]], row: list[int]) -> int:
    feature, threshold, leaf = tree
    at = 0
    while at < 7:
        at = 2 * at + 1 + (row[feature[at]] > threshold[at])
    return leaf[at - 7]


NUMBER = st.integers(-5, 5)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 4), st.integers(1, 6))
def test_trees_are_those_of_a_walk_from_node_to_node(data, count, rows):
    trees = [
        (
            data.draw(st.lists(st.integers(0, 2), min_size=7, max_size=7)),
            *(data.draw(st.lists(NUMBER, min_size=n, max_size=n)) for n in (7, 8)),
        )
        for _ in range(count)
    ]
    knots = sorted(data.draw(st.lists(NUMBER, max_size=4)))
    weights = {"feature": [one[0] for one in trees], "threshold": [one[1] for one in trees], "leaf": [one[2] for one in trees],
               "knots": knots, "chances": list(range(0, 10 * len(knots) + 1, 10))}  # fmt: skip
    matrix = data.draw(st.lists(st.lists(NUMBER, min_size=3, max_size=3), min_size=rows, max_size=rows))
    found = as_trees(("a", "b", "c"), weights)
    evidence = dict(zip("abc", np.array(matrix, np.int32).T, strict=True))
    sums = [sum(descend(tree, row) for tree in trees) for row in matrix]
    assert found.sums(evidence).tolist() == sums
    assert found.score(evidence).tolist() == [10 * sum(one >= knot for knot in knots) for one in sums]
    assert [found.score_one(row) for row in matrix] == found.score(evidence).tolist()


@pytest.mark.parametrize("words", [FEW_WORDS, FEW_WORDS + 1])
def test_one_swap_is_scored_like_many_in_corpora_of_few_words_and_of_many(words):
    weights = json.loads(WEIGHTS.read_bytes())["swaps"]["object"]
    trees, rng = as_trees(FAMILIES["object"], weights), np.random.default_rng(words)
    rows = np.column_stack([np.full(200, words), rng.integers(-3, 45, (200, len(trees.names) - 1))]).astype(np.int32)
    many = trees.score(dict(zip(trees.names, rows.T, strict=True))).tolist()
    assert [trees.score_one(row) for row in rows.tolist()] == many
    assert (set(many) == set(weights["few"]["chances"])) == (words == FEW_WORDS)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 384, 768]))
def test_inner_products_are_exact_whatever_the_order(seed, width):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(12, width)) ** rng.choice([1, 3])
    vectors = whole((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32))
    assert (np.linalg.norm(vectors.astype(np.float64), axis=1) ** 2 < 2**24).all()
    image, text = np.array([0, 0, 1, 2]), np.array([11, 3, 3, 4])
    starts = np.array([0, 3, 5, 6])
    found = similarities(vectors, starts, vectors, image, text)
    order = rng.permutation(width)
    other = similarities(vectors[:, order].copy(), starts, vectors[:, order].copy(), image, text)
    exact = vectors.astype(np.int64) @ vectors.astype(np.int64).T
    for at, (one, caption) in enumerate(zip(image, text, strict=True)):
        own = exact[caption, starts[one] : starts[one + 1]]
        assert found["similarity_max"][at] == own.max() * 1000 // LENGTH**2
        assert found["similarity_mean"][at] == own.sum() // len(own) * 1000 // LENGTH**2
    assert found["similarity_lead"][3] == MISSING  # one caption has no other to compare with
    assert all((found[name] == other[name]).all() for name in found)


CAPTIONS = ["A man rides a brown horse on the beach.", "Two dogs run behind a small boat.", "A woman is holding an umbrella."]
# What each text says of the first image, captioned by the first two (three objects of its labels: a horse, a person and two dogs).
SAID = {
    "A man rides a brown horse": {"absent": 0, "attributes_supported": 1, "relations_supported": 1},
    "A man rides an animal": {"absent": 0, "same": 1},
    "A man rides a white horse": {"attributes_contradicted": 1, "attributes_supported": 0},
    "A horse rides a man": {"relations_reversed": 1, "relations_supported": 0},
    "Two dogs run": {"counts_supported": 1, "counts_contradicted": 0, "labels_missing": 0},
    "Three dogs run": {"counts_supported": 0, "counts_contradicted": 1, "labels_counts_contradicted": 1},
    "A boat without a sail": {"denies": 1, "absent": 0, "objects": 1},
    "A red kite is on a table": {"absent": 2, "first": 0, "labels_missing": 1},
}


def claims_of(texts: list[str], words: Words):
    graphs = pa.Table.from_batches([graph_batch(pa.array(texts), list(caption_parser("embedded").parse(texts)))])
    return read_claims(graphs, np.arange(len(texts)), texts, words)


def test_captions_and_labels_support_or_contradict_what_a_text_claims():
    words = Words()
    known = ("horse", "person", "dog", "kite")
    for label in known:
        words.number(label)
    texts = [*CAPTIONS, *SAID]
    claims = claims_of(texts, words)
    labels = [{"horse": 1, "person": 1, "dog": 2}, None]
    image, text = np.repeat([0, 1], len(SAID)), np.tile(np.arange(3, len(texts)), 2)
    found = Images(words, claims.take(np.arange(3)), np.array([0, 0, 1]), 2, labels, known).evidence(image, text, claims)
    for at, (said, expected) in enumerate(SAID.items()):
        assert {name: int(found[name][at]) for name in expected} == expected, said
    assert (found["labels_missing"][len(SAID) :] == MISSING).all()  # the second image has no regions
    # Evidence of a pair depends on no other pair.
    alone = evidence_of(Captioned(np.array([0, 2, 3]), Texts(None, claims.take(np.arange(3))), labels, known), Texts(None, claims), words,
                        image[3:4], text[3:4])  # fmt: skip
    assert {name: int(values[0]) for name, values in alone.items()} == {name: int(values[3]) for name, values in found.items()}


@pytest.mark.parametrize(
    ("labels", "used"),
    [
        ({"horse": 1, "person": 1}, True),
        ({"horse": 1, "kite": 1}, False),  # the man and both dogs were missed, the horse was not
        ({"dog": 2, "horse": 1}, True),
        ({}, False),
    ],
)
def test_labels_that_lack_what_the_captions_name_are_not_evidence(labels, used):
    words = Words()
    known = ("horse", "person", "dog", "kite")
    for label in known:
        words.number(label)
    claims = claims_of([*CAPTIONS, "A red kite is on a table"], words)
    captioned = Images(words, claims.take(np.arange(2)), np.array([0, 0]), 1, [labels], known)
    found = captioned.evidence(np.zeros(1, np.int64), np.array([3]), claims)
    assert (found["labels_missing"][0] != MISSING) == used
    assert used == (found["labels_missing"][0] == 1)


def test_evidence_is_the_same_in_a_large_corpus_as_in_a_small_one():
    def found(others: int) -> dict[str, int]:
        words = Words()
        for number in range(others):
            words.number(f"thing {number}")
        claims = claims_of([*CAPTIONS, *SAID], words)
        about = Captioned(np.array([0, len(CAPTIONS)]), Texts(None, claims.take(np.arange(len(CAPTIONS)))), None, ())
        return {
            name: int(values[0])
            for name, values in evidence_of(about, Texts(None, claims), words, np.zeros(1, np.int64), np.array([3])).items()
        }

    assert found(600) == found(20_000) == found(0) | {"words": FEW_WORDS + 1}


def test_no_weights_no_verdict_and_bad_weights_are_named():
    judge = judge_of()
    assert {tuple(names) for names in SETS.values()} >= {(*GRAPHS, *COSINE), (*ENCODER, *GRAPHS, *LABELS, *COSINE)}
    with pytest.raises(ValueError, match="no weights for this evidence alone: denies"):
        judge.score({"denies": np.zeros(1, np.int32)})
    content = json.loads(judge.content)
    some = next(iter(content["sets"].values()))
    for bad in (
        {**some, "leaf": some["leaf"][1:]},
        {**some, "chances": [2_000_000]},
        {**some, "feature": [[99] * 7] * len(some["feature"])},
        {},
    ):
        with pytest.raises(ConfigError, match="bad.json does not hold weights"):
            Judge(json.dumps({"sets": {"graphs": bad}}).encode(), "bad.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        judge_of("/nowhere/weights.json")


def test_more_alike_is_not_less_likely_true():
    judge = judge_of()
    base = {name: np.full(2, value, np.int32) for name, value in dict.fromkeys((*GRAPHS, *COSINE), 0).items()}
    base |= {"objects": np.array([3, 3], np.int32), "same": np.array([3, 0], np.int32), "absent": np.array([0, 3], np.int32)}
    base |= {"first": np.array([3, 0], np.int32), "cosine": np.array([700, 100], np.int32)}
    close = {"similarity_max": [900, 50], "similarity_mean": [800, 20], "similarity_lead": [100, -700]}
    for evidence in (base, base | {name: np.array(values, np.int32) for name, values in close.items()}):
        likely, unlikely = judge.score(evidence)
        assert unlikely < 0.02 < likely
