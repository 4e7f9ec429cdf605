"""Balanced swaps as stages, through Beam: the same selection however the corpus is divided."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.corpus import Corpus
from schemas.tables import REWRITES
from tests.given import given_pairs, run_stages, scene_pairs
from transforms.balance.stages import BalancedSwaps, SelectSwaps, SwapCandidates
from transforms.graphs.stage import GraphParams, ParseCaptions
from transforms.graphs.vocabulary import CountVocabulary
from transforms.swaps.edits import apply_edits
from transforms.swaps.settings import BalanceSettings, SwapSettings
from transforms.swaps.stage import SwapNegatives

SETTINGS = SwapSettings(min_count=2, per_kind=4, balance=BalanceSettings(candidates=10, cell=100, tolerance=20))
KINDS = (CountVocabulary, SwapCandidates, SelectSwaps, BalancedSwaps)


def _run(folder: Path, partitions: int) -> Corpus:
    stages = [given_pairs(scene_pairs(60)), ParseCaptions(GraphParams(swaps=SETTINGS)), *(kind(SETTINGS) for kind in KINDS)]
    return run_stages(folder, stages, partitions=partitions)


def _rows(corpus: Corpus) -> list[dict]:
    return [
        row for partition in range(corpus.partitions) for row in corpus.open("balance", "rewrites", partition, REWRITES).read().to_pylist()
    ]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return _run(tmp_path_factory.mktemp("one"), partitions=1)


def test_partitions_do_not_affect_the_selection(corpus: Corpus, tmp_path: Path) -> None:
    assert _rows(_run(tmp_path, partitions=5)) == _rows(corpus)


def test_rewrites_are_sound(corpus: Corpus) -> None:
    rows, pairs = _rows(corpus), corpus.open("pairs", "pairs", 0).read()
    captions = dict(zip(pairs["pair_id"].to_pylist(), pairs["caption"].to_pylist(), strict=True))
    assert list(dict.fromkeys(row["pair_id"] for row in rows)) == [pair for pair in captions if pair in {row["pair_id"] for row in rows}]
    assert len({(row["pair_id"], row["text"]) for row in rows}) == len(rows)
    for row in rows:
        edits = [(edit["start"], edit["end"], edit["text"]) for edit in row["edits"]]
        assert apply_edits(captions[row["pair_id"]], edits) == row["text"] != captions[row["pair_id"]]
        assert (row["polarity"] == "positive") == (row["kind"] == "denial") and row["origin"] and row["why"]
    by_kind = {kind: sum(row["kind"] == kind for row in rows) for kind in ("object", "negation", "denial")}
    assert by_kind["object"] > 100 and by_kind["negation"] == by_kind["denial"] > 10


def test_counts_add_up(corpus: Corpus) -> None:
    candidates, balance = corpus.manifest("swap_candidates"), corpus.manifest("balance")
    assert candidates and balance
    kept = sum(row["polarity"] == "negative" for row in _rows(corpus))
    assert balance.counts.rows_in == candidates.counts.rows_out["candidates"] == kept + balance.counts.reasons["unbalanced"]
    selection = corpus.manifest("swap_selection")
    assert selection and selection.extra["blind"]["object"]["kept"] > 10


def test_either_swaps_or_balance_applies() -> None:
    on, off = SETTINGS, SwapSettings()
    assert [kind.applies(on) for kind in (SwapNegatives, SwapCandidates, SelectSwaps, BalancedSwaps)] == [False, True, True, True]
    assert [kind.applies(off) for kind in (SwapNegatives, SwapCandidates, SelectSwaps, BalancedSwaps)] == [True, False, False, False]
    assert SwapNegatives(on).settings == SwapNegatives(SETTINGS.model_copy(update={"balance": None})).settings
