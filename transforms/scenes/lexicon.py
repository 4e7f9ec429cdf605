"""The words of the scene language: those that captions use and those that the parser accepts."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from transforms.scenes.world import COLOURS, HEARD_SYNONYMS, MATERIALS, NOUNS, NUMBERS, PATTERNS, SPOKEN_SYNONYMS

Verb = tuple[str, str, str, str]
"""A verb's forms: present participle, third person singular, plural, and passive (empty if it has none)."""

VERBS: dict[str, tuple[Verb, ...]] = {
    "holding": (("holding", "holds", "hold", "held by"), ("carrying", "carries", "carry", "carried by")),
    "riding": (("riding", "rides", "ride", "ridden by"),),
    "sitting on": (("sitting on", "sits on", "sit on", ""),),
    "chasing": (("chasing", "chases", "chase", "chased by"), ("running after", "runs after", "run after", "")),
    "looking at": (("looking at", "looks at", "look at", ""), ("watching", "watches", "watch", "watched by")),
    "kicking": (("kicking", "kicks", "kick", "kicked by"),),
    "flying": (("flying", "flies", "fly", "flown by"),),
    "walking": (("walking", "walks", "walk", "walked by"),),
}  # fmt: skip
HEARD_VERBS: dict[str, tuple[Verb, ...]] = {
    "riding": (("riding on", "rides on", "ride on", ""),),
    "sitting on": (("seated on", "sat on", "sit on", ""), ("sitting in", "sits in", "sit in", ""),
        ("sitting on top of", "sits on top of", "", ""), ("sitting down on", "sits down on", "sit down on", "")),
    "chasing": (("following after", "", "", "pursued by"), ("pursuing", "pursues", "pursue", "")),
    "looking at": (("staring at", "stares at", "stare at", "looked at by"), ("gazing at", "gazes at", "gaze at", ""),
        ("looking out at", "looks out at", "look out at", "")),
}  # fmt: skip
PREPOSITIONS: dict[str, tuple[str, ...]] = {
    "left of": ("to the left of", "on the left of", "left of", "on the left side of"),
    "right of": ("to the right of", "on the right of", "right of", "on the right side of"),
    "above": ("above", "over"),
    "below": ("below",),
    "on": ("on", "on top of"),
    "under": ("under", "underneath", "beneath"),
    "behind": ("behind",),
    "in front of": ("in front of",),
    "next to": ("next to", "beside"),
}
HEARD_PREPOSITIONS: dict[str, tuple[str, ...]] = {
    "left of": ("at the left of", "at the left side of", "on left side of", "to the left side of", "on left of", "to left of"),
    "right of": ("at the right of", "at the right side of", "on right side of", "to the right side of", "on right of", "to right of"),
    "above": ("up above", "flying above", "flying over"),
    "below": ("down below",),
    "on": ("atop", "upon", "on the top of", "at the top of", "at top of"),
    "under": ("below and under",),
    "behind": ("in back of",),
    "in front of": ("before", "ahead of"),
    "next to": ("near", "by", "close to", "alongside", "near to", "at the side of", "by the side of"),
}  # fmt: skip
SIZE_WORDS: dict[str, tuple[str, ...]] = {"small": ("small", "little"), "large": ("large", "big")}
HEIGHT_WORDS = {"small": "short", "large": "tall"}  # used for people and trees
HEARD_ADJECTIVES = {
    "tiny": "small", "short": "small", "huge": "large", "tall": "large", "grey": "gray", "dotted": "spotted",
    "spotty": "spotted", "stripy": "striped", "stripey": "striped", "checked": "checkered", "chequered": "checkered",
        "plaid": "checkered",
    "wood": "wooden", "polka dot": "spotted", "gold": "yellow", "violet": "purple",
}  # fmt: skip
PLACE_PHRASES: dict[str, tuple[str, ...]] = {
    "beach": ("on the beach", "at the beach", "on a beach"), "street": ("on a street", "in the street", "on the street"),
    "room": ("in a room", "in the room", "inside a room"), "park": ("in a park", "in the park"),
        "snow": ("in the snow", "on the snow"),
    "lake": ("at a lake", "by the lake", "by a lake"), "field": ("in a field", "in the field"), "night": ("at night",),
}  # fmt: skip
_PLACE_NOUNS = {
    "beach": ("beach", "sandy beach", "shore"), "street": ("street", "road", "city street"), "room": ("room",),
        "park": ("park", "green park"),
    "snow": ("snow", "snowy landscape", "snowy field"), "lake": ("lake", "lakeside", "lake shore"),
        "field": ("field", "grassy field", "meadow"),
    "night": ("night", "nighttime"),
}  # fmt: skip
SINGULAR_LEADS = ("there is", "here is", "this picture shows", "the photo shows", "a photo of", "a picture of", "an image of",
    "you can see",
                  "we see", "in this picture there is", "in the photo there is")  # fmt: skip
_PLURAL_LEADS = {"there is": "there are", "here is": "here are", "in this picture there is": "in this picture there are",
                 "in the photo there is": "in the photo there are"}  # fmt: skip
NEUTRAL_POSTURES = ("standing", "located", "placed", "parked", "situated", "positioned", "seen", "visible", "resting", "lying")
CLOTHES = ("shirt", "t-shirt", "tee shirt", "top", "sweater", "jacket", "clothes", "clothing", "coat")


class Token(NamedTuple):
    """A phrase of a sentence: its grammatical role and its value."""

    role: str
    value: str
    plural: bool = False


def plural_lead(lead: str) -> str:
    """The plural form of an opening: "there is" becomes "there are"."""
    return _PLURAL_LEADS.get(lead, lead)


@lru_cache(maxsize=1)
def phrases() -> dict[tuple[str, ...], Token]:
    """All word sequences that the parser accepts, with their tokens; longer sequences take precedence."""
    out: dict[tuple[str, ...], Token] = {}

    def add(words: str, role: str, value: str = "", plural: bool = False) -> None:
        if words:
            out.setdefault(tuple(words.split()), Token(role, value, plural))

    _add_nouns(add)
    for colour in (*COLOURS, *PATTERNS, *MATERIALS):
        add(colour, "ADJ", colour)
    for size, words in SIZE_WORDS.items():
        for word in words:
            add(word, "ADJ", size)
    for word, meaning in HEARD_ADJECTIVES.items():
        add(word, "ADJ", meaning)
    for predicate in PREPOSITIONS:
        for phrase in PREPOSITIONS[predicate] + HEARD_PREPOSITIONS[predicate]:
            add(phrase, "PREP", predicate)
    for predicate in VERBS:
        for ing, he, they, by in VERBS[predicate] + HEARD_VERBS.get(predicate, ()):
            add(ing, "ING", predicate)
            add(he, "FIN", predicate)
            add(they, "FIN", predicate, plural=True)
            add(by, "PASS", predicate)
    _add_grammar(add)
    return out


def _add_nouns(add: Callable[..., None]) -> None:
    for noun, plural in NOUNS.items():
        words = ((noun, plural), *SPOKEN_SYNONYMS.get(noun, ()), *HEARD_SYNONYMS.get(noun, ()))
        for one, many in words:
            add(one, "NOUN", noun)
            add(many, "NOUN", noun, plural=True)


def _add_grammar(add: Callable[..., None]) -> None:
    for place, nouns in _PLACE_NOUNS.items():
        for phrase in PLACE_PHRASES[place]:
            add(phrase, "PLACE", place)
        for noun in nouns:
            for preposition in ("in", "on", "at", "by", "inside", "inside of", "near", "during"):
                for det in ("", "a ", "the "):
                    if not (place == "night" and preposition in ("in", "on", "by", "near", "inside", "inside of")):
                        add(f"{preposition} {det}{noun}", "PLACE", place)
    for lead in (*SINGULAR_LEADS, *_PLURAL_LEADS.values()):
        add(lead, "LEAD")
    for noun in ("picture", "photo", "image", "photograph", "scene"):
        for det in ("a", "an", "the", "this"):
            for link in ("of", "shows", "showing", "with", "is showing", "is a picture of", "is a photo of"):
                add(f"{det} {noun} {link}", "LEAD")
            for verb in ("is", "are"):
                add(f"in {det} {noun} {verb}", "LEAD")
            add(f"in {det} {noun}", "SKIP")
            for opening in ("in", "on"):
                for verb in ("there is", "there are", "we see", "you can see", "we can see", "one can see"):
                    add(f"{opening} {det} {noun} {verb}", "LEAD")
                    add(f"{opening} {det} {noun} , {verb}", "LEAD")
    for lead in ("there's", "we can see", "one can see", "it shows", "i see", "i can see", "this is", "these are", "this shows"):
        add(lead, "LEAD")
    for number, word in enumerate(NUMBERS[1:], start=1):
        add(word, "NUM", str(number))
        add(str(number), "NUM", str(number))
    for words in ("a pair of", "a couple of", "exactly two", "both"):
        add(words, "NUM", "2")
    for words in ("some", "several", "a few", "a group of", "multiple"):
        add(words, "SOME")
    for words in ("no", "not a", "not any", "not an", "isn't a", "isn't an", "isn't any", "aren't any"):
        add(words, "NO")
    for words, role in {
        "a": "DET", "an": "DET", "the": "DET", "any": "DET", "exactly": "DET", "and": "SEP", ",": "SEP",
            "while": "SEP",
        "but": "SEP", "also": "SKIP", "as well as": "SEP", "which": "REL", "that": "REL", "who": "REL", "with": "WITH",
            "without": "WITHOUT",
        "in": "IN", "dressed in": "IN", "wearing": "IN",
        "who wears": "IN", "that wears": "IN", "being": "SKIP", "just": "SKIP", "there": "SKIP",
        "but not": "BUTNOT", "together with": "WITH", "along with": "WITH",
    }.items():  # fmt: skip
        add(words, role)
    for one, several, role in (("is", "are", "COP"), ("stands", "stand", "COP"), ("wears", "wear", "WEARS")):
        add(one, role)
        add(several, role, plural=True)
    for owner in ("his", "her", "its", "their"):
        add(owner, "DET")
        for hands in ("hand", "hands", "mouth"):
            add(f"in {owner} {hands}", "SKIP")
    for word in ("colored", "coloured", "very"):
        add(word, "SKIP")
    for word in NEUTRAL_POSTURES:
        add(word, "POSTURE")
    for word in CLOTHES:
        add(word, "SHIRT")
        add(word + "s", "SHIRT")
