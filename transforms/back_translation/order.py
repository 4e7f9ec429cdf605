"""Whether two texts say the same word for word: what translation changes most is the form of verbs, articles and a word here and there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from transforms.back_translation.likeness import PHRASES, preposition_class, same_attribute, same_noun, same_preposition, same_verb
from transforms.english.words import BE, NOUN_TAGS, PLURAL_TAGS, VERB_TAGS
from transforms.scene_graph.tokens import Tokens

# They may come and go between the words that count.
_FUNCTION = frozenset("a an the is are was were be been being am 's that which who there and".split())
_SEPARATOR = re.compile(r",\s*and\b|,|\band\b", re.IGNORECASE)
_BE = {*BE, "'s"}
_FINITE = frozenset({"VBZ", "VBP", "VBD", "MD"})


class Word(NamedTuple):
    """A word that counts: lower case, lemma and Penn tag; for a preposition of several words its class, tagged IN."""

    lower: str
    lemma: str
    tag: str


def words_that_count(tokens: Tokens) -> list[Word]:
    """The words of a text without articles, forms of "be" and punctuation, prepositions of several words made one."""
    plain = [Word(tokens.lower(at), tokens.lemma(at), tokens.tags[at]) for at in range(tokens.size)
             if any(character.isalnum() for character in tokens.lower(at)) and tokens.lower(at) not in _FUNCTION]
    found: list[Word] = []
    at = 0
    while at < len(plain):
        phrase = next((one for one in PHRASES.get(plain[at].lower, ())
                       if tuple(word.lower for word in plain[at:at + len(one)]) == one), None)
        if phrase:
            found.append(Word(" ".join(phrase), " ".join(phrase), "IN"))
            at += len(phrase)
        else:
            found.append(plain[at])
            at += 1
    return found


def joints(tokens: Tokens) -> tuple[int, int, int, int]:
    """How the parts of a text hang together, which translation loosens: "a ball over a box is over a bench" is not "a ball over a box
    over a bench", nor is "a bike is little and a boy sits" "a bike and a little boy sit".

    Places said with "is" behind another place; places said with "and"; qualities said with "is", and finite verbs, where there is an
    "and".
    """
    words = [tokens.lower(at) for at in range(tokens.size)]
    preps = [at for at in range(1, tokens.size) if tokens.tags[at] in ("IN", "RB") and preposition_class(words[at])
              or tokens.tags[at] == "IN" and words[at] not in ("that", "while", "as", "of")]
    behind = sum(words[at - 1] in _BE for at in preps[1:])
    joined = sum(words[at - 1] == "and" for at in preps)
    if "and" not in words:
        return behind, joined, 0, 0
    qualities = sum(words[at - 1] in _BE and tokens.tags[at] == "JJ" for at in range(1, tokens.size))
    finite = sum(tag in _FINITE and words[at - 1] != "and" for at, tag in enumerate(tokens.tags))
    return behind, joined, qualities, finite if finite > 1 else 0


def separators(text: str) -> int:
    """Commas and "and", ", and" as one: "a girl in yellow, a bike" is not "a girl in a yellow bike"."""
    return len(_SEPARATOR.findall(text))


def same_in_order(one: Sequence[Word], other: Sequence[Word]) -> bool:
    """Whether the words that count are the same in the same order, up to the form of verbs and synonyms in one place."""
    return len(one) == len(other) and all(_same(*pair) for pair in zip(one, other, strict=True))


def _same(caption: Word, paraphrase: Word) -> bool:
    if caption.lower == paraphrase.lower:
        return True
    classes = preposition_class(caption.lower), preposition_class(paraphrase.lower)
    if any(classes):
        return all(classes) and same_preposition(caption.lower, paraphrase.lower, "")
    if caption.lemma == paraphrase.lemma:
        return _inflected(caption, paraphrase)
    if caption.tag in NOUN_TAGS and paraphrase.tag in NOUN_TAGS:
        return (caption.tag in PLURAL_TAGS) == (paraphrase.tag in PLURAL_TAGS) and same_noun(caption.lemma, paraphrase.lemma)
    if {caption.lemma, paraphrase.lemma} == {"lie", "lay"}:  # as far as they lie on something, graphs tell
        return False
    if caption.tag in VERB_TAGS and paraphrase.tag in VERB_TAGS:
        return "VBN" not in (caption.tag, paraphrase.tag) and same_verb(caption.lemma, paraphrase.lemma)
    return caption.tag == paraphrase.tag == "JJ" and same_attribute(caption.lower, paraphrase.lower)


def _inflected(caption: Word, paraphrase: Word) -> bool:
    """Whether two forms of a lemma are "riding" and "rides": one in -ing, the other no participle. (An -s alone may be a plural, and what
    is clean is not cleaning.)"""
    if {caption.tag, paraphrase.tag} == {"JJ", "VBG"}:
        return False
    plain = [word for word in (caption, paraphrase) if not word.lower.endswith("ing")]
    return len(plain) == 1 and plain[0].tag != "VBN" and not plain[0].lower.endswith(("ed", "en"))
