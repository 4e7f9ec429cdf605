"""Denials: one word list for all stages that need to know what a caption negates, in any spelling.

People type contractions in many ways ("doesnt", "isn´t", "is n't", "can not"), so any apostrophe, or none, is accepted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_APOSTROPHE = "['’‘´`ʼ′＇]"  # noqa: RUF001 - characters typed as apostrophes
_HELPERS = "is|are|was|were|do|does|did|has|have|had|could|would|should|might|must|need|dare|ought|ai|sha|wo"
_WORDS = (
    "no|not|nt|none|nothing|nobody|noone|nowhere|neither|nor|never|without|cannot|cant|lacks?|lacked|lacking|missing|except|"
    "excluding|zero|hardly|barely|scarcely|seldom|rarely|absent|unable|w/o"
)
_PHRASES = (
    r"with\s+out|(?:devoid|void|free|empty)\s+of|free\s+from|instead\s+of|rather\s+than|"
    r"(?:fail(?:s|ed|ing)?|refus(?:e|es|ed|ing))\s+to"
)
_DENIAL = re.compile(
    rf"(?<![^\W_])(?:{_WORDS}|{_PHRASES}|(?:{_HELPERS})n(?:{_APOSTROPHE}|\s+)?t|[^\W_]*n{_APOSTROPHE}t)(?![^\W_])", re.IGNORECASE
)


def first_denial(text: str) -> int:
    """Offset in code points of the first denial in a text, or the text's length; the words after it are negated."""
    found = _DENIAL.search(text)
    return found.start() if found else len(text)


def denials(words: Sequence[str]) -> int:
    """The number of denials in a text, given as its words."""
    return sum(1 for _ in _DENIAL.finditer(" ".join(words)))


def is_denial(word: str) -> bool:
    """Whether a single word or part of a contraction denies."""
    return _DENIAL.fullmatch(word) is not None
