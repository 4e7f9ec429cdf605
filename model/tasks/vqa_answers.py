"""How VQA judges a free answer: its normalisation and accuracy (Antol et al. 2015), as the official evaluation defines them.

An answer is as right as people agree: the mean over all ten people of min(1, agreeing others / 3).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_NUMBERS = {word: str(number) for number, word in enumerate("zero one two three four five six seven eight nine ten".split())} | {
    "none": "0"
}
_ARTICLES = frozenset({"a", "an", "the"})
_CONTRACTED = """ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock
oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's
where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've
y'all y'all'll y'all'd've you'd you'd've you'll you're you've""".split()
# A contraction is recognised when one of its apostrophes is missing.
_CONTRACTIONS = {word[: match.start()] + word[match.end() :]: word for word in _CONTRACTED for match in re.finditer("'", word)} | {
    "somebody'd": "somebodyd"
}  # as the official table has it


def normalised(answer: str) -> str:
    """Without punctuation and articles, in lower case, number words as digits, contractions with all their apostrophes."""
    text = plain(answer)
    made, thousands = text, re.search(r"\d,\d", text)
    for mark in _MARKS:
        alone = thousands or f"{mark} " in text or f" {mark}" in text
        made = made.replace(mark, "" if alone else " ")
    made = re.sub(r"\.(?!\d)", "", made, count=32)  # the official pattern passes its flag as the count
    words = [_NUMBERS.get(word, word) for word in made.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def plain(answer: str) -> str:
    """On one line."""
    return answer.replace("\n", " ").replace("\t", " ").strip()


def accuracy(answer: str, people: Sequence[str]) -> float:
    """How right an answer is, in [0, 1]; normalisation is left out where all people say the same, as in the official evaluation."""
    answer, people = plain(answer), [plain(one) for one in people]
    if len(set(people)) > 1:
        answer, people = normalised(answer), [normalised(one) for one in people]
    return agreement(answer, people)


def agreement(answer: str, people: Sequence[str]) -> float:
    """The same of answers that are normalised already."""
    same = [one == answer for one in people]
    return sum(min(1.0, (sum(same) - own) / 3) for own in same) / len(same)
