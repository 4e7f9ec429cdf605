"""Denials in all spellings."""

from __future__ import annotations

import pytest

from transforms.english.denials import denials, first_denial, is_denial

DENIED = {
    "A man doesnt wear a helmet": 6, "A boy isnt holding a ball": 6, "Two dogs arent sitting": 9, "A man cannot reach": 6, "A man can not reach": 10,
    "A boy isn´t holding": 6, "A boy isn`t holding": 6, "A boy isn’t holding": 6, "A boy isnʼt holding": 6, "A boy is n't holding": 9,
    "A boy isn t holding": 6, "A dog wont move": 6, "A MAN DOESNT WEAR A HELMET": 6, "A man can't": 6, "A man hardly holds": 6, "Zero dogs sit": 0,
    "A table devoid of balls": 8, "A room with out any chairs": 7, "A man w/o a hat": 6, "A sky free of clouds": 6, "A man lacks a hat": 6,
    "A dog refuses to sit": 6, "A boy in a cap instead of a hat": 15, "A man with neither hat": 11, "A man didnt": 6,
}  # fmt: skip
AFFIRMED = [
    "A knot of rope",
    "A notebook on a nail",
    "A can of paint",
    "A nothingness",
    "A man paints",
    "A free dog",
    "A tent in a canyon",
    "A dog sent home",
    "Ants on a plant",
    "A can t-shirt",
    "A northern cannon",
    "A donut",
]


@pytest.mark.parametrize(("text", "at"), DENIED.items())
def test_denials_are_found_in_any_spelling(text, at):
    assert first_denial(text) == at
    assert denials(text.lower().split()) >= 1


@pytest.mark.parametrize("text", AFFIRMED)
def test_lookalikes_are_not_denials(text):
    assert first_denial(text) == len(text) and denials(text.split()) == 0


def test_parts_of_contractions_deny_as_spacy_splits_them():
    assert all(map(is_denial, ("n't", "nt", "n’t", "not", "cannot", "isnt", "Without")))
    assert not any(map(is_denial, ("", "is", "t", "note", "ant")))
