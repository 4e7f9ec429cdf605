"""Denials in all spellings."""

from __future__ import annotations

import pytest

from transforms.english.denials import asserted_until, denials, first_denial, is_denial

DENIED = {
    "A man doesnt wear a helmet": 6, "A boy isnt holding a ball": 6, "Two dogs arent sitting": 9, "A man cannot reach": 6, "A man can not reach": 10,
    "A boy isn´t holding": 6, "A boy isn`t holding": 6, "A boy isn’t holding": 6, "A boy isnʼt holding": 6, "A boy is n't holding": 9,
    "A boy isn t holding": 6, "A dog wont move": 6, "A MAN DOESNT WEAR A HELMET": 6, "A man can't": 6, "A man hardly holds": 6, "Zero dogs sit": 0,
    "A table devoid of balls": 8, "A room with out any chairs": 7, "A man w/o a hat": 6, "A sky free of clouds": 6, "A man lacks a hat": 6,
    "A dog refuses to sit": 6, "A boy in a cap instead of a hat": 15, "A man with neither hat": 11, "A man didnt": 6,
    "A man doesnot wear a hat": 6, "A boy isnot here": 6, "A boy isn,t here": 6, "A boy isn´ t here": 6, "A boy doesn;t sit": 6,
    "A boy isnʹt here": 6, "A boy isn‛t here": 6, "A man dosent sit": 6, "A man w/out a hat": 6, "A man sans hat": 6, "A sink minus a tap": 7,
    "A road clear of snow": 7, "A tree bare of leaves": 7, "An absence of dogs": 3, "Anything other than a dog": 9, "A man wihout a hat": 6,
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
    "A hat with our dog",
    "A clear sky of blue",
    "A whiteout",
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


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("A black cat and a dog are not in the room", 0),
        ("A red bus isnt visible behind a truck", 0),
        ("Cars are missing from the lot", 0),
        ("A fridge is absent from the kitchen", 0),
        ("The cats are nowhere to be seen", 0),
        ("A dog thats not there", 0),
        ("A man is not wearing a hat", 9),
        ("A man missing a tooth", 6),
        ("There is not a cat on the couch", 9),
        ("A dog on the grass", 18),
    ],
)
def test_what_denies_its_own_subject_asserts_nothing(text, end):
    assert asserted_until(text) == end
