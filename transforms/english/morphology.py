"""Articles, plurals, verb forms, lemmas and capitals of English words. Forms come from LemmInflect's dictionary (NIH's SPECIALIST
lexicon), loaded on first use."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any

_KEPT = 1 << 16  # results cached per process

# Nouns with the same singular and plural.
INVARIANT = frozenset({
    "aircraft", "bison", "buffalo", "deer", "elk", "fish", "goldfish", "jellyfish", "moose", "offspring", "salmon", "series", "sheep",
    "shrimp", "spacecraft", "species", "starfish", "swine", "trout", "watercraft",
})  # fmt: skip
# Forms that the dictionary lacks, or does not list first although captions prefer them.
_PLURALS = {
    **{noun: noun for noun in (*INVARIANT, "beef", "equipment", "oxen", "taxis")},
    **{noun: noun + "s" for noun in ("casino", "fume", "geisha", "khaki", "marquee", "pita", "polo", "scrub", "snob")},
    "die": "dice", "hoof": "hooves", "ox": "oxen", "person": "people",
}  # fmt: skip
_VERBS = {
    **{(verb, tag): form for tag in ("VBD", "VBN") for verb, form in (
        ("can", "canned"), ("lean", "leaned"), ("leap", "leaped"), ("light", "lit"), ("smell", "smelled"))},
    ("lie", "VBD"): "lay", ("lie", "VBN"): "lain", ("sting", "VBG"): "stinging", ("weave", "VBD"): "wove",
}  # fmt: skip
_MAN = re.compile(r"(?<!^hu)(?<!^ger)(?<!^ro)(?<!^nor)(?<!^otto)(?<!^sha)(?<!^talis)(?<!^dober)(?<!^brah)man$")  # compounds of "man"
# "bird of prey", "mother-in-law", "passer-by": the first part takes the plural.
_LED = re.compile(r"[ -](?:of|in)[ -](?=.)|(?:(?<=er)|(?<=ers))-(?:by|up|on)\Z")

_FIRST = re.compile(r"\d[\d,]*|[^\W_]+")
_VOWEL_NAMES = "aefhilmnorsx"  # letters whose names begin with a vowel sound
_ABBREVIATED = frozenset({"ft", "hr", "lt", "mr", "mrs", "ms", "mt", "sgt", "st"})  # pronounced as words although they have no vowel
# Spelt out letter by letter although they have a vowel.
_SPELT = frozenset("fbi hiv led lsu mba mma mri nba ny nyc rna sos suv ufc ufo uk ups usa usb uv".split())
# Initial vowel letters with a consonant sound: a long u, and "one".
_CONSONANT = re.compile(
    r"eu|ewer?\b|ouija|one(?:s|sies?|self|ness)?\b|once|"
    r"u(?:biq|fo|gan|k[ru]|nanim|ni(?!n|m|d(?!ir))|r[aeiou]|s[aeiu]|t[aeio]|vu)",
    re.IGNORECASE,
)
_SILENT_H = re.compile(r"hour|honou?r|honest|heir|hors\b", re.IGNORECASE)


@cache
def _dictionary() -> Any:
    import lemminflect  # imports spaCy, which planning and reporting do not need

    return lemminflect


@lru_cache(_KEPT)
def article(following: str) -> str:
    """ "a" or "an", whichever fits before these words; quotes and other symbols before the first word are ignored."""
    found = _FIRST.search(following)
    return "an" if found and _begins_with_vowel(found[0], following[found.start() :]) else "a"


def _begins_with_vowel(first: str, words: str) -> bool:
    lower = first.lower()
    if first[0].isdigit():
        digits = first.replace(",", "")
        thousands = len(digits) % 3 == 2 or len(digits) == 4 and digits == first  # 11, 18,000, and 1800 read as eighteen hundred
        return digits[0] == "8" or digits[:2] in ("11", "18") and thousands
    if _is_spelt_out(first):
        return lower[0] in _VOWEL_NAMES
    return bool(_SILENT_H.match(words)) or lower[0] in "aeiou" and not _CONSONANT.match(words)


def _is_spelt_out(word: str) -> bool:
    """Whether a word is spelt out letter by letter: TV, MP3, SUV, the X of X-ray."""
    lower, letters = word.lower(), word.rstrip("0123456789").lower()
    voiceless = len(letters) == 1 or not any(letter in "aeiouy" for letter in letters)
    return lower in _SPELT or word in ("LA", "UN", "US") or voiceless and lower not in _ABBREVIATED


@lru_cache(_KEPT)
def plural(noun: str) -> str:
    """The plural of a noun or multi-word compound. Mass nouns and plurals are returned unchanged."""
    led = _LED.search(noun, 1)
    if led:
        return plural(noun[: led.start()]) + noun[led.start() :]
    before, blank, last = noun.rpartition(" ")
    return before + blank + _plural(last)


def _plural(word: str) -> str:
    if word in _PLURALS:
        return _PLURALS[word]
    if word.isupper() and _is_spelt_out(word):
        return word + "s"
    forms = _dictionary().getAllInflections(word, "NOUN").get("NNS", ())
    alike = _written_alike(forms, word)
    if alike:
        return alike[0]
    if any(lemma != word for lemma in _dictionary().getAllLemmas(word, "NOUN").get("NOUN", ())) or re.search(r"[^sui]s$|..men$", word):
        return word  # men, skis, sunglasses
    before, hyphen, last = word.rpartition("-")
    if hyphen:
        return before + hyphen + _plural(last)
    if _MAN.search(word):
        return word[:-2] + "en"
    return str(_dictionary().getAllInflectionsOOV(word, "NOUN")["NNS"][0])


def _written_alike(forms: Iterable[str], word: str) -> list[str]:
    """The forms with hyphens, spaces and periods where the word has them: "meatloaves" but not "meat loaves" for "meatloaf"."""
    signs = [sign for sign in word if not sign.isalpha()]
    return [form for form in forms if [sign for sign in form if not sign.isalpha()] == signs]


@lru_cache(_KEPT)
def inflections(verb: str, tag: str) -> tuple[str, ...]:
    """A verb's forms for a Penn tag (VB, VBP, VBZ, VBD, VBN, VBG), the usual one first: lit, lighted."""
    if tag in ("VB", "VBP"):
        return (verb,)
    forms = _dictionary().getInflection(verb, tag)
    usual = _VERBS.get((verb, tag)) or (_written_alike(forms, verb) or _dictionary().getAllInflectionsOOV(verb, "VERB")[tag])[0]
    return (usual, *(form for form in forms if form != usual))


def inflect(verb: str, tag: str) -> str:
    """A verb's usual form for a Penn tag."""
    return inflections(verb, tag)[0]


# Endings of plurals and verb forms, and their replacements in the lemma (after WordNet's morphy, plus doubled letters).
_ENDINGS = (("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"), ("ves", "fe"), ("men", "man"), ("children", "child"), ("d", ""), ("ed", ""),
            ("ied", "y"), ("ing", ""), ("ing", "e"), ("ying", "ie"), ("es", "is"), ("ides", "is"), ("i", "us"), ("a", "um"))  # fmt: skip
_LEMMAS = {form: lemma for lemma, form in (*_PLURALS.items(), *((verb, form) for (verb, _), form in _VERBS.items()))}


@lru_cache(_KEPT)
def lemmas(word: str) -> frozenset[str]:
    """All lemmas that a lower-case word may be a form of, including itself, and many non-words: for uses where extra lemmas do no harm.
    A final "'s" is stripped; a hyphenated compound also gives its parts."""
    found = {part for whole in (word, word.removesuffix("'s")) for part in (whole, *whole.split("-"))}
    for part in tuple(found):
        found.add(_LEMMAS.get(part, part))
        found.update(*_dictionary().getAllLemmas(part).values())
        for ending, instead in _ENDINGS:
            if part.endswith(ending) and len(part) > len(ending):
                stem = part[: len(part) - len(ending)]
                found.add(stem + instead)
                if ending in ("ed", "ing") and not instead and stem[-2:-1] == stem[-1:]:
                    found.add(stem[:-1])
    return frozenset(found)


def like(model: str, words: str, starts_sentence: bool) -> str:
    """`words` capitalised like `model`: all capitals, unless it is an abbreviation, or an initial capital if it has one and starts a
    sentence."""
    if len(model) > 1 and model.isupper() and not _is_spelt_out(model):
        return words.upper()
    if starts_sentence and model[:1].isupper():
        return words[:1].upper() + words[1:]
    return words
