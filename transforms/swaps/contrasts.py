"""Mutually exclusive attributes, prepositions and verbs: they make a swapped caption false rather than merely different.

Words of the same class exclude each other unless a set in `_ALIKE` contains both. Words without a class are swapped only for
their opposites, or WordNet antonyms. Most of these are a matter of degree or do not show in a picture: `gradable` tells them.
"""

from __future__ import annotations

import re
from functools import cache

from transforms.english.wordnet import lexicon

_CLASSES: dict[str, str] = {
    "colour": "red blue green yellow orange purple pink brown black white gray grey tan beige blond blonde turquoise violet "
    "maroon silver "
    "gold golden teal",
    "material": "wooden wood metal metallic brick stone plastic glass leather concrete cement marble steel wicker rubber paper "
    "cardboard "
    "ceramic porcelain denim tile bamboo",
    "pattern": "striped spotted checkered checked plaid floral plain polka-dot camouflage paisley",
    "weather": "sunny rainy snowy cloudy foggy stormy overcast",
    "ground": "grassy sandy rocky snowy muddy paved dusty icy dirt gravel",
    "shape": "round square rectangular triangular oval heart-shaped",
    "posture": "sitting standing lying laying kneeling crouching sleeping walking running jumping flying swimming squatting "
    "dancing "
    "skateboarding surfing skiing snowboarding swimming climbing grazing eating drinking parked",
    "season": "winter summer autumn",
    "taste": "sweet sour salty spicy bitter",
    "stage": "raw cooked grilled fried burnt baked",
    "animal": "stuffed live",
}
_DEFINITE = (
    "open|closed shut", "bare leafless|leafy", "male|female", "indoor|outdoor", "left|right", "single|double triple",
    "sliced cut chopped|whole uncut", "bearded|beardless clean-shaven", "lit|unlit", "moving|parked stationary", "awake|asleep sleeping",
    "shirtless|clothed", "barefoot|booted", "painted|unpainted", "broken|intact", "upper|lower",
)  # fmt: skip
_GRADABLE = (
    "small little tiny miniature|large big huge giant enormous massive", "short|tall", "short|long", "thick|thin", "wide broad|narrow",
    "young baby little|old elderly older aged", "new modern brand-new|old antique vintage rusty", "wet|dry", "empty|full",
    "crowded busy packed|empty deserted vacant", "clean|dirty filthy", "dark dim|bright sunny", "fresh ripe|rotten",
    "smooth|rough bumpy", "hot|cold frozen icy", "happy smiling|sad crying angry", "front|back rear", "calm|rough choppy stormy",
    "curly wavy|straight", "flat|hilly mountainous steep", "cluttered messy|tidy neat clean", "fluffy|smooth bald",
    "clear blue|cloudy overcast", "healthy|sick", "modern|traditional ancient", "shallow|deep", "steep|flat gentle", "lush|barren",
    "overweight fat|thin slim", "high|low", "loaded|unloaded empty", "ripe|unripe",
)  # fmt: skip
_ALIKE = (
    "black brown",
    "gray grey blue",
    "yellow tan beige gold golden",
    "brown red maroon orange",
    "white yellow cream beige",
    "gray grey silver black white",
    "brown tan beige blond blonde orange gold golden wooden",
    "blond blonde golden yellow gold",
    "purple violet maroon pink",
    "maroon red orange pink",
    "blue turquoise teal green",
    "blue purple violet",
    "black green",
    "tan beige blond blonde red",
    "white beige silver tan",
    "wooden wood bamboo",
    "metal metallic steel",
    "brick stone concrete cement tile marble",
    "ceramic porcelain glass tile",
    "paper cardboard",
    "plastic rubber",
    "checkered checked plaid",
    "cloudy overcast foggy rainy stormy snowy",
    "sandy dusty dirt gravel rocky muddy",
    "lying laying sleeping",
    "walking running jumping",
    "jumping flying skateboarding snowboarding skiing surfing",
    "standing eating drinking grazing walking",
    "sitting eating drinking",
    "kneeling crouching squatting sitting",
    "swimming surfing",
    "standing surfing skateboarding skiing snowboarding",
    "round oval",
    "square rectangular",
    "cooked grilled fried baked burnt",
    "running skiing",
    "crouching surfing",
    "standing dancing",
    "climbing walking standing",
    "lying sitting",
    "snowy icy",
    "denim blue",
    "sitting parked",
    "plain floral",
    "sleeping sitting standing",
)

PREPOSITIONS: dict[str, tuple[str, ...]] = {
    "on": ("under", "beneath", "below"), "on top of": ("under", "beneath", "inside"),
    "in": ("outside", "under", "above"), "under": ("on", "on top of", "above"), "below": ("above", "on top of"),
    "beneath": ("on", "on top of", "above"), "underneath": ("on", "on top of", "above"), "above": ("below", "under", "beneath"),
    "over": ("under", "beneath", "below"), "behind": ("in front of", "on top of"), "in front of": ("behind", "inside"),
    "inside": ("outside", "on top of"), "outside": ("inside",), "next to": ("far from", "inside"), "beside": ("far from",
    "inside"),
    "near": ("far from", "inside"), "by": ("far from",), "close to": ("far from",), "between": ("above", "far from"),
    "among": ("above", "far from"), "around": ("far from", "inside"), "through": ("around", "over", "under"), "into": ("out of",),
    "out of": ("into",), "to": ("from", "away from"), "from": ("to", "into"), "up": ("down",), "down": ("up",),
    "towards": ("away from",), "toward": ("away from",), "away from": ("towards",), "off": ("onto",), "onto": ("off",),
    "against": ("far from",), "left of": ("right of",), "right of": ("left of",), "to left of": ("to right of",),
    "to right of": ("to left of",), "at": ("far from",), "along": ("far from", "above"), "alongside": ("far from",),
    "on left of": ("on right of",),
    "on right of": ("on left of",),
    "on left side of": ("on right side of",), "on right side of": ("on left side of",), "in back of": ("in front of",),
}  # fmt: skip

_VERB_SETS: dict[str, str] = {
    "posture": "sit stand lie lay kneel crouch squat sleep hang",
    "motion": "walk run jump fly swim ride drive climb ski surf skateboard slide roll dive gallop march crawl sail float",
    "hand": "hold throw kick eat push pull feed wash cut brush chase paint lift lick bite hug pet drop catch hit carry ride "
    "drive cook drink "
    "open close milk sell read fix build climb clean",
    "voice": "sing shout",
}
_VERBS_ALIKE = (
    "sit lie lay kneel crouch squat hang",
    "sit ride drive sail float",
    "stand ride surf skateboard ski climb walk",
    "lie lay sleep",
    "walk run march climb",
    "run gallop jump",
    "fly jump float",
    "swim float surf dive",
    "slide ski surf ride skateboard jump",
    "hold carry eat read lift feed brush throw catch cut lick drink pet open hit cook pull push kick hug bite drop paint",
    "ride drive",
    "kick chase",
    "push pull carry lift",
    "wash clean brush",
    "cut eat cook",
    "feed pet hug",
    "sit sleep",
    "stand sleep",
    "jump skateboard",
    "crawl lie",
    "ride jump walk run chase",
    "sell open close",
    "eat bite lick drink",
    "throw drop",
    "catch chase",
    "hit kick throw catch",
    "fix build paint",
    "ride fly",
    "roll drive slide",
    "paint clean wash",
)
# Relations that hold between nearly any two things in a picture, or that merely rephrase another: never a replacement.
WEAK = frozenset(
    "be have see show look watch use enjoy do make get take near with by beside wear hold carry next face pose wait "
    "prepare "
    "try go come display include contain feature stare gaze play view".split()
)


def _groups(sets: tuple[str, ...]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for words in sets:
        for word in words.split():
            found.setdefault(word, set()).update(words.split())
    return found


_ALIKE_OF = _groups(_ALIKE)
_VERBS_ALIKE_OF = _groups(_VERBS_ALIKE)
_CLASS_OF: dict[str, set[str]] = {}
for _words in _CLASSES.values():
    for _word in _words.split():
        _CLASS_OF.setdefault(_word, set()).update(_words.split())
_AGAINST: dict[str, dict[str, None]] = {}
for _pair in (*_DEFINITE, *_GRADABLE):
    _left, _right = (side.split() for side in _pair.split("|"))
    for _one in _left:
        _AGAINST.setdefault(_one, {}).update(dict.fromkeys(_right))
    for _one in _right:
        _AGAINST.setdefault(_one, {}).update(dict.fromkeys(_left))


@cache
def attribute_class(word: str) -> str:
    """The class of an attribute, "" if it has none."""
    return next((name for name, words in _CLASSES.items() if word in words.split()), "")


_VISIBLE = frozenset(word for pair in _DEFINITE for word in re.split(r"[ |]", pair))
_INVISIBLE = frozenset({"", "weather", "season", "taste", "stage"})


def gradable(word: str) -> bool:
    """Whether people may well disagree about an attribute, since it is a matter of degree, vague, or not seen in a picture."""
    return attribute_class(word) in _INVISIBLE and word not in _VISIBLE


# WordNet's "old" is gray, as hair is; in a picture the two are independent.
_UNLIKE = frozenset(frozenset((one, other)) for one in ("gray", "grey") for other in ("old", "hoary"))


@cache
def alike(word: str, other: str) -> bool:
    """Whether of what has the second attribute people may say the first: it means the same, or the same as one that overlaps it."""
    return any(same(word, near) for near in (other, *_ALIKE_OF.get(other, ())))


@cache
def compatible(relation: str, other: str) -> bool:
    """Whether two relations end in the same preposition, or in two that exclude the same third one ("under" and "beneath")."""
    one, two = _preposition(relation), _preposition(other)
    return one.rsplit(" ", 1)[-1] == two.rsplit(" ", 1)[-1] or not set(PREPOSITIONS.get(one, ())).isdisjoint(PREPOSITIONS.get(two, ()))


def _preposition(relation: str) -> str:
    """The longest known preposition that the relation ends with, or else its last word."""
    words = relation.split(" ")
    return next((end for at in range(len(words)) if (end := " ".join(words[at:])) in PREPOSITIONS), words[-1])


@cache
def same(word: str, other: str) -> bool:
    """Whether two attributes are equal or synonymous."""
    return word == other or (frozenset((word, other)) not in _UNLIKE and lexicon().synonyms(word, other, "a"))


@cache
def contrasting_attributes(word: str, known: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Attributes that exclude `word`, closest first; `known` are the attributes in the corpus, for WordNet antonyms."""
    found = dict.fromkeys(_AGAINST.get(word, {}))
    near = _ALIKE_OF.get(word, set()) | {word}
    found.update(dict.fromkeys(sorted(_CLASS_OF.get(word, set()) - near)))
    if not found and not word.endswith(("ing", "ed")):
        found.update(dict.fromkeys(other for other in known if lexicon().antonyms(word, other)))
    return tuple(found)


# Annotators disagree on animals' postures: one's "sitting" is another's "standing".
_ANIMAL_POSTURES = frozenset("sit stand perch rest lie lay walk graze".split())


def exclusive_for(subject_class: str, one: str, other: str) -> bool:
    """Whether two verbs are mutually exclusive for a subject of this broad class."""
    if subject_class == "noun.animal" and one in _ANIMAL_POSTURES and other in _ANIMAL_POSTURES:
        return False
    return exclusive_verbs(one, other)


@cache
def exclusive_verbs(one: str, other: str) -> bool:
    """Whether two verbs are mutually exclusive: as far as a photograph shows, nothing does both at once to the same thing."""
    if one == other or other in WEAK or other in _VERBS_ALIKE_OF.get(one, ()) or lexicon().close(one, other, "v"):
        return False
    classes = [name for name, words in _VERB_SETS.items() if one in words.split()]
    others = [name for name, words in _VERB_SETS.items() if other in words.split()]
    moving = {"posture", "motion"}
    if not set(classes) & set(others) and not (moving & set(classes) and moving & set(others)):
        return False
    return not lexicon().synonyms(one, other, "v") and not lexicon().hypernym(other, one, "v")
