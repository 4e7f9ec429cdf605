"""Vocabularies: counts, combining, pruning."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.tables import VOCABULARY
from tests.given import scene_pairs
from transforms.engines.parsers.load import caption_parser
from transforms.graphs.vocabulary import (
    CountVocabulary,
    determiner_of,
    prune,
    read_vocabulary,
    summarise,
    vocabulary_table,
)
from transforms.swaps.settings import SwapSettings

ROWS = scene_pairs(30)
GRAPHS = caption_parser("embedded").parse([caption for _, caption in ROWS])


def counts(rows: slice) -> Counter:
    chosen = ROWS[rows]
    return summarise([key for key, _ in chosen], [caption for _, caption in chosen], GRAPHS[rows])


def test_counts_add_up() -> None:
    found = counts(slice(None))
    assert found["image", "", "", ""] == 30
    objects = sum(count for key, count in found.items() if key[0] == "object")
    assert objects == sum(len(graph.objects) for graph in GRAPHS)
    forms = sum(count for key, count in found.items() if key[0] == "object_form")
    assert forms == objects
    assert all(key[1] < key[2] for key in found if key[0] in ("together", "both_have", "both_do"))
    for key, count in found.items():
        if key[0] == "together":
            assert count <= min(found["seen", key[1], "", ""], found["seen", key[2], "", ""]) <= 30


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 29), max_size=4, unique=True))
def test_combining_partitions_in_any_order_equals_counting_them_at_once(cuts: list[int]) -> None:
    edges = [0, *(5 * cut for cut in sorted(cuts)), len(ROWS)]
    parts = [counts(slice(start, end)) for start, end in zip(edges, edges[1:], strict=False)]
    stage = CountVocabulary(SwapSettings())
    first, *others = copies = [part.copy() for part in parts]
    assert stage.combine(copies) is first and others == parts[1:]  # adds to the first in place, leaves the others unchanged
    assert first == stage.combine([part.copy() for part in reversed(parts)]) == counts(slice(None))
    assert stage.combine([stage.combine([part.copy() for part in parts[:2]]), *parts[2:]]) == first


def test_pruning_keeps_keys_whole() -> None:
    kept = prune(counts(slice(None)), 3, 12)
    objects = {key[1] for key in kept if key[0] == "object"}
    assert 0 < len(objects) <= 12
    assert all(kept["object", name, "", ""] >= 3 for name in objects)
    assert all(key[2] in objects for key in kept if key[0] in ("has", "suffers", "together"))
    assert all(key[1] in objects for key in kept if key[0] in ("does", "object_form", "seen", "determiner"))


def test_singular_and_plural_are_kept() -> None:
    found = counts(slice(None))
    numbers = {key[2] for key in found if key[0] == "object_form"}
    assert numbers == {"singular", "plural"}
    tags = {key[2] for key in found if key[0] == "relation_form"}
    assert {"IN", "VBG", "VBZ"} <= tags


def test_determiners() -> None:
    assert determiner_of("A red dog", 0, 6) == "a"
    assert determiner_of("the dog", 0, 4) == "other"
    assert determiner_of("red grass", 0, 4) == "bare"


def test_the_table_is_sorted_and_round_trips() -> None:
    kept = prune(counts(slice(None)), 2, 4000)
    table = vocabulary_table(kept)
    assert table.schema.equals(VOCABULARY)
    assert read_vocabulary(table) == kept
    assert vocabulary_table(dict(reversed(list(kept.items())))).equals(table)
    assert vocabulary_table({}).num_rows == 0
