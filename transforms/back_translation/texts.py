"""Text handling around translation: filtering of non-captions, case and punctuation, and the difference between two texts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import pairwise

from py3langid.langid import MODEL_FILE, LanguageIdentifier
from rapidfuzz.distance import Levenshtein

from transforms.english.morphology import article, lemmas
from transforms.english.wordnet import lexicon

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
# Found by the last letter before the "@" or the dot: from each letter before it, the search would take quadratic time.
_URL = re.compile(r"https?://|www\.|\w[.-]*@[\w-]+\.\w|\w-*\.(?:com|org|net|jpg|jpeg|png|gif|html?)\b", re.IGNORECASE)
_MARKUP = re.compile(r"&[a-zA-Z]+;|&#\d+;|\{\{|\}\}|\[\[|\]\]|\[/?[a-z]+\]|`|\*\*|(?:^|\s)[#@][^\W\d]", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z]", re.IGNORECASE)
_END_REVERSED = re.compile(r"[\s.!?…]*")
_BEFORE = re.compile(r" ([,.;:!?%)\]])|([(\[]) ")
_ARTICLE = re.compile(r"\b(an?) (\w+)", re.IGNORECASE)
_NOT_AFTER_ARTICLE = frozenset({"the", "a", "an", "of", "in", "on", "and", "is"})
_EITHER_ARTICLE = ("herb", "histor", "hotel")
# Translation artefacts that nobody writes: "with lot of", "on his back of a horse", "and the right of a dog", "a dog's left of",
# "this two", "this are", "these a dog", "there has", "the picture is a dog".
_ODD = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b(?:with|in|on|of|has|have|having|is|are|and) lot of\b",
        r"\b(?:his|her|its|their) (?:back|top|front|edge|middle|(?:left|right)(?: hand)?(?: side)?|side) of\b",
        r"(?<!\bto )(?<!\bon )(?<!\bat )(?<!\bin )(?<!\bfrom )(?<!\boff )\bthe (?:left|right)(?: side)? of\b",
        r"\w['’]s (?:left|right|back|front) of\b",
        r"(?<!\bthe )(?<!\bits )(?<!\bhis )(?<!\bher )(?<!\btheir )(?<!\bright )(?<!\bleft )\b(?:left|right)(?: hand)? side of\b",
        r"\b(?:this (?:are|two|three|four|five|six|several|many)|these (?:is|are an?\b))\b",
        r"\b(?:this|these|we) (?:an?|the|of)\b",
        r"\b(?:photo|photograph|picture|image) where there\b",
        r"\b(?:photo|photograph|picture|image) (?:is|are) (?:showing|depicting|containing)\b",
        r"\b(?:body|bodies) of the\b",
        r"\b(?:an?|the) \w+ couple of\b",
        r"\b(?:take|takes|taking) the place(?! of)\b",
        r"\bin (?:the|an?) (?:amazement|awe|motion|flight|progress|anticipation|concentration|unison|midair)\b",
        r"\bin an? shade\b",
        r"(?:^|, )(?:here|there) (?:has|have)\b(?! been)",
        r"\b(?:photo|photograph|picture|image) (?:is|are) (?:an?|the|one|two|three|four|five|six|several|some|photo|picture)\b"
        r"(?! (?:[\w-]+ ){0,3}(?:photo|photograph|picture|image|view|shot)\b)",
    )
)
_UNFINISHED = frozenset("is are a an the and or of with from his their its very".split())
_SIGNS = frozenset("°®™©")
_DOUBLED = frozenset({"had", "that", "bye", "choo", "yo"})  # words that English may repeat
_PLURAL_OWNER = re.compile(r"(?<!\w)\w+s['’]s\b", re.IGNORECASE)
_HYPHEN = re.compile(r" ?@-@ ?")
_APOSTROPHE = re.compile(r"(\w) (['’](?:s|re|ve|ll|d|m|t)\b)|(\w) (n['’]t\b)", re.IGNORECASE)
_ENGLISH = frozenset("a the of and with on at is are to by his her its their while from into near next this that there two three".split())
_LANGUAGES = ["de", "en", "es", "fr", "it", "nl", "pt", "sv"]  # expected languages of captions; others are identified as one of them
_SURE = 0.95  # confidence above which a text is refused


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return [word.replace("’", "'") for word in _WORD.findall(text.lower())]


def looked_up(text: str) -> set[str]:
    """The words of a text, and the parts of compounds ("light-up"), which the parser separates."""
    return {part for word in words_of(text) for part in (word, *re.split(r"[-']", word)) if part}


def why_not_caption(text: str, max_words: int) -> str:
    """Why a text is not an English caption of ordinary length, "" if it may be one."""
    if len(text.split()) > max_words:
        return f"{len(text.split())} words, {max_words} are allowed"
    if _URL.search(text):
        return "holds an address"
    tag = _TAG.search(text)
    if _MARKUP.search(text) or tag and ">" in text[tag.end() :]:
        return "holds markup"
    letters = 0
    for character in text:
        kind = unicodedata.category(character)
        if (kind in ("So", "Sk", "Co", "Cn", "Cc") and not character.isspace() and character not in _SIGNS) or character == "\ufe0f":
            return f"holds the symbol U+{ord(character):04X}"
        if kind[0] == "L":
            letters += 1
            if ord(character) > 0x24F and not unicodedata.name(character, "").startswith("LATIN"):
                return f"holds the letter U+{ord(character):04X}, which is not Latin"
    if letters < 2:
        return "holds no words"
    words = words_of(text)
    language, confidence = _identifier().classify(text.lower())
    if language != "en" and confidence > _SURE and len(words) > 3:  # "An open door" looks Dutch
        return f"is not English (but {language}, with a confidence of {confidence:.3f})"
    if len(words) > 2 and not any(word in _ENGLISH or known(word) for word in words):
        return f"is not English (none of its {len(words)} words is known)"
    return ""


@cache
def _identifier() -> LanguageIdentifier:
    found = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    found.set_languages(_LANGUAGES)
    return found


@lru_cache(maxsize=1 << 16)
def known(word: str) -> bool:
    """Whether a word, or a lemma that it may be a form of, is in the lexicon."""
    return any(lexicon().knows(form, "nva") for form in lemmas(word))


def prepared(caption: str) -> str:
    """The caption in the form that translators expect: capitalised, with a full stop, not all in capitals.

    Captions that differ only in this become equal and are translated once.
    """
    text = " ".join(caption.split())
    if text.isupper() and len(words_of(text)) > 1:
        text = text.lower()
    text = _capital(text)
    end = _ending(text)
    return text + "." if not end else text[: len(text) - len(end)] + (end.strip()[0] if end.strip() else ".")


def _ending(text: str) -> str:
    """The final punctuation of a text, including spaces within it."""
    found = _END_REVERSED.match(text[::-1])
    return found[0][::-1] if found else ""


def restored(text: str, caption: str) -> str:
    """A candidate in its caption's style: initial capital and final punctuation as there, no spaces before punctuation.

    For a caption all in capitals, the result is all in capitals.
    """
    text = _HYPHEN.sub("-", " ".join(text.split()))
    text = _APOSTROPHE.sub(lambda m: (m[1] or m[3]) + (m[2] or m[4]), _BEFORE.sub(lambda m: m[1] or m[2], text))
    text = text[: len(text) - len(_ending(text))].rstrip(" ,;:")
    if not text:
        return ""
    if caption.isupper() and len(words_of(caption)) > 1:
        text = text.upper()
    elif caption[:1].isupper():
        text = _capital(text)
    elif caption[:1].islower() and not _keeps_capital(text, caption):
        text = text[:1].lower() + text[1:]
    return text + "".join(_ending(caption).split())


def _capital(text: str) -> str:
    first = text[:1].upper()
    return first + text[1:] if len(first) == 1 else text  # not "ß", whose capital is two letters


def _keeps_capital(text: str, caption: str) -> bool:
    """Whether the first word is capitalised regardless of position: "I", "USA", a name in the caption."""
    first = text.split()[0]
    return first == "I" or first.startswith(("I'", "I’")) or (len(first) > 1 and first.isupper()) or first in caption.split()


def _pieces(words: Sequence[str]) -> list[str]:
    """Words without accents and apostrophes, split at hyphens: "T-shirt" and "T shirt" give the same two."""
    text = unicodedata.normalize("NFKD", " ".join(words).replace("-", " "))
    return "".join(character for character in text if character.isalnum() or character == " ").split()


def change(one: Sequence[str], other: Sequence[str]) -> float:
    """Share of words that differ, 0 to 1: the edit distance (a move costs two) divided by the length of the longer text.

    Symmetric, and 0 only for the same letters and digits: hyphens, spaces, apostrophes and accents do not count.
    """
    one, other = _pieces(one), _pieces(other)
    if "".join(one) == "".join(other):
        return 0.0
    return Levenshtein.normalized_distance(one, other)


def garbled(text: str, caption: str = "") -> str:
    """Why a text is malformed, "" if it may be well-formed. Defects that the caption itself has are ignored.

    Defects: no words, an unknown token, "dog dog", "a apple", "on his back of a horse", three words repeated.
    """
    found = list(_nonsense(text))
    own = set(_nonsense(caption)) if found and caption else set()
    return next((one for one in found if one not in own), "")


def _nonsense(text: str) -> Iterator[str]:
    words = words_of(text)
    if not words:
        yield "no words"
    if "⁇" in text or "<unk>" in text:
        yield "an unknown token"
    if words and (words[-1] in _UNFINISHED or words[-1].endswith("'s")):
        yield f"ends with {words[-1]}"
    yield from (f"{one} {one}" for one, other in pairwise(words) if one == other and one not in _DOUBLED)
    if sum(one == "there" and other in ("is", "are") for one, other in pairwise(words)) > 1:
        yield "there is twice"
    yield from (owner.group().lower() for owner in _PLURAL_OWNER.finditer(text))  # "two dogs's"
    yield from (found.group().lower() for pattern in _ODD for found in pattern.finditer(text))
    if text.isupper():
        text = text.lower()
    for found in _ARTICLE.finditer(text):
        letter, word = found[1].lower(), found[2].lower()
        unfit = len(word) > 1 and letter != article(found[2]) and not word.startswith(_EITHER_ARTICLE)
        if (unfit or word in _NOT_AFTER_ARTICLE) and not (found[1] == "A" and found.start()):  # "vitamin A and C"
            yield found[0].lower()
    triples = [*zip(words, words[1:], words[2:], strict=False)]
    yield from (" ".join(triple) + " twice" for triple in triples if triples.count(triple) > 1 and len(set(triple)) > 1)
