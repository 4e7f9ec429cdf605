"""Rewrites and graphs that a forger altered everywhere still contradict the captions that they were made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.check_rewrites import Captions, graph_faults, rewrite_faults
from schemas.corpus import Corpus
from schemas.ids import pair_id
from schemas.store import TableWriter
from schemas.tables import GRAPHS, PAIRS, REWRITES

CAPTIONS = ("a red dog runs", "two cats sit on a bed", "a man in a boat")
IDS = [pair_id(f"x/{number}", caption) for number, caption in enumerate(CAPTIONS)]


def table(schema: pa.Schema, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{name: None for name in schema.names} | row for row in rows], schema)


PAIRS_HELD = table(
    PAIRS,
    [{"pair_id": IDS[at], "image_id": f"x/{at}", "caption": CAPTIONS[at], "source": "x"} for at in range(3)],
)


@pytest.fixture
def captions(tmp_path: Path) -> Captions:
    with TableWriter(Corpus(str(tmp_path), 1).table_url("pairs", "pairs", 0), PAIRS) as writer:
        writer.write(PAIRS_HELD)
    return Captions(Corpus(str(tmp_path), 1), 1)


def edit(start: int, end: int, text: str | None) -> dict[str, Any]:
    return {"start": start, "end": end, "text": text}


def rewrite(
    text: str, row: int = 0, kind: str = "object", edits: list[dict[str, Any]] | None = None, origin: str | None = None
) -> dict[str, Any]:
    held = {"pair_id": IDS[row], "text": text, "kind": kind, "edits": edits, "origin": origin}
    return {**held, "polarity": "negative", "level": "word", "scores": [], "why": "x"}


SOUND = [
    rewrite("a blue dog runs", edits=[edit(2, 5, "blue")]),
    rewrite("a red cat walks", edits=[edit(6, 9, "cat"), edit(10, 14, "walks")]),
    rewrite("the red dog is running", kind="back_translation", origin="de"),
    rewrite(CAPTIONS[2], kind="tfidf", origin=IDS[2]),
    rewrite(CAPTIONS[0], row=1, kind="tfidf", origin=IDS[0]),
]


def test_what_the_stages_write_is_sound(captions: Captions) -> None:
    assert list(rewrite_faults(table(REWRITES, SOUND), PAIRS_HELD, captions)) == []
    assert list(rewrite_faults(table(REWRITES, SOUND).slice(1, 3), PAIRS_HELD, None)) == []
    assert list(rewrite_faults(table(REWRITES, []), PAIRS_HELD, captions)) == []


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (rewrite("a blue cat runs", edits=[edit(2, 5, "blue")]), "1 rewrites are not their edits"),
        (rewrite("a blue dog runs", edits=[edit(2, 6, "blue")]), "1 rewrites are not their edits"),
        (rewrite("a blue dog runs", edits=[edit(2, 99, "blue")]), "1 rewrites are not their edits"),
        (rewrite("a blue dog runs", edits=[edit(-3, 5, "blue")]), "1 rewrites are not their edits"),
        (rewrite("a blue dog runs", edits=[edit(2, 5, None)]), "1 rewrites are not their edits"),
        (rewrite("a blue dog runs", edits=[]), "1 rewrites are not their edits"),
        (rewrite("a red dog runs", edits=[]), "1 rewrites repeat the caption"),
        (rewrite("a red dog runs", kind="back_translation", origin="de"), "1 rewrites repeat the caption"),
        (rewrite("a man in a bout", kind="tfidf", origin=IDS[2]), "1 negatives are not the caption"),
        (rewrite(CAPTIONS[1], kind="tfidf", origin=IDS[2]), "1 negatives are not the caption"),
        (rewrite(CAPTIONS[1], kind="tfidf", origin="f" * 20), "1 negatives come from pairs that are not in the corpus"),
        (rewrite(CAPTIONS[1], kind="tfidf", origin="no id"), "1 negatives come from pairs that are not in the corpus"),
    ],
)
def test_an_altered_rewrite_is_named(row: dict[str, Any], text: str, captions: Captions) -> None:
    found = list(rewrite_faults(table(REWRITES, [*SOUND[:2], row, *SOUND[2:]]), PAIRS_HELD, captions))
    assert len(found) == 1 and text in found[0]


def graph(text: str, start: int, end: int) -> dict[str, Any]:
    node = {"text": text, "lemma": text, "start": start, "end": end, "number": "singular", "head": text, "count": 0}
    held = {"objects": [{**node, "phrase_start": start, "phrase_end": end}], "attributes": [], "relations": [], "counts": []}
    return {"pair_id": IDS[0], **held}


def test_a_node_that_is_not_in_the_caption_is_named() -> None:
    assert list(graph_faults(table(GRAPHS, [graph("dog", 6, 9)]), PAIRS_HELD)) == []
    for wrong in (graph("cat", 6, 9), graph("dog", 5, 9), graph("dog", 60, 63)):
        assert list(graph_faults(table(GRAPHS, [graph("dog", 6, 9), wrong]), PAIRS_HELD)) == [
            "1 nodes of graphs are not what their spans cover"
        ]
