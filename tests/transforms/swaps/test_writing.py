"""Unusual spelling and case: denials as people type them, captions in capitals."""

from __future__ import annotations

import pytest

from tests.cases import case, made, rows


def rewrites(folder):
    corpus = made(folder / "c.yaml")
    captions = {row["pair_id"]: row["caption"] for row in rows(corpus, "pairs", "pairs")}
    found: dict[str, list[tuple[str, str]]] = {caption: [] for caption in captions.values()}
    for row in rows(corpus, "swaps", "rewrites"):
        found[captions[row["pair_id"]]].append((row["kind"], row["text"]))
    return found


def written(folder, captions):
    lines = [f"x{number}\t{caption}" for number, caption in enumerate(captions)]
    with open(folder / "c.tsv", "a", encoding="utf-8") as file:
        file.write("\n".join(["", *lines]).rstrip() + "\n")
    return folder


DENIED = [
    "A man doesnt wear a helmet on a red bike",
    "A boy isnt holding a ball near a tree",
    "A man cannot reach the blue ball on the table",
    "A boy isn´t holding a ball near a tree",
    "A boy isn`t holding a ball near a tree",
    "A man hardly holds the blue ball",
    "A man doesn't wear a helmet on a red bike",
    "A boy isn't holding a ball near a tree",
    "Zero dogs sit near a red chair",
    "A table devoid of balls stands near a chair",
    "A room with out any chairs",
]
MORE = ["A man is n't holding a red ball near a tree", "A woman wasnt riding a brown horse on the beach", "A GIRL ISNT HOLDING A RED BALL"]


@pytest.mark.slow
def test_case_20_denials(tmp_path):
    found = rewrites(written(case("20", tmp_path), MORE))
    for caption in (*DENIED, *MORE):
        assert not {kind for kind, _ in found[caption]} & {"relation", "order", "negation"}, found[caption]
    for caption in ("Two dogs arent sitting on the red chair", "Two dogs aren't sitting on the red chair"):
        assert not {kind for kind, _ in found[caption]} & {"relation", "order", "negation"}, found[caption]
    assert {kind for kind, _ in found["Two dogs arent sitting on the red chair"]} == {
        kind for kind, _ in found["Two dogs aren't sitting on the red chair"]
    }


@pytest.mark.slow
def test_case_21_capitals(tmp_path):
    titles = ["A Man Is Riding A Brown Horse", "A Girl Is Holding A Blue Bag"]
    found = rewrites(written(case("21", tmp_path), [*titles, "A WOMAN HOLDS A RED BALL IN FRONT OF A BLUE HOUSE"]))
    loud = [caption for caption in found if caption.isupper()]
    assert len(loud) >= 4
    for caption in loud:
        assert found[caption] and all(text.isupper() for _, text in found[caption])
    assert {kind for caption in loud for kind, _ in found[caption]} >= {"order", "negation"}
    for caption in titles:
        assert found[caption] and all(word[0].isupper() for _, text in found[caption] for word in text.split())
