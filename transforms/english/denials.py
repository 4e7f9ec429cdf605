"""Denials: one word list for all stages that need to know what a caption negates, in any spelling.

People type contractions in many ways ("doesnt", "isn´t", "is n't", "can not"), so any apostrophe, or none, is accepted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_APOSTROPHE = "['’‘‛´`ʼʹʻˈ′‵＇]"  # noqa: RUF001 - characters typed as apostrophes
_HELPERS = "is|are|was|were|do|does|did|has|have|had|could|would|should|might|must|need|dare|ought|ai|sha|wo"
_WORDS = (
    "no|not|nt|none|nothing|nobody|noone|nowhere|neither|nor|nary|never|without|cannot|cant|lacks?|lacked|lacking|missing|except|"
    "excluding|minus|sans|zero|hardly|barely|scarcely|seldom|rarely|absent|unable|w/o(?:ut)?|"
    "dosent|dosnt|doesent|dident|didint|isint|"  # typing errors
    "wihout|wihtout|witout|witohut|withot|withou|withour|withput|withtout|withuot|whithout|wthout"
)
_PHRASES = (
    r"with\s+out|(?:devoid|void|free|empty|clear|bare|emptied|stripped|rid)\s+of|free\s+from|(?:absence|lack)\s+of|instead\s+of|"
    r"rather\s+than|other\s+than|but\s+for|(?:fail(?:s|ed|ing)?|refus(?:e|es|ed|ing))\s+to"
)
_NOT = r"(?:not|n(?:\s?[^\w\s]\s?|\s+)?t)"  # of "isnt", "isnot", "isn,t", "isn´ t", "isn t"
_DENIAL = re.compile(rf"(?<![^\W_])(?:{_WORDS}|{_PHRASES}|(?:{_HELPERS}){_NOT}|[^\W_]*n{_APOSTROPHE}t)(?![^\W_])", re.IGNORECASE)

# What denies that its subject is to be seen at all: "is not in the room", "are missing from the lot".
_THERE = (
    "in|on|at|by|near|next|beside|behind|under|below|beneath|inside|outside|above|over|between|among|around|within|with|along|across|"
    "against|there|here|visible|present|seen|shown|pictured|available|found"
)
_BE = rf"is|are|was|were|be|been|being|(?:that|it|who|which){_APOSTROPHE}?s"
_UNSEEN = re.compile(
    rf"(?<![^\W_])(?:(?:{_BE})\s*{_NOT}"
    rf"\s+(?:(?:also|currently|even|ever|really|yet)\s+)?(?:{_THERE})|"
    rf"(?:absent|missing|gone)\s+from|(?:{_BE})\s+(?:absent|missing|gone|nowhere)|nowhere)(?![^\W_])",
    re.IGNORECASE,
)


def first_denial(text: str) -> int:
    """Offset in code points of the first denial in a text, or the text's length; the words after it are negated."""
    found = _DENIAL.search(text)
    return found.start() if found else len(text)


def asserted_until(text: str) -> int:
    """Up to which offset in code points a text asserts what it says: its first denial, or 0 if that denies its own subject's presence."""
    return 0 if _UNSEEN.search(text) else first_denial(text)


def denials(words: Sequence[str]) -> int:
    """The number of denials in a text, given as its words."""
    return sum(1 for _ in _DENIAL.finditer(" ".join(words)))


def is_denial(word: str) -> bool:
    """Whether a single word or part of a contraction denies."""
    return _DENIAL.fullmatch(word) is not None
