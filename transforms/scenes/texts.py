"""A text-only collection: plain sentences in the scenes' vocabulary that do not describe a scene."""

from __future__ import annotations

from transforms.scenes.lexicon import PLACE_PHRASES, PREPOSITIONS, VERBS
from transforms.scenes.rng import Rng
from transforms.scenes.world import ANIMALS, BACKDROPS, KINDS, NOUNS, NUMBERS, PATTERNS, PEOPLE, SPATIAL, article

STAGE = "scenes.texts"
_NAMES = {"man": "he", "woman": "she", "boy": "he", "girl": "she"}
_DID = {"holding": ("held", "carried"), "chasing": ("chased", "ran after"), "looking at": ("looked at", "watched"),
    "kicking": ("kicked",),
        "riding": ("rode",), "sitting on": ("sat on",), "flying": ("flew",), "walking": ("walked",)}  # fmt: skip
_FITS = {"holding": ("ball", "umbrella", "balloon", "book", "cup", "apple", "banana"), "riding": ("horse", "elephant", "bicycle"),
         "sitting on": ("chair", "sofa", "bench"), "flying": ("kite",), "kicking": ("ball",), "walking": ("dog",),
         "chasing": ("dog", "cat", "ball", "duck", "sheep"), "looking at": tuple(KINDS)}  # fmt: skip
_TIMES = ("in the morning", "in the evening", "every day", "after lunch", "in the summer", "in the winter", "on Sundays",
    "last week")  # fmt: skip


def sentence(seed: int, index: int) -> str:
    """Sentence number `index` of collection `seed`: a general statement, a short story or a scene-like sentence."""
    rng = Rng(seed, STAGE, str(index))
    text = rng.weighted((_scene, _pair, _general, _story, _wish), (4, 2, 2, 2, 1))(rng)
    return text[0].upper() + text[1:]


def _a(rng: Rng, kind: str, rich: float = 0.6) -> str:
    """A noun phrase such as "a large red ball"."""
    words = []
    if rng.chance(rich * 0.5):
        words.append(rng.pick(("small", "large", "little", "big")) if kind not in PEOPLE else rng.pick(("tall", "short")))
    if kind in PEOPLE:
        text = " ".join([*words, kind])
        text = f"{text} in {rng.pick(KINDS[kind].colours)}" if rng.chance(rich) else text
        return f"{article(text)} {text}"
    if KINDS[kind].patterns and rng.chance(rich * 0.4):
        words.append(rng.pick(KINDS[kind].patterns))
    if rng.chance(rich) and "wooden" not in words:
        words.append(rng.pick(KINDS[kind].colours))
    text = " ".join([*words, kind])
    return f"{article(text)} {text}"


def _action(rng: Rng) -> tuple[str, str, str]:
    predicate = rng.pick(tuple(VERBS))
    who = rng.pick(PEOPLE) if predicate not in ("chasing", "looking at") or rng.chance(0.5) else rng.pick(("dog", "cat", "horse"))
    what = rng.pick([kind for kind in _FITS[predicate] if kind != who])
    return who, predicate, what


def _where(rng: Rng) -> str:
    return rng.pick(PLACE_PHRASES[rng.pick(tuple(BACKDROPS))])


def _scene(rng: Rng) -> str:
    who, predicate, what = _action(rng)
    text = f"{_a(rng, who)} is {rng.pick(VERBS[predicate])[0]} {_a(rng, what)}"
    return f"{text} {_where(rng)}." if rng.chance(0.5) else f"{text}."


def _pair(rng: Rng) -> str:
    one, other = rng.shuffled(tuple(KINDS))[:2]
    if rng.chance(0.3):
        text = f"there are {NUMBERS[2 + rng.below(4)]} {KINDS[one].plural} and {_a(rng, other)}"
    else:
        predicate = rng.pick(("left of", "right of", "behind", "in front of", "next to"))
        text = f"{_a(rng, one)} is {rng.pick(PREPOSITIONS[predicate])} {_a(rng, other)}"
    return f"{text} {_where(rng)}." if rng.chance(0.5) else f"{text}."


def _general(rng: Rng) -> str:
    kind = KINDS[rng.pick(tuple(KINDS))]
    choice = rng.below(4)
    if choice == 0 and kind.over:
        return f"{kind.plural} are {NOUNS[rng.pick(kind.over)]}."
    if choice == 1 and len(kind.colours) > 1 and kind.name not in PEOPLE:
        one, other = rng.shuffled(kind.colours)[:2]
        return f"some {kind.plural} are {one} and others are {other}."
    if choice == 2:
        return f"you can often see {kind.plural} {rng.pick(PLACE_PHRASES[rng.pick(kind.places)])}."
    return f"many {rng.pick(('people', 'children'))} like {kind.plural} {rng.pick(_TIMES)}." if kind.name not in PEOPLE else (
        f"the {kind.plural} are {_where(rng)} {rng.pick(_TIMES)}."
    )  # fmt: skip


def _story(rng: Rng) -> str:
    _, predicate, what = _action(rng)
    who, animal = rng.pick(PEOPLE), rng.pick(ANIMALS)
    did = rng.pick(_DID[predicate])
    ending = rng.pick((
        f"and {_NAMES[who]} was happy", f"and then {_NAMES[who]} went home", f"while {_a(rng, animal)} watched",
        f"until {_NAMES[who]} saw {_a(rng, animal)}",
            f"because {_NAMES[who]} had lost {_a(rng, rng.pick(('ball', 'book', 'kite', 'cup')))}",
    ))  # fmt: skip
    where = f"{_where(rng)}, " if rng.chance(0.4) else ""
    return f"{where}{_a(rng, who)} {did} {_a(rng, what)} {ending}."


def _wish(rng: Rng) -> str:
    who, what = rng.pick(PEOPLE), _a(rng, rng.pick(tuple(KINDS)), 0.9)
    pattern = rng.pick(PATTERNS)
    return rng.pick((
        f"the {who} would like to draw {what}.", f"the {who} dreams of {what}.", f"did the {who} find {what} {_where(rng)}?",
        f"the {pattern} shirt of the {who} is new.", f"{what} is what the {who} wants to see.",
        f"the {who} asked where {what} was, and it was {rng.pick(SPATIAL[-3:])} {_a(rng, 'tree')}.",
    ))  # fmt: skip
