"""Compares two texts word for word: translation mostly changes verb forms, articles and the occasional word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from transforms.back_translation.likeness import (
    PHRASES,
    is_location,
    preposition_class,
    same_attribute,
    same_noun,
    same_preposition,
    same_verb,
)
from transforms.english.wordnet import lexicon
from transforms.english.words import BE, FRAMES, NOUN_TAGS, PLURAL_TAGS, VERB_TAGS
from transforms.scene_graph.tokens import Tokens

# Function words that a paraphrase may add or omit.
_FUNCTION = frozenset("a an the is are was were be been being am 's that which who there and".split())
_SEPARATOR = re.compile(r",\s*and\b|,|\band\b", re.IGNORECASE)
_BE = {*BE, "'s"}
_SIDES = frozenset("left right front back top side middle center".split())
_FINITE = frozenset({"VBZ", "VBP", "VBD", "MD"})


class Word(NamedTuple):
    """A content word: lower case, lemma and Penn tag; a multi-word preposition is one word tagged IN."""

    lower: str
    lemma: str
    tag: str


def words_that_count(tokens: Tokens) -> list[Word]:
    """The words of a text without articles, forms of "be" and punctuation; multi-word prepositions are joined."""
    plain = [
        Word(tokens.lower(at), tokens.lemma(at), tokens.tags[at])
        for at in range(tokens.size)
        if any(character.isalnum() for character in tokens.lower(at)) and tokens.lower(at) not in _FUNCTION
    ]
    found: list[Word] = []
    at = 0
    while at < len(plain):
        phrase = next(
            (one for one in PHRASES.get(plain[at].lower, ()) if tuple(word.lower for word in plain[at : at + len(one)]) == one), None
        )
        if phrase:
            found.append(Word(" ".join(phrase), " ".join(phrase), "IN"))
            at += len(phrase)
        else:
            found.append(plain[at])
            at += 1
    return found


def joints(tokens: Tokens) -> tuple[int, int, int, int]:
    """Counts that show how the parts of a text are joined, which translation may change: "a ball over a box is over a bench" is not
    "a ball over a box over a bench", nor is "a bike is little and a boy sits" "a bike and a little boy sit".

    Counted are finite verbs that follow another thing than their subject; prepositions after "and"; and, in texts with "and", adjectives
    after "is", and finite verbs.
    """
    words = [tokens.lower(at) for at in range(tokens.size)]
    preps = [
        at
        for at in range(1, tokens.size)
        if tokens.tags[at] in ("IN", "RB")
        and preposition_class(words[at])
        or tokens.tags[at] == "IN"
        and words[at] not in ("that", "while", "as", "of")
    ]
    behind = sum(tag in _FINITE and between(tokens, at) for at, tag in enumerate(tokens.tags))
    joined = sum(words[at - 1] == "and" for at in preps)
    if "and" not in words:
        return behind, joined, 0, 0
    qualities = sum(words[at - 1] in _BE and tokens.tags[at] == "JJ" for at in range(1, tokens.size))
    finite = sum(tag in _FINITE and words[at - 1] != "and" for at, tag in enumerate(tokens.tags))
    return behind, joined, qualities, finite if finite > 1 else 0


def between(tokens: Tokens, verb: int) -> bool:
    """Whether a thing that is neither worn nor a location stands between a clause's subject and its verb, and might be taken for the
    subject: "a girl next to a ball is riding a bike"."""
    if not verb or tokens.lower(verb - 1) in ("that", "which", "who", "there", "and"):
        return False
    for at in range(verb - 1, -1, -1):
        if tokens.tags[at] in _FINITE or tokens.lower(at) in ("and", "while", ","):
            return False
        lemma, head = tokens.lemma(at), tokens.heads[at]
        if tokens.tags[at] not in NOUN_TAGS or tokens.deps[at] not in ("pobj", "dobj"):
            continue
        part = (
            tokens.lower(head) == "of" and tokens.lower(tokens.heads[head]) not in _SIDES
        )  # "a group of people is", "a slice of pizza is"
        if not part and lemma not in FRAMES and not is_location(lemma) and not lexicon().hypernym("clothing", lemma):
            return True
    return False


def separators(text: str) -> int:
    """The number of commas and "and", counting ", and" as one: "a girl in yellow, a bike" is not "a girl in a yellow bike"."""
    return len(_SEPARATOR.findall(text))


def same_in_order(one: Sequence[Word], other: Sequence[Word]) -> bool:
    """Whether the content words are the same in the same order, up to verb forms and synonyms."""
    return len(one) == len(other) and all(_same(*pair) for pair in zip(one, other, strict=True))


def _same(caption: Word, paraphrase: Word) -> bool:
    if caption.lower == paraphrase.lower:
        return True
    classes = preposition_class(caption.lower), preposition_class(paraphrase.lower)
    if any(classes):
        if classes == ("above", "above"):  # left to the graphs, which show what it is above
            return False
        return all(classes) and same_preposition(caption.lower, paraphrase.lower, "")
    if caption.lemma == paraphrase.lemma:
        return _inflected(caption, paraphrase)
    if caption.tag in NOUN_TAGS and paraphrase.tag in NOUN_TAGS:
        return (caption.tag in PLURAL_TAGS) == (paraphrase.tag in PLURAL_TAGS) and same_noun(caption.lemma, paraphrase.lemma)
    if {caption.lemma, paraphrase.lemma} == {"lie", "lay"}:  # left to the graphs, which show whether they lie on something
        return False
    if caption.tag in VERB_TAGS and paraphrase.tag in VERB_TAGS:
        return "VBN" not in (caption.tag, paraphrase.tag) and same_verb(caption.lemma, paraphrase.lemma)
    return caption.tag == paraphrase.tag == "JJ" and same_attribute(caption.lower, paraphrase.lower)


def _inflected(caption: Word, paraphrase: Word) -> bool:
    """Whether two forms of a lemma are like "riding" and "rides": one in -ing, the other not a participle. (A mere -s may be a plural,
    and something clean is not cleaning.)"""
    if {caption.tag, paraphrase.tag} == {"JJ", "VBG"}:
        return False
    plain = [word for word in (caption, paraphrase) if not word.lower.endswith("ing")]
    return len(plain) == 1 and plain[0].tag not in ("VBN", *NOUN_TAGS) and not plain[0].lower.endswith(("ed", "en"))
