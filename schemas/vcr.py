"""The annotations of VCR (Zellers et al. 2019): JSON lines, whose sentences are lists of words and of object tags.

A tag is a list of numbers, of objects of the photo: `["Why", "is", [1, 2], "pointing", "?"]`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

KEYS = (
    "question",
    "answer_choices",
    "rationale_choices",
    "objects",
    "answer_label",
    "rationale_label",
    "img_fn",
    "metadata_fn",
    "annot_id",
)


def pieces(sentence: Any, objects: Any) -> list[tuple[str, int | None]]:
    """A sentence as runs of words (None) and names of objects (the object's number). The tag `[1, 2]` is `person`, `and`, `dog`.

    Raises ValueError, with what is wrong, when the sentence is not such a list or a tag has no object.
    """
    if not isinstance(sentence, list) or not sentence:
        raise ValueError("a sentence is not a list of words and tags")
    names = objects if isinstance(objects, list) else []
    found = [piece for word in sentence for piece in _pieces(word, names)]
    runs = groupby(enumerate(found), lambda one: None if one[1][1] is None else one[0])  # each tag is a run of its own
    return [(" ".join(word for _, (word, _) in run), None if at is None else found[at][1]) for at, run in runs]


def _pieces(word: Any, names: list[Any]) -> Iterator[tuple[str, int | None]]:
    if isinstance(word, str) and word.strip():
        yield word.strip(), None
        return
    if not isinstance(word, list) or not word:
        raise ValueError("a sentence is not a list of words and tags")
    for at, number in enumerate(word):
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(names) or not isinstance(names[number], str):
            raise ValueError("a tag has no object")
        if at:
            yield "and", None
        yield names[number], number


def choices(row: dict[str, Any], kind: str) -> tuple[list[Any], int]:
    """The sentences to choose from, and the number of the right one; kind: `answer` or `rationale`.

    Raises ValueError, with what is wrong, when there are none or the right one is not among them.
    """
    held, right = row.get(f"{kind}_choices"), row.get(f"{kind}_label")
    if not isinstance(held, list) or not held:
        raise ValueError(f"{kind}_choices is not a list of sentences")
    if isinstance(right, bool) or not isinstance(right, int) or not 0 <= right < len(held):
        raise ValueError(f"{kind}_label is not the number of a choice")
    return held, right
