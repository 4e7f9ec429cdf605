"""Cheap checks of a paraphrase's truth by words alone: numbers, colours, denials, sides and locations, measures, and the gender of
pronouns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence, Set
from functools import lru_cache
from itertools import pairwise
from typing import Any

from schemas.rejects import Reason
from transforms.english.denials import denials
from transforms.english.morphology import lemmas
from transforms.english.people import female, male
from transforms.english.wordnet import lexicon
from transforms.english.words import COLOURS, MEASURES, NUMBERS, SHADES

SAME_COLOUR = {"grey": "gray", "blonde": "blond", "golden": "gold"}
_COLOUR_WORDS = (COLOURS | SHADES) - {"haired", "off", "deep"}
# Location words by mutually exclusive classes; "on top of" and "in front of" are matched as phrases.
_WHERE = {"left": "left", "right": "right", "above": "above", "over": "above", "under": "under", "underneath": "under", "beneath": "under",
          "below": "under", "behind": "behind", "between": "between", "outside": "outside", "front": "front", "bottom": "bottom",
          "top": "top", "through": "through", "across": "across", "around": "around", "off": "off", "upside": "upside", "inside": "inside",
          "back": "back", "beside": "beside", "next": "beside", "against": "against"}  # fmt: skip
_WHERE["outdoors"] = "outside"
_PHRASES = (("on", "top", "of"), ("in", "back", "of"))
_SOFT = frozenset({"top", "inside", "beside", "across", "around", "back"})  # often paraphrased with other words
_MAP = {"both": 2, "trio": 3}
_SHARES = {"zero": "0", "all": "all", "every": "all", "each": "each", "most": "most", "majority": "most", "half": "half"}
_ORDINALS = frozenset("first second third fourth fifth sixth seventh eighth ninth tenth last".split())
_OWNERS = frozenset("my your his her its our their".split())
_PICTURES = frozenset("photo picture image photograph".split())
_BODY = frozenset("teeth hand hands head face mouth arm arms hair ear ears eyes neck lap shoulder shoulders tongue leg legs feet".split())
_SIZES = frozenset("a an one two large big small little several many multiple various".split())
_FURTHER = frozenset({"other", "another"})
_EACH_OTHER = (("each", "other"), ("one", "another"))
# Words that hedge or limit a claim.
_HEDGES = frozenset("hardly barely scarcely seldom rarely almost nearly only fake pretend pretending".split())
# What follows has not happened, or may not.
_UNREALISED = re.compile(
    r"\b(?:about|ready|prepar(?:es?|ed|ing)|tr(?:y|ies|ied|ying)|attempt(?:s|ed|ing)?|want(?:s|ed|ing)?|pretend(?:s|ed|ing)?) to\b|"
    r"\bmiss(?:es|ed)?\b"
)


def _numbers(words: Sequence[str]) -> Counter[str]:
    """Numbers, as digits, and other quantities: ordinals, decades, "all", "most"."""
    found: Counter[str] = Counter()
    for word, following in zip(words, [*words[1:], ""], strict=True):
        value = NUMBERS.get(word) or MEASURES.get(word) or _MAP.get(word)
        if value and not (word == "one" and following == "another"):
            found[str(value)] += 1
        elif any(character.isdigit() for character in word):
            found[word.lstrip("0") or "0"] += 1
        elif (word in _SHARES and following != "other") or word in _ORDINALS:  # "next to each other"
            found[_SHARES.get(word, word)] += 1
    return found


def _where(words: Sequence[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    at = 0
    while at < len(words):
        if tuple(words[at : at + 3]) in _PHRASES:
            found["behind" if words[at + 1] == "back" else "on"] += 1
            at += 3
            continue
        kind = _WHERE.get(words[at])
        if kind == "top" and words[at - 2 : at] == ["at", "the"]:
            found["at the top"] += 1
        if kind in ("left", "right") and "of" in words[at + 1 : at + 4]:
            found[f"{kind} of"] += 1
        elif kind and kind not in _SOFT:
            found[kind] += 1
        at += 1
    del found["on"], found["beside"]
    return found


def _measures(words: Sequence[str]) -> set[str]:
    """Words of measure, as in "a number of dogs" or "a row of dogs"."""
    found = {word.removesuffix("s") for word, following in pairwise(words) if following == "of"}
    if not {"many", "numerous"}.isdisjoint(words):
        found.add("lot")
    return {"group" if word == "bunch" else word for word in found if MEASURES.get(word) == 0}  # "a pair of" is a number


def words_differ(caption: Sequence[str], paraphrase: Sequence[str]) -> tuple[Reason, str] | None:
    """Why the words alone refute a paraphrase: a reason and a detail, or None. Words are in lower case."""
    for reason, of in ((Reason.NUMBERS_DIFFER, _numbers), (Reason.PLACES_DIFFER, _where)):
        one, other = of(caption), of(paraphrase)
        if one != other:
            return reason, f"{_list(one)} > {_list(other)}"
    own = _measures(caption)
    measures = _measures(paraphrase) - own - ({"group"} if own & {"herd", "flock"} else set())
    if measures:
        return Reason.NUMBERS_DIFFER, f"{min(measures)} of is new"
    one, other = (Counter(SAME_COLOUR.get(word, word) for word in words if word in _COLOUR_WORDS) for words in (caption, paraphrase))
    if one != other:
        return Reason.COLOURS_DIFFER, f"{_list(one)} > {_list(other)}"
    if denials(caption) != denials(paraphrase):
        return Reason.NEGATION_DIFFERS, f"{denials(caption)} denials > {denials(paraphrase)}"
    one, other = (Counter(word for word in words if word in _HEDGES) for words in (caption, paraphrase))
    if one != other:
        return Reason.NEGATION_DIFFERS, f"{_list(one)} > {_list(other)}"
    unrealised = [_UNREALISED.search(" ".join(words)) for words in (caption, paraphrase)]
    if bool(unrealised[0]) != bool(unrealised[1]):
        return Reason.NEGATION_DIFFERS, next(found[0] for found in unrealised if found)
    moved = next((f"{one} {two}" for one, two in pairwise(paraphrase) if one in _FURTHER and _is_moved(two, caption)), None)
    if moved:
        return Reason.OBJECTS_DIFFER, f"{moved} is new"
    mutual, after = (sum(pair in _EACH_OTHER for pair in pairwise(words)) for words in (caption, paraphrase))
    if mutual != after:
        return Reason.RELATIONS_DIFFER, f"{mutual} times each other > {after}"
    added = _points(paraphrase) - _points(caption)
    if added:
        return Reason.OBJECTS_DIFFER, f"{min(added)} is new"
    pictures, more = (sum(word in _PICTURES for word in words) for words in (caption, paraphrase))
    if more > max(1, pictures):
        return Reason.OBJECTS_DIFFER, f"{pictures} pictures > {more}"
    itself = [sum(word.endswith(("self", "selves")) for word in words) for words in (caption, paraphrase)]
    if itself[0] != itself[1]:  # "a man taking a picture of him"
        return Reason.OBJECTS_DIFFER, f"{itself[0]} times itself > {itself[1]}"
    described = _of_measures(paraphrase) - _of_measures(caption)
    if described:
        return Reason.ATTRIBUTES_DIFFER, f"{min(described)} is new"
    owned = _body_parts(caption, _OWNERS) & _body_parts(paraphrase, {"the"})
    if owned:
        return Reason.GARBLED, f"the {min(owned)}"
    apart = next((f"{one} {two}" for one, two in pairwise(caption) if _compound(one, two) and not _together(one, two, paraphrase)), None)
    if apart:
        return Reason.OBJECTS_DIFFER, f"{apart} is lost"
    return _pronouns_differ(caption, paraphrase)


def _body_parts(words: Sequence[str], before: Set[str]) -> set[str]:
    """Parts of the body with one of these words before them: "brushing the teeth" is not said."""
    return {word for at, word in enumerate(words) if word in _BODY and not before.isdisjoint(words[max(0, at - 2) : at])}


def _is_moved(word: str, caption: Sequence[str]) -> bool:
    """Whether the caption has a word, but not after "other": "on other bleachers with spectators"."""
    near = any(caption[at] in _FURTHER and word in caption[at + 1 : at + 4] for at in range(len(caption)))
    return word in caption and not near


def _of_measures(words: Sequence[str]) -> set[str]:
    """Adjectives of a measure: "an open line of cars" is not a line of open cars."""
    found = {one for one, two, of in zip(words, words[1:], words[2:], strict=False) if of == "of" and two.removesuffix("s") in MEASURES}
    return {word for word in found if lexicon().lists(word, "a") and word not in _SIZES}


def _points(words: Sequence[str]) -> Counter[str]:
    """Demonstratives before a noun ("these animals"), except before the picture itself ("this photo shows", "these are")."""
    return Counter(
        word
        for word, following in pairwise(words)
        if word in ("this", "these", "those") and following not in ("is", "are", "shows", "show", *_PICTURES)
    )


@lru_cache(maxsize=1 << 16)
def _compound(first: str, second: str) -> bool:
    """Whether two adjacent words are one noun, whose order matters: a plastic hot dog, a dining room."""
    known = lexicon()
    return known.knows(first, "na") and any(known.lists(f"{first} {lemma}", "n") for lemma in lemmas(second))


def _together(first: str, second: str, words: Sequence[str]) -> bool:
    """Whether the words are still adjacent if both occur at all."""
    if first not in words or second not in words:
        return True  # left to the graphs
    return any(pair == (first, second) for pair in pairwise(words))


def _pronouns_differ(caption: Sequence[str], paraphrase: Sequence[str]) -> tuple[Reason, str] | None:
    """Pronouns need an antecedent of their gender; if both genders occur, pronoun counts must not change. Possessives, "it" and
    "them" must not be added."""
    owned, owning = (sum(word in _OWNERS for word in words) for words in (caption, paraphrase))
    if owning > owned:
        return Reason.OBJECTS_DIFFER, f"{owned} words of ownership > {owning}"
    things, others = (sum(word in ("it", "them") for word in words) for words in (caption, paraphrase))
    if others > things:
        return Reason.OBJECTS_DIFFER, f"{things} times it or them > {others}"
    counts = []
    for name, sex, pronouns in (("he", male, ("he", "him", "his", "himself")), ("she", female, ("she", "her", "hers", "herself"))):
        before, after = (sum(word in pronouns for word in words) for words in (caption, paraphrase))
        if after and not before and not any(sex(word) for word in caption):
            return Reason.OBJECTS_DIFFER, f"nobody is {name} in the caption"
        counts.append((before, after, any(sex(word) for word in caption)))
    if all(there for _, _, there in counts) and any(before != after for before, after, _ in counts):
        return Reason.OBJECTS_DIFFER, "who is he and who is she is not clear"
    return None


def _list(found: Counter[Any]) -> str:
    return " ".join(str(word) for word in sorted(found.elements(), key=str)) or "none"
