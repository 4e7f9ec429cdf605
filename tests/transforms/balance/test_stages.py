"""Balanced swaps as stages, through Beam: the same selection however the corpus is divided."""

from __future__ import annotations

from pathlib import Path

from schemas.corpus import Corpus
from schemas.tables import REWRITES
from tests.transforms.balance.conftest import SETTINGS, balanced
from transforms.balance.stages import BalancedSwaps, SelectSwaps, SwapCandidates
from transforms.swaps.edits import apply_edits
from transforms.swaps.settings import SwapSettings
from transforms.swaps.stage import SwapNegatives


def _rows(corpus: Corpus) -> list[dict]:
    return [
        row for partition in range(corpus.partitions) for row in corpus.open("balance", "rewrites", partition, REWRITES).read().to_pylist()
    ]


def test_partitions_do_not_affect_the_selection(corpus: Corpus, tmp_path: Path) -> None:
    assert _rows(balanced(tmp_path, partitions=5)) == _rows(corpus)


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
