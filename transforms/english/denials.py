"""Words that deny: one list for whoever asks what a caption says is not there, read however it is written.

Captions spell contractions as people type them ("doesnt", "isn´t", "is n't", "can not"), so apostrophes of any kind and none are one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_APOSTROPHE = "['’‘´`ʼ′＇]"  # noqa: RUF001 - what is typed for an apostrophe
_HELPERS = "is|are|was|were|do|does|did|has|have|had|could|would|should|might|must|need|dare|ought|ai|sha|wo"
_WORDS = ("no|not|nt|none|nothing|nobody|noone|nowhere|neither|nor|never|without|cannot|cant|lacks?|lacked|lacking|missing|except|"
          "excluding|zero|hardly|barely|scarcely|seldom|rarely|absent|unable|w/o")
_PHRASES = (r"with\s+out|(?:devoid|void|free|empty)\s+of|free\s+from|instead\s+of|rather\s+than|"
            r"(?:fail(?:s|ed|ing)?|refus(?:e|es|ed|ing))\s+to")
_DENIAL = re.compile(
    rf"(?<![^\W_])(?:{_WORDS}|{_PHRASES}|(?:{_HELPERS})n(?:{_APOSTROPHE}|\s+)?t|[^\W_]*n{_APOSTROPHE}t)(?![^\W_])", re.IGNORECASE)


def first_denial(text: str) -> int:
    """Where the first denial of a text begins (code points), its length when it has none: what follows is said not to be."""
    found = _DENIAL.search(text)
    return found.start() if found else len(text)


def denials(words: Sequence[str]) -> int:
    """How many denials stand in a text, given as its words."""
    return sum(1 for _ in _DENIAL.finditer(" ".join(words)))


def is_denial(word: str) -> bool:
    """Whether a single word or part of a contraction denies."""
    return _DENIAL.fullmatch(word) is not None
