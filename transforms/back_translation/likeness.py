"""Decides which words of a caption a paraphrase may replace, and by which, while remaining true.

Replacement is directional: a broader word keeps a caption true (a man is a person), a narrower one does not.
"""

from __future__ import annotations

from functools import lru_cache

from transforms.english.morphology import lemmas
from transforms.english.wordnet import lexicon

# Words that annotators use for the same thing but that WordNet separates or lists only as a late sense.
_NOUNS = (
    "bicycle bike cycle", "motorcycle motorbike", "couch sofa settee", "street road", "sidewalk pavement", "airplane aeroplane plane",
    "television tv", "woman lady", "man guy gentleman", "kid child", "ocean sea", "beach shore", "phone telephone",
    "fridge refrigerator", "rug carpet", "racket racquet", "shop store", "truck lorry", "car automobile",
    "photo picture photograph",
    "bathroom restroom", "doughnut donut", "trousers pants", "stone rock", "woods forest", "rail railing", "railroad railway",
    "hill slope",
)  # fmt: skip
# The first word may be replaced by the second, not the reverse.
_BROADER_NOUNS = (
    "cellphone phone",
    "cellphone telephone",
    "mug cup",
    "sailboat boat",
    "frisbee disc",
    "lawn grass",
    "meal food",
)
_VERBS = (
    "hold carry", "chase pursue", "look watch", "look gaze stare", "sit seat", "run jog", "eat munch", "speak talk", "jump leap", "lie lay",
    "fly soar", "throw toss", "walk stroll", "perform do", "prepare make", "begin start",
)  # fmt: skip
_ATTRIBUTES = (
    "small little",
    "large big",
    "wooden wood",
    "gray grey",
    "blond blonde",
    "checkered checked chequered",
    "spotted dotted",
    "old elderly",
    "colorful colourful multicolored",
    "metal metallic",
)
# Words that WordNet or the look-alikes group together but that differ in a photograph.
_APART = {
    "n": ("bathroom toilet", "toilet pot", "bike motorcycle", "bike moped", "bike motorbike", "cat guy", "eye middle", "eye center",
          "store storage", "picture painting", "image painting", "people group", "person adult", "wood forest"),
    "v": ("pull draw", "float swim", "hold keep", "make do", "picture depict"),
    "a": (),
}  # fmt: skip
# Classes of prepositions, as simplified by `_phrase`.
_PREPOSITIONS: dict[str, str] = {
    **dict.fromkeys(("on", "upon", "onto"), "on"), **dict.fromkeys(("on top of", "on top", "atop", "at top of", "over top of"), "top"),
    **dict.fromkeys(("in", "inside", "inside of", "within"), "in"), **dict.fromkeys(("into",), "into"),
    **dict.fromkeys(("next to", "beside", "alongside", "at side of", "on side of", "to side of", "besides"), "beside"),
    **dict.fromkeys(("near", "close to", "nearby", "near to"), "near"),
    **dict.fromkeys(("under", "underneath", "beneath"), "under"), "below": "below",
    **dict.fromkeys(("above", "over", "up above"), "above"),
    **dict.fromkeys(("behind", "in back of", "at back of"), "behind"), **dict.fromkeys(("in front of", "at front of", "before"), "front"),
    **dict.fromkeys(("left of", "to left of", "on left of", "on left side of", "at left of", "left side of", "to left side of"), "left"),
    **dict.fromkeys(("right of", "to right of", "on right of", "on right side of", "at right of", "right side of", "to right side of"),
                    "right"),
    **dict.fromkeys(("in middle of", "amid", "in center of"), "middle"), **dict.fromkeys(("between", "in between", "among"), "between"),
    **dict.fromkeys(("with", "together with", "along with"), "with"),
    **dict.fromkeys(("toward", "towards", "to"), "to"), "by": "by", "at": "at",
}  # fmt: skip
# The first class implies the second.
_WEAKER = {("top", "on"), ("beside", "near"), ("beside", "by"), ("near", "by"), ("middle", "in")}
_LOCATIONS = frozenset(
    """
beach street road park field room sidewalk snow grass city kitchen bathroom court yard garden lawn meadow sand floor ground forest highway
station airport market pavement shore playground parking lot square town path track platform runway pasture countryside
""".split()
)
# Locations that something is not said to be on, in, or at.
_NOT = {
    "on": frozenset("park room city kitchen bathroom garden yard forest station airport market town square countryside".split()),
    "in": frozenset("beach sidewalk floor ground shore court runway platform highway track pavement".split()),
    "at": frozenset("bathroom kitchen street floor ground road grass snow room sidewalk lawn sand path field forest highway".split()),
}
_CROSSED = frozenset("bridge hill ramp fence hurdle rail track road wave water jump mountain".split())  # over them is not above them
_WEAR = frozenset({"wear", "have", "carry", "hold"})
_SAT_IN = ("seat", "vehicle", "public transport")  # or on
_PAIRS = 1 << 18  # word pairs cached per process
LIGHT = frozenset({"locate", "place", "situate", "see", "show", "be", "position", "find"})  # they say next to nothing about a picture
# A paraphrase may omit these, but not add a posture.
POSTURES = frozenset({"sit", "stand", "rest", "lie", "lay", "park", "hang", *LIGHT})


def _sets(lines: tuple[str, ...]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for line in lines:
        for word in line.split():
            found[word] = found.get(word, frozenset()) | frozenset(line.split())
    return found


_BROADER = {(line.split()[0], line.split()[1]) for line in _BROADER_NOUNS}
_SETS = {"n": _sets(_NOUNS), "v": _sets(_VERBS), "a": _sets(_ATTRIBUTES)}
_NEVER = {pos: _sets(lines) for pos, lines in _APART.items()}


def _synonyms(one: str, other: str, pos: str) -> bool:
    """Whether two single words are equal, in one of our sets, or share a synset by one of their first two senses."""
    if one == other or other in _SETS[pos].get(one, ()) or pos == "n" and (one, other) in _BROADER:
        return True
    if other in _NEVER[pos].get(one, ()) or pos == "n" and (other, one) in _BROADER:
        return False
    known = lexicon()
    return bool(set(known.senses(one, pos)[:2]) & set(known.senses(other, pos)[:2]))


@lru_cache(maxsize=_PAIRS)
def same_noun(caption: str, paraphrase: str) -> bool:
    """Whether a caption's noun may become the paraphrase's, both lemmas or compounds with modifiers: equal, a synonym, or a broader
    word from the look-alikes that the swaps' guards use."""
    if caption == paraphrase or joined(caption) == joined(paraphrase):
        return True
    *modifiers, head = caption.replace("-", " ").split() or [caption]
    *others, other = paraphrase.replace("-", " ").split() or [paraphrase]
    if sorted(modifiers) != sorted(others):
        return False
    broader = other not in _NEVER["n"].get(head, ()) and lexicon().close(head, other) and lexicon().is_a(head, other)
    return _synonyms(head, other, "n") or broader


@lru_cache(maxsize=_PAIRS)
def may_stand_for(caption: str, word: str) -> bool:
    """Whether a word of a paraphrase may be a form of a noun that `same_noun` accepts for the caption's."""
    return any(same_noun(caption, lemma) for lemma in lemmas(word))


def joined(words: str) -> str:
    """A compound as one word, without hyphens and spaces."""
    return words.replace("-", "").replace(" ", "")


@lru_cache(maxsize=_PAIRS)
def same_attribute(caption: str, paraphrase: str) -> bool:
    """Whether two attributes mean the same."""
    return joined(caption) == joined(paraphrase) or _synonyms(caption, paraphrase, "a")


@lru_cache(maxsize=_PAIRS)
def same_verb(caption: str, paraphrase: str) -> bool:
    """Whether two verbs, given as lemmas, mean the same."""
    return caption == paraphrase or _synonyms(caption, paraphrase, "v")


_IDLE = frozenset({"the", "a", "an", "its", "his", "her", "their", "right", "directly", "just", "together"})


def _phrase(words: str) -> str:
    """A preposition's words without articles and adverbs that do not change its meaning."""
    return " ".join(word for word in words.split() if word not in _IDLE) or words


def _by_first_word() -> dict[str, list[tuple[str, ...]]]:
    found: dict[str, list[tuple[str, ...]]] = {}
    for words in sorted((tuple(words.split()) for words in _PREPOSITIONS if " " in words), key=lambda words: (-len(words), words)):
        found.setdefault(words[0], []).append(words)
    return found


# All multi-word prepositions, without articles, as word sequences by first word; longer ones first.
PHRASES = _by_first_word()


def preposition_class(words: str) -> str:
    """The class of a preposition, "" for other words."""
    return _PREPOSITIONS.get(words, "")


@lru_cache(maxsize=_PAIRS)
def same_preposition(caption: str, paraphrase: str, thing: str) -> bool:
    """Whether the caption's preposition before `thing` (a noun's lemma) may become the paraphrase's."""
    one, other = (_PREPOSITIONS.get(_phrase(words), _phrase(words)) for words in (caption, paraphrase))
    if one == other == "above" and caption != paraphrase and thing.rsplit(" ", 1)[-1] in _CROSSED:
        return False
    if one == other or (one, other) in _WEAKER:
        return True
    if (one, other) == ("at", "on"):  # one surfs at the beach
        return False
    return {one, other} <= {"on", "in", "at", "along"} and is_location(thing) and thing.rsplit(" ", 1)[-1] not in _NOT.get(other, ())


def is_location(noun: str) -> bool:
    """Whether a noun denotes the location of the picture rather than a thing in it."""
    return noun.rsplit(" ", 1)[-1] in _LOCATIONS


def same_scenery(caption: tuple[str, str], paraphrase: tuple[str, str], thing: str, verbs: frozenset[str]) -> bool:
    """Like `same_link`, for actions at a location, whatever their subject; `verbs` are all verbs of the caption."""
    if not paraphrase[0] or paraphrase[0] in verbs or any(same_verb(verb, paraphrase[0]) for verb in (caption[0], *sorted(verbs)) if verb):
        return same_preposition(caption[1], paraphrase[1], thing) if caption[1] and paraphrase[1] else caption[1] == paraphrase[1]
    return False


def _on_or_in(verb: str, thing: str) -> bool:
    """Whether one rides or sits on a thing as well as in it: a chair, but not a cup."""
    head = thing.rsplit(" ", 1)[-1]
    return verb == "ride" or verb == "sit" and any(lexicon().hypernym(above, head) for above in _SAT_IN)


def same_link(caption: tuple[str, str], paraphrase: tuple[str, str], thing: str) -> bool:
    """Whether a relation, as (verb, preposition) with "" for none, may become another with the same object `thing`."""
    (verb, prep), (other, other_prep) = caption, paraphrase
    if (verb or prep) in ("with", "have") and (other or other_prep) in ("with", "have"):
        return True
    if verb in _WEAR and not prep and not other and other_prep == "with":
        return True
    if {verb or prep, other or other_prep} == {"in", "wear"} or {verb or prep, other or other_prep} == {"with", "wear"}:
        return lexicon().hypernym("clothing", thing)
    if caption == ("dress", "in") and paraphrase in (("wear", ""), ("", "in"), ("wear", "in")):
        return lexicon().hypernym("clothing", thing)
    if {caption, paraphrase} == {("look", "at"), ("watch", "")}:
        return True
    if verb == other and _on_or_in(verb, thing) and prep in ("", "on", "on top of", "in") and other_prep in ("", "on", "in"):
        return True
    if {verb, other} == {"lie", "lay"} and not prep and not other_prep:  # a hen lays an egg
        return False
    if verb != other and not same_verb(verb, other) and not (not other and verb in POSTURES) and not (not verb and other in LIGHT):
        return False
    if not prep or not other_prep:
        return prep == other_prep
    return same_preposition(prep, other_prep, thing)
