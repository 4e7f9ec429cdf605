"""Texts on their way into a translator and out of it: what is no caption, case and punctuation, and how far two texts differ."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_URL = re.compile(r"https?://|www\.|\b[\w.-]+@[\w-]+\.\w|\b[\w-]+\.(?:com|org|net|jpg|jpeg|png|gif|html?)\b", re.IGNORECASE)
_MARKUP = re.compile(r"</?[a-zA-Z][^>]*>|&[a-zA-Z]+;|&#\d+;|\{\{|\}\}|\[\[|\]\]|\[/?[a-z]+\]|`|\*\*|(?:^|\s)[#@]\w", re.IGNORECASE)
_END = re.compile(r"[\s.!?…]*$")
_BEFORE = re.compile(r"\s+([,.;:!?%)\]])|([(\[])\s+")
_ARTICLE = re.compile(r"\ba (?=[aeio]|u[mp]|un(?!i))(?!one|eu|ew)\w+|\ban (?=[bcdfgjklmnpqrtvwyz])\w+|\ban? (?:the|an?|of|in|on|and|is)\b",
                      re.IGNORECASE)
_HYPHEN = re.compile(r"\s*@-@\s*")
_APOSTROPHE = re.compile(r"(\w)\s+(['’](?:s|re|ve|ll|d|m|t)\b)|(\w)\s+(n['’]t\b)", re.IGNORECASE)
# Function words that only one side has: a text with more of the foreign ones is not English.
_ENGLISH = frozenset("a the of and with on at is are to by his her its their while from into near next this that there two three".split())
_FOREIGN = frozenset("""
ein eine einer einem einen der das und mit auf im ist sind von zu dem den des vor
un une le la les et avec sur dans est du au aux deux
el los las con en y una del por para está sobre
il di che gli della nel uno
een het op van voor aan
um uma os com no na do da em
och på är ett som av för
""".split()) - _ENGLISH


def words_of(text: str) -> list[str]:
    """The words of a text in lower case; punctuation is none."""
    return [word.replace("’", "'") for word in _WORD.findall(text.lower())]


def no_caption(text: str, max_words: int) -> str:
    """Why a text is no English caption of ordinary length, "" where nothing speaks against it."""
    if len(text.split()) > max_words:
        return f"{len(text.split())} words, {max_words} are allowed"
    if _URL.search(text):
        return "holds an address"
    if _MARKUP.search(text):
        return "holds markup"
    letters = 0
    for character in text:
        kind = unicodedata.category(character)
        if kind in ("So", "Sk", "Co", "Cn", "Cc") and not character.isspace() or character == "\ufe0f":
            return f"holds the symbol U+{ord(character):04X}"
        if kind[0] == "L":
            letters += 1
            if ord(character) > 0x24F and not unicodedata.name(character, "").startswith("LATIN"):
                return f"holds the letter U+{ord(character):04X}, which is not Latin"
    if letters < 2:
        return "holds no words"
    words = words_of(text)
    foreign, english = sum(word in _FOREIGN for word in words), sum(word in _ENGLISH for word in words)
    if foreign > english and foreign * 5 >= len(words):
        return f"is not English ({foreign} of {len(words)} words are of other languages)"
    return ""


def prepared(caption: str) -> str:
    """The caption as translators know them: a capital first, a full stop last, not all in capitals.

    Captions that differ in nothing else become one, and are translated once.
    """
    text = " ".join(caption.split())
    if text.isupper() and len(words_of(text)) > 1:
        text = text.lower()
    text = text[:1].upper() + text[1:]
    end = _ending(text)
    return text + "." if not end else text[: len(text) - len(end)] + (end.strip()[0] if end.strip() else ".")


def _ending(text: str) -> str:
    """The stops, and blanks among them, that a text ends with."""
    found = _END.search(text)
    return found.group() if found else ""


def restored(text: str, caption: str) -> str:
    """A candidate in the dress of its caption: first letter and final stop as there, no blanks before punctuation.

    A caption all in capitals gives one all in capitals.
    """
    text = _HYPHEN.sub("-", " ".join(text.split()))
    text = _APOSTROPHE.sub(lambda m: (m[1] or m[3]) + (m[2] or m[4]), _BEFORE.sub(lambda m: m[1] or m[2], text))
    text = text[: len(text) - len(_ending(text))].rstrip(" ,;:")
    if not text:
        return ""
    if caption.isupper() and len(words_of(caption)) > 1:
        text = text.upper()
    elif caption[:1].isupper():
        text = text[:1].upper() + text[1:]
    elif caption[:1].islower() and not _keeps_capital(text, caption):
        text = text[:1].lower() + text[1:]
    return text + _ending(caption.rstrip()).replace(" ", "")


def _keeps_capital(text: str, caption: str) -> bool:
    """Whether the first word has its capital for other reasons than being first: "I", "USA", a name that the caption holds."""
    first = text.split()[0]
    return first == "I" or first.startswith(("I'", "I’")) or (len(first) > 1 and first.isupper()) or first in caption.split()


def change(one: Sequence[str], other: Sequence[str]) -> float:
    """Share of words that differ, 0 to 1: the edit distance (a move costs two) over the length of the longer.

    A metric but for the division: symmetric, and 0 for the same words alone.
    """
    if not one or not other:
        return float(bool(one) or bool(other))
    row = list(range(len(other) + 1))
    for at, word in enumerate(one, start=1):
        diagonal, row[0] = row[0], at
        for place, against in enumerate(other, start=1):
            diagonal, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, diagonal + (word != against))
    return row[-1] / max(len(one), len(other))


def garbled(text: str) -> str:
    """Why a text is no good sentence, "" where it may be one: no words, an unknown token, "dog dog", "a apple", three words said again."""
    words = words_of(text)
    if not words:
        return "no words"
    if "⁇" in text or "<unk>" in text:
        return "an unknown token"
    for at in range(len(words) - 1):
        if words[at] == words[at + 1]:
            return f"{words[at]} {words[at + 1]}"
    pairs = [*zip(words, words[1:], words[2:], strict=False)]
    article = _ARTICLE.search(text)
    if article:
        return article.group().lower()
    twice = next((pair for pair in pairs if pairs.count(pair) > 1 and len(set(pair)) > 1), None)
    return " ".join(twice) + " twice" if twice else ""
