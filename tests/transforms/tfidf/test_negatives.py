"""Hard negatives compared with brute force over scikit-learn's vectors."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.ids import counter_rng, image_id, pair_id
from schemas.rejects import REASONS
from schemas.tables import REWRITES
from tests.transforms.tfidf.reference import Row, brute_force, corpus_of
from transforms.tfidf.captions import Captions
from transforms.tfidf.negatives import Negatives, Stats, hard_negatives
from transforms.tfidf.settings import TfidfSettings

DATA = Path(os.environ.get("CMCL_DATA", Path(__file__).parents[4] / "shared" / "data"))
CAPTIONS = DATA / "coco_val2017" / "captions_val2017.json"
WORDS = ["cat", "dog", "red", "on", "a", "Cat,", "bus"]


def run(corpus: Captions, options: TfidfSettings, search=None) -> tuple[list[Negatives], Stats]:
    """The output of all partitions."""
    stats = Stats()
    return [out for part in range(len(corpus.parts)) for out in hard_negatives(corpus, part, options, stats, search)], stats


def by_pair(outputs: list[Negatives], corpus: Captions) -> dict[str, tuple[list, list]]:
    """Output in the form of `brute_force`'s, without captions of the same image."""
    found: dict[str, tuple[list, list]] = {pid: ([], []) for part in corpus.parts for pid in part.pair_id.to_pylist()}
    for out in outputs:
        for row in out.rewrites.to_pylist():
            scores = {entry["name"]: entry["value"] for entry in row["scores"]}
            found[row["pair_id"]][0].append((row["origin"], round(scores["cosine"], 6)))
        for pid, reason, detail in zip(out.drop_ids.to_pylist(), out.drop_reasons, out.drop_details.to_pylist(), strict=True):
            other, score, *_ = detail.split()
            found[pid][1].append((other, REASONS[reason].value, float(score)))
    return found


def assert_law(rows: list[Row], partitions: int, options: TfidfSettings, search_of=None) -> None:
    """Asserts that the output equals brute force: candidates, order, scores, drops, counts."""
    corpus = corpus_of(rows, partitions, options)
    outputs, stats = run(corpus, options, search_of(corpus) if search_of else None)
    found, expected = by_pair(outputs, corpus), brute_force(rows, options)
    counts: Counter[str] = Counter()
    for pid, (kept, refused) in expected.items():
        assert [other for other, _ in found[pid][0]] == [other for other, _ in kept], pid
        np.testing.assert_allclose([score for _, score in found[pid][0]], [score for _, score in kept], atol=1e-6)
        counts.update(reason for _, reason, _ in refused)
        assert found[pid][1] == [drop for drop in refused if drop[1] != "same_image"], pid
    assert stats.drops == counts
    assert stats.captions == len(rows)
    assert stats.numbers["negatives"] == sum(len(kept) for kept, _ in expected.values())
    assert stats.numbers["short"] == sum(len(kept) < options.k for kept, _ in expected.values())


CAPTION = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
CORPUS = st.lists(st.tuples(st.integers(0, 7), CAPTION), min_size=1, max_size=24)


def make_rows(drawn: list[tuple[int, str]], copies: bool = True) -> list[Row]:
    """Rows with distinct ids; images 0 and 1 have the same bytes, image 2's are unknown."""
    rows = {}
    for image, caption in drawn:
        name = image_id("t", str(image))
        digest = None if image == 2 else (max(image, 1) if copies else image).to_bytes(2, "big") * 16
        rows[pair_id(name, caption)] = Row(pair_id(name, caption), name, caption, digest)
    return list(rows.values())


@settings(max_examples=150, deadline=None)
@given(
    CORPUS,
    st.integers(1, 8),
    st.integers(1, 40),
    st.integers(1, 12),
    st.integers(1, 9),
    st.sampled_from([(0.9, 0.1, 0.5, 0.95), (1.0, 0.0, 0.0, 1.0), (0.7, 0.4, 0.1, 0.8), (0.8, 0.2, 0.3, 0.6)]),
    st.sampled_from([1.0, 0.6, 0.3, 4]),
)
def test_equals_brute_force(drawn, partitions, block_rows, query_rows, k, guards, max_df):
    ceiling, margin, floor, near = guards
    options = TfidfSettings(
        k=k, block_rows=block_rows, query_rows=query_rows, ceiling=ceiling, margin=margin, margin_floor=floor, near_text=near, max_df=max_df
    )
    assert_law(make_rows(drawn), partitions, options)


@settings(max_examples=25, deadline=None)
@given(CORPUS, st.integers(1, 4), st.sampled_from([((1, 2), False), ((2, 3), True), ((1, 1), True)]))
def test_equals_brute_force_with_other_terms(drawn, partitions, terms):
    ngrams, sublinear = terms
    assert_law(make_rows(drawn), partitions, TfidfSettings(k=5, ngrams=ngrams, sublinear_tf=sublinear, max_df=1.0))


def test_deep_searches_settle():
    # Many captions tie and most are refused: the first search for k + slack candidates reaches neither the end of the tie nor k kept.
    drawn = [(image, "red bus") for image in range(3, 160)] + [(image, f"red bus {image}x") for image in range(160, 230)]
    assert_law(make_rows(drawn, copies=False), 3, TfidfSettings(k=3, block_rows=50, max_df=1.0, near_text=0.99, ceiling=0.98))


def test_the_output_is_a_rewrites_batch():
    rows = make_rows([(3, "a red bus"), (3, "the red bus here"), (4, "some red cat"), (5, "a red dog there")], copies=False)
    outputs, _ = run(corpus_of(rows, 2, TfidfSettings(max_df=1.0)), TfidfSettings(max_df=1.0))
    table = pa.Table.from_batches([out.rewrites for out in outputs], schema=REWRITES)
    table.validate(full=True)
    assert table.num_rows == 10
    row = table.to_pylist()[0]
    assert (row["polarity"], row["level"], row["kind"], row["edits"]) == ("negative", "sentence", "tfidf", None)
    captions = {item.pair_id: item.caption for item in rows}
    assert all(captions[item["origin"]] == item["text"] for item in table.to_pylist())
    assert {len(item["scores"]) for item in table.to_pylist()} == {2, 3}


def test_captions_of_an_image_must_be_adjacent():
    options = TfidfSettings(max_df=1.0)
    corpus = corpus_of(make_rows([(3, "a red bus"), (4, "some red cat"), (5, "red dog")], copies=False), 1, options)
    corpus.image[:] = [1, 2, 1]
    with pytest.raises(ValueError, match="adjacent"):
        list(hard_negatives(corpus, 0, options, Stats()))


def coco_rows(limit: int) -> list[Row]:
    """The captions of the first images of COCO val2017; skips if they are not found."""
    if not CAPTIONS.is_file():
        pytest.skip(f"{CAPTIONS} not found; set CMCL_DATA to the folder that contains coco_val2017")
    rows = {}
    for note in json.loads(CAPTIONS.read_text())["annotations"]:
        name, caption = image_id("coco", str(note["image_id"])), note["caption"].strip()
        rows[pair_id(name, caption)] = Row(pair_id(name, caption), name, caption)
    images = sorted({row.image_id for row in rows.values()})[:limit]
    return [row for row in rows.values() if row.image_id in set(images)]


@pytest.mark.parametrize(("partitions", "block_rows"), [(1, 32_768), (5, 700)])
def test_equals_brute_force_on_coco(partitions, block_rows):
    assert_law(coco_rows(240), partitions, TfidfSettings(block_rows=block_rows, query_rows=500))


def test_estimated_thresholds_change_nothing(monkeypatch):
    rows = coco_rows(400)
    options = TfidfSettings(k=20, block_rows=900)
    plain, _ = run(corpus_of(rows, 2, options), options)
    monkeypatch.setattr("transforms.tfidf.search._SMALL", 0)
    guessed, _ = run(corpus_of(rows, 3, options), options)
    assert pa.Table.from_batches([out.rewrites for out in plain]).equals(pa.Table.from_batches([out.rewrites for out in guessed]))


def test_the_order_of_rows_and_the_partitions_change_nothing():
    rows = coco_rows(150)
    options = TfidfSettings(k=10)
    tables = []
    for partitions in (1, 4, 7):
        shuffled = [rows[i] for i in counter_rng(partitions, "test", "rows").permutation(len(rows))]
        outputs, _ = run(corpus_of(shuffled, partitions, options), options)
        tables.append(pa.Table.from_batches([out.rewrites for out in outputs]))
    assert tables[0].equals(tables[1]) and tables[0].equals(tables[2])


@pytest.mark.parametrize("copies", [40, 160])
def test_copies_of_a_text_are_one_candidate(copies: int):
    """Rejects grow with the captions, not with the square of the copies, and every candidate records how many share its text."""
    same = [Row(f"c{i:04}", f"i{i}", "A stock sentence of many photos .") for i in range(copies)]
    other = [Row(f"o{i:04}", f"j{i}", f"A stock photo of a {word} .") for i, word in enumerate(["cat", "dog", "boat", "tree", "hat"])]
    options = TfidfSettings(k=3, max_df=1.0)
    outputs, stats = run(corpus_of(same + other, 2, options), options)
    details = [detail for out in outputs for detail in out.drop_details.to_pylist()]
    assert len(details) <= len(same) + len(other)
    assert {detail.split()[0] for detail in details if detail.endswith(f" x{copies}")} <= {"c0000"}
    assert any(detail.endswith(f" x{copies}") for detail in details)
    kept = [row for out in outputs for row in out.rewrites.to_pylist()]
    assert {row["origin"] for row in kept if row["origin"].startswith("c")} <= {"c0000"}
    assert all(
        len({row["text"] for row in kept if row["pair_id"] == pid}) == sum(row["pair_id"] == pid for row in kept)
        for pid in {row["pair_id"] for row in kept}
    )


class SpreadTruth:
    """A judge whose probabilities are 0, 0.01, 0.02, ... by the candidate's number."""

    def __init__(self, labels: bool):
        self.labels = labels

    def chances(self, numbers: np.ndarray, group: np.ndarray, row: np.ndarray, candidate: np.ndarray) -> np.ndarray:
        return candidate * 10_000


@pytest.mark.parametrize(
    ("keys", "labels", "limit"),
    [
        ({}, False, 0.08),
        ({}, True, 0.06),
        ({"truth": 0.03}, True, 0.03),
        ({"truth": 0.2, "truth_labels": 0.11}, True, 0.11),
        ({"truth_labels": None}, True, 0.08),
        ({"truth_labels": 0.0}, True, 0.0),
        ({"truth": 1.0}, True, 1.0),
    ],
)
def test_negatives_with_labels_have_a_limit_of_their_own(keys, labels, limit):
    options = TfidfSettings(max_df=1.0, **keys)
    corpus = corpus_of(make_rows([(at + 3, f"cat w{at}") for at in range(40)]), 1, options)
    stats = Stats()
    found = list(hard_negatives(corpus, 0, options, stats, None, SpreadTruth(labels)))
    kept = np.concatenate([out.rewrites["truth"].to_numpy() for out in found])
    assert kept.max() == pytest.approx(min(limit, (len(corpus) - 1) / 100))
    refused = sum(reason == "judged_true" for out in found for reason in (REASONS[one].value for one in out.drop_reasons))
    assert (refused > 0) == (limit < 1)
