"""Which words for people exclude each other: a man may be a surfer but not a woman."""

from __future__ import annotations

_MALE = frozenset(
    "man boy guy gentleman male father son dude businessman husband king cowboy policeman fireman fisherman grandfather uncle".split()
)
_FEMALE = frozenset("woman girl lady female mother daughter businesswoman wife queen bride grandmother aunt waitress".split())
_CHILD = frozenset("boy girl child kid toddler baby infant youth son daughter youngster".split())
_ADULT = frozenset(
    "man woman guy gentleman lady adult father mother businessman businesswoman policeman fireman husband wife groom bride".split()
)
_FACELESS = frozenset("person people crowd someone individual pedestrian human".split())
_GENERIC = frozenset("person people crowd human someone individual pedestrian couple audience family friend player rider spectator".split())


def generic(lemma: str) -> bool:
    """Whether the word says only that there are people."""
    return lemma in _FACELESS


def named(lemma: str) -> bool:
    """Whether the word says only sex or age."""
    return lemma in _MALE or lemma in _FEMALE or lemma in _CHILD or lemma in _ADULT


def incompatible(one: str, other: str) -> bool:
    """Whether `other` cannot replace `one`, both words for people, because a person may well be both."""
    if other in _GENERIC:
        return True
    if named(one) and named(other):
        sexes = (one in _MALE and other in _FEMALE) or (one in _FEMALE and other in _MALE)
        ages = (one in _CHILD and other in _ADULT) or (one in _ADULT and other in _CHILD)
        return not (sexes or (ages and not {one, other} <= _MALE and not {one, other} <= _FEMALE))
    return named(one) != named(other)


def may_be(one: str, other: str) -> bool:
    """Whether somebody called `one`, a word for a person, may also be called `other`: anybody is a person, a girl may be a child."""
    if generic(other) or one == other:
        return True
    known = next((words for words in (_CHILD, _ADULT) if one in words), None)
    if not named(one) or not named(other) or (one in _MALE and other in _FEMALE) or (one in _FEMALE and other in _MALE):
        return False
    return known is None or other in known or not (other in _CHILD or other in _ADULT)


def male(word: str) -> bool:
    """Whether the word denotes a male person."""
    return word in _MALE


def female(word: str) -> bool:
    """Whether the word denotes a female person."""
    return word in _FEMALE
