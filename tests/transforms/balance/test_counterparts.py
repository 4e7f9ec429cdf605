"""Counterparts: true counts that a caption does not state, beside swaps of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.ids import counter_rng
from tests.transforms.swaps.test_generate import index
from transforms.balance.counterparts import Counterpart, counterparts
from transforms.engines.parsers.load import caption_parser
from transforms.swaps.context import ImageContext
from transforms.swaps.settings import SwapSettings


def _found(*captions: str) -> list[Counterpart]:
    """The counterparts of the first of an image's captions."""
    graphs, settings = caption_parser("embedded").parse(list(captions)), SwapSettings()
    context = ImageContext(index(), settings, list(captions), graphs, None, ())
    return counterparts(captions[0], graphs[0], index(), context, settings, counter_rng(1, "swaps", "0"), None)


def test_a_count_that_another_caption_states_is_a_true_text() -> None:
    found = _found("red balls on a table", "two red balls are on a table")
    assert {one.text for one in found} == {"two red balls on a table"}
    assert {one.negative.text for one in found} >= {"three red balls on a table", "four red balls on a table"}
    assert not _found("red balls on a table", "two red balls are on a table", "three red balls")  # the captions disagree
    assert not _found("some red balls on a table", "two red balls are on a table")


@pytest.mark.parametrize(
    "other",
    [
        "a table without two red balls",
        "there are not three red balls on the table",
        "more than two red balls are on a table",
        "at least two red balls are on a table",
        "two red balls near other balls",
        "a girl and a boy each hold two red balls",
    ],
)
def test_a_number_that_is_denied_or_not_exact_is_no_true_text(other: str) -> None:
    assert not _found("red balls on a table", other)


def test_a_place_that_another_caption_states_is_a_true_text() -> None:
    assert {one.text for one in _found("A dog near a table", "A dog on the table")} == {"A dog on a table"}
    for denied in ("A dog isnt on the table", "There is no dog on the table"):
        assert not _found("A dog near a table", denied)
    assert not _found("A photo near a table", "A photo on the table")  # a caption about a photo


def test_what_a_caption_says_itself_is_no_other_caption_s() -> None:
    caption = "A dog near a table"
    graph = caption_parser("embedded").parse([caption])[0]
    place = graph.relations[0]._replace(lemma="on", head="on")
    graph.relations.append(place)  # as a parser reads "some cake has a fork by it"
    settings = SwapSettings()
    context = ImageContext(index(), settings, [caption], [graph], None, ())
    assert counterparts(caption, graph, index(), context, settings, counter_rng(1, "swaps", "0"), None) == []


def test_a_number_never_stands_before_another_thing_of_a_list() -> None:
    """Some parsers take "dog and red balls" for the phrase of the balls."""
    caption, other = "a table with dog and red balls", "two red balls are on a table"
    graphs = caption_parser("embedded").parse([caption, other])
    first, settings = graphs[0], SwapSettings()
    wide = replace(
        first, objects=[one._replace(phrase_start=caption.index("dog")) if one.lemma == "ball" else one for one in first.objects]
    )
    context = ImageContext(index(), settings, [caption, other], graphs, None, ())
    texts = [
        {one.text for one in counterparts(caption, graph, index(), context, settings, counter_rng(1, "swaps", "0"), None)}
        for graph in (first, wide)
    ]
    assert texts == [{"a table with dog and two red balls"}, set()]
