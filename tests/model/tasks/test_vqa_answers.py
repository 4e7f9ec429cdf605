"""VQA's normalisation and accuracy, on cases worked out by hand."""

from __future__ import annotations

import pytest

from model.tasks.vqa_answers import accuracy, normalised


@pytest.mark.parametrize(
    "answer, expected",
    [
        ("A Dog", "dog"),
        ("the  cat\tand\nan owl ", "cat and owl"),
        ("Two", "2"),
        ("none", "0"),
        ("10", "10"),
        ("eleven", "eleven"),
        ("dont", "don't"),
        ("don't", "don't"),
        ("couldnt've", "couldn't've"),
        ("couldntve", "couldntve"),
        ("y'allll", "y'all'll"),
        ("oclock", "o'clock"),
        ("somebody'd", "somebodyd"),
        ("let's", "let's"),
        ("red/white", "red white"),  # a mark between letters is a space
        ("red / white", "red white"),
        ("red, white", "red white"),  # a mark beside a space is removed
        ("red,white", "red white"),
        ("1,000", "1000"),  # and everywhere, if a comma stands between digits
        ("1,000-2,000", "10002000"),
        ("t-shirt", "t shirt"),
        ("yes.", "yes"),
        ("3.5", "3.5"),
        ("u.s.a.", "usa"),
        ("what?!", "what"),
        ("it's 5:30", "it's 5:30"),
    ],
)
def test_normalisation(answer: str, expected: str) -> None:
    assert normalised(answer) == expected


@pytest.mark.parametrize("agreeing, expected", [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_accuracy_is_the_mean_over_ten_people_each_left_out(agreeing: int, expected: float) -> None:
    people = ["yes"] * agreeing + [f"other {number}" for number in range(10 - agreeing)]
    assert accuracy("yes", people) == pytest.approx(expected)


def test_answers_are_normalised_unless_all_people_say_the_same() -> None:
    assert accuracy("2", ["two"] * 4 + ["three"] * 6) == 1
    assert accuracy("2", ["two"] * 10) == 0  # as the official evaluation has it
    assert accuracy("two", ["two "] * 10) == 1
    assert accuracy("The dog", ["dog"] * 3 + ["dogs"] * 7) == pytest.approx(0.9)
