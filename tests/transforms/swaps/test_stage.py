"""Graphs, vocabulary and swaps as stages, through Beam."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from schemas.corpus import WHOLE, Corpus
from schemas.tables import GRAPHS, REWRITES, VOCABULARY
from tests.given import CLASSES, given_pairs, run_stages, scene_pairs, scene_regions
from transforms.graphs.stage import GraphParams, ParseCaptions
from transforms.graphs.vocabulary import CountVocabulary
from transforms.regions.columns import named_schema
from transforms.swaps.edits import apply_edits
from transforms.swaps.settings import SwapSettings
from transforms.swaps.stage import SwapNegatives


def _stages(scenes: int = 40) -> list:
    return [
        given_pairs(scene_pairs(scenes)),
        ParseCaptions(GraphParams(swaps=SwapSettings(min_count=2, per_kind=6))),
        *(kind(SwapSettings(min_count=2, per_kind=6)) for kind in (CountVocabulary, SwapNegatives)),
    ]


def _rows(corpus: Corpus, stage: str, table: str) -> list[dict[str, Any]]:
    """The rows of all partitions, one after another."""
    return [row for partition in range(corpus.partitions) for row in corpus.open(stage, table, partition).read().to_pylist()]


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.arrow"))}


def test_partitions_change_no_row_and_workers_no_byte(tmp_path: Path) -> None:
    one, seven, _ = (
        run_stages(tmp_path / name, _stages(), partitions=partitions, workers=workers)
        for name, partitions, workers in (("one", 1, 1), ("seven", 7, 1), ("two workers", 7, 2))
    )
    assert _bytes(tmp_path / "seven") == _bytes(tmp_path / "two workers") != {}
    for stage, table in (("graphs", "graphs"), ("swaps", "rewrites")):
        assert _rows(one, stage, table) == _rows(seven, stage, table) != []
    # Rejects are sorted by id in each partition.
    refused = [sorted(map(str, _rows(corpus, "swaps", "rejects"))) for corpus in (one, seven)]
    assert refused[0] == refused[1] != []


def test_rewrites_are_sound(tmp_path: Path) -> None:
    corpus = run_stages(tmp_path, _stages())
    kinds, reasons = set(), set()
    for partition in range(corpus.partitions):
        pairs = corpus.open("pairs", "pairs", partition).read()
        caption_of = dict(zip(pairs["pair_id"].to_pylist(), pairs["caption"].to_pylist(), strict=True))
        image_of = dict(zip(pairs["pair_id"].to_pylist(), pairs["image_id"].to_pylist(), strict=True))
        siblings: dict[str, set[str]] = {}
        for pair, caption in caption_of.items():
            siblings.setdefault(image_of[pair], set()).add(caption)
        graphs = corpus.open("graphs", "graphs", partition, GRAPHS).read()
        assert graphs["pair_id"].to_pylist() == pairs["pair_id"].to_pylist()
        rows = corpus.open("swaps", "rewrites", partition, REWRITES).read().to_pylist()
        assert len({(row["pair_id"], row["text"]) for row in rows}) == len(rows)
        order = list(dict.fromkeys(row["pair_id"] for row in rows))
        assert order == [pair for pair in caption_of if pair in set(order)]
        for row in rows:
            caption = caption_of[row["pair_id"]]
            assert apply_edits(caption, [(edit["start"], edit["end"], edit["text"]) for edit in row["edits"]]) == row["text"]
            assert row["text"] != caption and row["text"] not in siblings[image_of[row["pair_id"]]]
            assert row["polarity"] == "negative" and row["level"] in ("word", "phrase") and row["origin"] and row["why"]
            assert [score["name"] for score in row["scores"]] == ["hardness", "presence"]
            kinds.add(row["kind"])
        reasons |= set(corpus.open("swaps", "rejects", partition).read()["reason"].to_pylist())
    assert kinds >= {"object", "attribute", "relation", "negation"}
    assert "in_sibling" in reasons
    manifest = corpus.manifest("swaps")
    assert manifest and manifest.counts.dropped and not manifest.counts.rejected


def test_vocabulary_is_sorted_and_counted_once(tmp_path: Path) -> None:
    corpus = run_stages(tmp_path, _stages()[:3])
    table = corpus.open("vocabulary", "vocabulary", WHOLE, VOCABULARY).read()
    rows = list(zip(*(table[name].to_pylist() for name in ("kind", "first", "second", "third")), strict=True))
    assert rows == sorted(set(rows))
    images = {key: count for key, count in zip(rows, table["count"].to_pylist(), strict=True)}[("image", "", "", "")]
    assert images == 40


def test_a_stage_that_cannot_run_says_so_at_construction() -> None:
    with pytest.raises(ValueError, match="parser 'nonsense'"):
        ParseCaptions(GraphParams(swaps=SwapSettings(parser="nonsense")))
    with pytest.raises(ValueError, match="spacy download"):
        ParseCaptions(GraphParams(swaps=SwapSettings(parser="spacy:en_core_web_nowhere")))
    with pytest.raises(ValueError, match="min_count"):
        SwapSettings(min_count=0)
    with pytest.raises(ValueError, match="per_kind"):
        SwapSettings(per_kind=0)
    with pytest.raises(ValueError, match="kinds"):
        SwapSettings(kinds=("object", "colour"))


def test_labels_guard(tmp_path: Path) -> None:
    *before, swaps = _stages()
    corpus = run_stages(tmp_path, [*before, scene_regions(40), swaps])
    assert corpus.manifest("swaps")
    why = set()
    reasons = set()
    for partition in range(corpus.partitions):
        assert corpus.open("regions", "regions", partition, named_schema(1, 1, CLASSES)).rows
        why |= set(corpus.open("swaps", "rewrites", partition).read()["why"].to_pylist())
        reasons |= set(corpus.open("swaps", "rejects", partition).read()["reason"].to_pylist())
    assert "absent_from_labels" in why and "absent_from_captions" not in why
    assert "ambiguous" in reasons
    assert isinstance(corpus.open("swaps", "rewrites", 0).read(), pa.Table)
