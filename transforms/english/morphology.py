"""Articles, plurals, verb forms and capitals of replacements."""

from __future__ import annotations

import re
from functools import lru_cache

_LONG_U = re.compile(r"(?:eu|ewe|one\b|once|uni(?!n|m)|us[aeiu]|ut[ei]|ur[aio]n|ukul|ubi|uv)", re.IGNORECASE)
_IRREGULAR_PLURALS = {
    "man": "men", "woman": "women", "child": "children", "person": "people", "foot": "feet", "tooth": "teeth", "goose": "geese",
    "mouse": "mice", "knife": "knives", "leaf": "leaves", "shelf": "shelves", "loaf": "loaves", "half": "halves",
    "calf": "calves",
    "wolf": "wolves", "wife": "wives", "life": "lives", "scarf": "scarves", "sheep": "sheep", "deer": "deer", "fish": "fish",
    "people": "people", "ox": "oxen", "aircraft": "aircraft", "bison": "bison", "hoof": "hooves", "elf": "elves",
    "thief": "thieves",
    "potato": "potatoes", "tomato": "tomatoes", "buffalo": "buffalo", "moose": "moose", "series": "series",
}  # fmt: skip
_IRREGULAR_VERBS: dict[str, tuple[str, str, str]] = {  # lemma: past, past participle, gerund ("" is regular)
    "sit": ("sat", "sat", "sitting"), "stand": ("stood", "stood", "standing"), "lie": ("lay", "lain", "lying"),
    "lay": ("laid", "laid", "laying"), "ride": ("rode", "ridden", "riding"), "run": ("ran", "run", "running"),
    "fly": ("flew", "flown", "flying"), "hold": ("held", "held", "holding"), "throw": ("threw", "thrown", "throwing"),
    "catch": ("caught", "caught", "catching"), "eat": ("ate", "eaten", "eating"), "drink": ("drank", "drunk", "drinking"),
    "drive": ("drove", "driven", "driving"), "swim": ("swam", "swum", "swimming"), "cut": ("cut", "cut", "cutting"),
    "hit": ("hit", "hit", "hitting"), "swing": ("swung", "swung", "swinging"), "hang": ("hung", "hung", "hanging"),
    "put": ("put", "put", "putting"), "wear": ("wore", "worn", "wearing"), "feed": ("fed", "fed", "feeding"),
    "sleep": ("slept", "slept", "sleeping"), "jump": ("", "", ""), "read": ("read", "read", "reading"),
    "write": ("wrote", "written", "writing"), "draw": ("drew", "drawn", "drawing"), "take": ("took", "taken", "taking"),
    "make": ("made", "made", "making"), "leave": ("left", "left", "leaving"), "lead": ("led", "led", "leading"),
    "kneel": ("knelt", "knelt", "kneeling"), "spin": ("spun", "spun", "spinning"), "grind": ("ground", "ground", "grinding"),
    "buy": ("bought", "bought", "buying"), "sell": ("sold", "sold", "selling"), "tie": ("tied", "tied", "tying"),
    "have": ("had", "had", "having"), "be": ("was", "been", "being"), "see": ("saw", "seen", "seeing"), "ski": ("skied", "skied",
    "skiing"),
    "bite": ("bit", "bitten", "biting"), "hide": ("hid", "hidden", "hiding"), "slide": ("slid", "slid", "sliding"),
    "set": ("set", "set", "setting"), "tear": ("tore", "torn", "tearing"), "blow": ("blew", "blown", "blowing"),
    "grow": ("grew", "grown", "growing"), "break": ("broke", "broken", "breaking"), "build": ("built", "built", "building"),
    "lean": ("", "", ""), "steal": ("stole", "stolen", "stealing"), "wash": ("", "", ""), "sing": ("sang", "sung", "singing"),
}  # fmt: skip
_DOUBLED = re.compile(r"^[^aeiou]*[aeiou][bdgklmnprt]$")


@lru_cache(maxsize=1 << 16)
def article(following: str) -> str:
    """"a" or "an" before these words."""
    return "an" if _starts_with_vowel(following) else "a"


def _starts_with_vowel(words: str) -> bool:
    word = words.lstrip("\"'( ")
    if not word:
        return False
    first = word.split(" ", 1)[0].split("-", 1)[0]
    if len(first) <= 3 and first.isupper() and first.isalnum() and first[0].isalpha():  # spelt out: an MP3, an SUV, a TV
        return first[0] in "AEFHILMNORSX"
    if first[0].isdigit():
        return first.startswith("8") or first in ("11", "18")
    if _LONG_U.match(word):
        return False
    return word[0].lower() in "aeiou" or word.lower().startswith(("hour", "honest", "honor", "heir"))


def plural(noun: str) -> str:
    """The plural of a noun or of the last word of a compound."""
    head, _, last = noun.rpartition(" ")
    prefix = head + " " if head else ""
    if last in _IRREGULAR_PLURALS:
        return prefix + _IRREGULAR_PLURALS[last]
    for ending in ("woman", "man", "child"):
        if last.endswith(ending) and last not in ("human", "german"):
            return prefix + last[: -len(ending)] + _IRREGULAR_PLURALS[ending]
    if re.search(r"(?:s|x|z|ch|sh)$", last):
        return prefix + last + "es"
    if re.search(r"[^aeiou]y$", last):
        return prefix + last[:-1] + "ies"
    return prefix + last + "s"


def inflect(verb: str, tag: str) -> str:
    """A verb's form for a Penn tag: VB, VBP, VBZ, VBD, VBN, VBG."""
    past, participle, gerund = _IRREGULAR_VERBS.get(verb, ("", "", ""))
    if tag in ("VB", "VBP"):
        return verb
    if tag == "VBZ":
        if verb in ("have", "be"):
            return {"have": "has", "be": "is"}[verb]
        if re.search(r"(?:s|x|z|ch|sh|o)$", verb):
            return verb + "es"
        return verb[:-1] + "ies" if re.search(r"[^aeiou]y$", verb) else verb + "s"
    if tag == "VBG":
        if gerund:
            return gerund
        if verb.endswith("ie"):
            return verb[:-2] + "ying"
        if verb.endswith("e") and not verb.endswith(("ee", "ye", "oe")):
            return verb[:-1] + "ing"
        return (verb + verb[-1] if _DOUBLED.match(verb) else verb) + "ing"
    irregular = past if tag == "VBD" else participle
    if irregular:
        return irregular
    if verb.endswith("e"):
        return verb + "d"
    if re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ied"
    return (verb + verb[-1] if _DOUBLED.match(verb) else verb) + "ed"


# Endings of plurals and verb forms, and what takes their place in a lemma (after WordNet's morphy, with doubled letters).
_ENDINGS = (("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"), ("ves", "fe"), ("men", "man"), ("children", "child"), ("d", ""), ("ed", ""),
            ("ied", "y"), ("ing", ""), ("ing", "e"), ("ying", "ie"))
_LEMMAS: dict[str, set[str]] = {"has": {"have"}, **{form: {"be"} for form in ("am", "is", "are", "were")}}
for _lemma, _plural in _IRREGULAR_PLURALS.items():
    _LEMMAS.setdefault(_plural, set()).add(_lemma)
for _lemma, _forms in _IRREGULAR_VERBS.items():
    for _form in filter(None, _forms):
        _LEMMAS.setdefault(_form, set()).add(_lemma)


@lru_cache(maxsize=1 << 16)
def lemmas(word: str) -> frozenset[str]:
    """Whatever a word in lower case may be a form of, itself included, and much that is no word: for questions that a lemma too many
    does not spoil. An "'s" is left away, a compound with hyphens gives its parts as well."""
    found = {part for whole in (word, word.removesuffix("'s")) for part in (whole, *whole.split("-"))}
    for part in tuple(found):
        found |= _LEMMAS.get(part, set())
        for ending, instead in _ENDINGS:
            if part.endswith(ending) and len(part) > len(ending):
                stem = part[: len(part) - len(ending)]
                found.add(stem + instead)
                if ending in ("ed", "ing") and not instead and stem[-2:-1] == stem[-1:]:
                    found.add(stem[:-1])
    return frozenset(found)


def like(model: str, words: str, starts_caption: bool) -> str:
    """`words` with the capitals of `model`: all capitals, or a first capital where the model has one at the start of the
    caption."""
    if len(model) > 1 and model.isupper():
        return words.upper()
    if starts_caption and model[:1].isupper():
        return words[:1].upper() + words[1:]
    return words
