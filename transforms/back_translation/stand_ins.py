"""Stand-ins: words that a translator is unlikely to keep are replaced by words that it knows, and put back afterwards.

A giraffe is translated as a dog, and the dog that comes back is the giraffe again. Stand-ins have the class, number and countability of
the word that they replace, and occur nowhere else in the caption, so each can be found again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import lru_cache
from typing import NamedTuple

from transforms.back_translation.texts import looked_up, words_of
from transforms.back_translation.truth import Reading
from transforms.english.morphology import article, like, plural
from transforms.english.wordnet import lexicon
from transforms.english.words import COLOURS, NOUN_TAGS, SHADES, VERB_TAGS

Kept = Mapping[tuple[str, str], float]  # (word, part of speech) -> share of round trips that keep it

_COUNTABLE = (
    "man", "woman", "boy", "girl", "child", "dog", "cat", "horse", "bird", "cow", "car", "truck", "bus", "train", "boat", "bicycle",
    "motorcycle", "chair", "table", "bench", "bed", "sandwich", "cake", "pizza", "apple", "shirt", "hat", "jacket", "ball", "box", "bag",
    "bottle", "book", "guitar", "umbrella", "camera", "phone", "computer", "knife", "cup", "bowl", "tree", "flower", "house", "building",
    "bridge", "store", "restaurant", "kitchen", "street", "field", "beach", "park", "river", "mountain", "wall", "window", "door", "sign",
    "rope", "stick", "toy",
)  # fmt: skip
_MASS = ("water", "snow", "grass", "sand", "food", "beer", "wood", "music")
_PAIRS = ("glasses", "jeans", "shorts", "gloves", "sunglasses")  # plurals of things that are worn
_PLURALS = (*(plural(noun) for noun in _COUNTABLE), *_PAIRS)
NOUNS = (*_COUNTABLE, *_MASS, *_PLURALS)
ADJECTIVES = ("red", "blue", "green", "white", "black", "yellow", "brown", "pink", "orange", "purple", "young", "old", "small", "large")
QUANTITIES = ("two", "three", "four", "five")
_SINGULAR = dict(zip(_PLURALS, _COUNTABLE, strict=False))
_DETERMINERS = frozenset("a an the one each every his her its their this that another".split())
_WORD = re.compile(r"[^\W_]+")


class StandIn(NamedTuple):
    """`word` stands in for `original`, a part of the caption."""

    word: str
    original: str


class Draft(NamedTuple):
    """A text to translate, and the stand-ins in it."""

    text: str
    stand_ins: tuple[StandIn, ...]


class _Slot(NamedTuple):
    """A part of a caption: its span, part of speech, and the candidates for standing in, best first."""

    start: int
    end: int
    part: str
    options: tuple[str, ...]


@lru_cache(maxsize=1 << 16)
def _nearest(lemma: str, options: tuple[str, ...], singulars: tuple[str, ...]) -> tuple[str, ...]:
    """Nouns by similarity to a lemma; ties keep the order."""
    near = {noun: lexicon().similarity(lemma, singular) for noun, singular in zip(options, singulars, strict=True)}
    return tuple(sorted(options, key=lambda noun: -near[noun]))


def _follows_noun(reading: Reading, start: int) -> bool:
    """Whether a noun directly follows another that is no part of it: a verb taken for a noun, as in "a woman poses"."""
    tokens = reading.tokens
    at = tokens.starts.index(start)
    return at > 0 and tokens.tags[at - 1] in NOUN_TAGS and tokens.deps[at - 1] != "compound" and tokens.deps[at] != "compound"


def _slots(reading: Reading) -> Iterator[_Slot]:
    """The objects, adjectives before nouns and exact numbers of a caption."""
    text, graph = reading.tokens.text, reading.graph
    for at, thing in enumerate(graph.objects):
        if at not in reading.things or _follows_noun(reading, thing.start):
            continue
        counted = thing.phrase_start < thing.start and text[thing.phrase_start : thing.start].split()[0].lower() in _DETERMINERS
        if thing.number == "plural":
            options = _nearest(thing.head, _PLURALS, (*_COUNTABLE, *_PAIRS))
        elif counted:
            options = _nearest(thing.head, _COUNTABLE, _COUNTABLE)
        else:
            options = _nearest(thing.head, _MASS, _MASS)
        yield _Slot(thing.start, thing.end, "noun", options)
    for attribute in graph.attributes:
        if attribute.place == "before" and attribute.tag not in VERB_TAGS:
            colour = not {*COLOURS, *SHADES}.isdisjoint(words_of(attribute.text))
            yield _Slot(attribute.start, attribute.end, "adjective", ADJECTIVES if colour else (*ADJECTIVES[-4:], *ADJECTIVES[:-4]))
    for count in graph.counts:
        if count.value > 1 and " " not in count.text:
            yield _Slot(count.start, count.end, "number", QUANTITIES)


def kept(text: str, part: str, known: Kept, own: Set[str]) -> float:
    """The share of round trips that keep every word of a part of a caption; 0 for words that were not measured, or are not in `own`."""
    return min((known.get((word, part), 0.0) if word in own else 0.0 for word in words_of(text)), default=0.0)


def draft(reading: Reading, known: Kept, least: float, skip: int = 0) -> Draft:
    """A caption with stand-ins for what is kept in less than `least` of the round trips.

    Only words that are always kept stand in. Of `known`, only the caption's own words and the stand-ins' count:
    what other captions say must not matter. `skip`: passes over this many that would do, for other translations of the same caption.
    """
    text = reading.tokens.text
    own = looked_up(text)
    taken = _singulars(words_of(text))
    made: list[tuple[_Slot, StandIn]] = []
    end = len(text) + 1
    for slot in sorted(_slots(reading), key=lambda slot: -slot.start):
        original = text[slot.start : slot.end]
        if slot.end > end or kept(original, slot.part, known, own) >= least:
            continue
        able = [word for word in slot.options if known.get((word, slot.part), 0.0) == 1.0 and taken.isdisjoint(_singulars([word]))]
        if not able:
            continue
        word = able[min(skip, len(able) - 1)]
        taken |= _singulars([word])
        made.append((slot, StandIn(word, original)))
        end = slot.start
    for slot, stand_in in made:
        text = _edited(text, slot.start, slot.end, like(stand_in.original[:1], stand_in.word, slot.start == 0))
    return Draft(text, tuple(stand_in for _, stand_in in reversed(made)))


def _singulars(words: Iterable[str]) -> set[str]:
    """The words, with the singular in place of a stand-in's plural: a translator may confuse the two."""
    return {_SINGULAR.get(word, word) for word in words}


def _edited(text: str, start: int, end: int, words: str) -> str:
    """The text with a span replaced, and the article before it adjusted."""
    before = re.search(r"\b([Aa])n? $", text[:start])
    if before:
        wanted = article(words)
        return text[: before.start()] + before[1] + wanted[1:] + " " + words + text[end:]
    return text[:start] + words + text[end:]


def put_back(text: str, stand_ins: Sequence[StandIn]) -> str | None:
    """The text with the original words in place of the stand-ins; None unless each occurs exactly once, in its number."""
    found = Counter(word[0].lower() for word in _WORD.finditer(text))
    for stand_in in stand_ins:
        forms = [word for word in found if _singulars([word]) == _singulars([stand_in.word])]
        if forms != [stand_in.word] or found[stand_in.word] != 1:
            return None
    # Marks first: an original may contain the word that stands in for another.
    for number, stand_in in enumerate(stand_ins):
        place = next(word for word in _WORD.finditer(text) if word[0].lower() == stand_in.word)
        text = text[: place.start()] + f"\x00{number}\x00" + text[place.end() :]
    for number, stand_in in enumerate(stand_ins):
        start = text.index(f"\x00{number}\x00")
        words = stand_in.original[:1].upper() + stand_in.original[1:] if start == 0 else stand_in.original
        text = _edited(text, start, start + len(str(number)) + 2, words)
    return text
