"""Plain sentences in the scenes' vocabulary that belong to no scene: a text-only collection."""

from __future__ import annotations

from transforms.scenes.dice import Dice
from transforms.scenes.lexicon import PLACE_PHRASES, PREPOSITIONS, VERBS
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
    "last week")


def sentence(seed: int, index: int) -> str:
    """Sentence number `index` of the collection `seed`: a general statement, a little story or a scene-like sentence."""
    dice = Dice(seed, STAGE, str(index))
    text = dice.weighted((_scene, _pair, _general, _story, _wish), (4, 2, 2, 2, 1))(dice)
    return text[0].upper() + text[1:]


def _a(dice: Dice, kind: str, rich: float = 0.6) -> str:
    """A noun phrase such as "a large red ball"."""
    words = []
    if dice.chance(rich * 0.5):
        words.append(dice.pick(("small", "large", "little", "big")) if kind not in PEOPLE else dice.pick(("tall", "short")))
    if kind in PEOPLE:
        text = " ".join([*words, kind])
        text = f"{text} in {dice.pick(KINDS[kind].colours)}" if dice.chance(rich) else text
        return f"{article(text)} {text}"
    if KINDS[kind].patterns and dice.chance(rich * 0.4):
        words.append(dice.pick(KINDS[kind].patterns))
    if dice.chance(rich) and "wooden" not in words:
        words.append(dice.pick(KINDS[kind].colours))
    text = " ".join([*words, kind])
    return f"{article(text)} {text}"


def _action(dice: Dice) -> tuple[str, str, str]:
    predicate = dice.pick(tuple(VERBS))
    who = dice.pick(PEOPLE) if predicate not in ("chasing",
        "looking at") or dice.chance(0.5) else dice.pick(("dog", "cat", "horse"))
    what = dice.pick([kind for kind in _FITS[predicate] if kind != who])
    return who, predicate, what


def _where(dice: Dice) -> str:
    return dice.pick(PLACE_PHRASES[dice.pick(tuple(BACKDROPS))])


def _scene(dice: Dice) -> str:
    who, predicate, what = _action(dice)
    text = f"{_a(dice, who)} is {dice.pick(VERBS[predicate])[0]} {_a(dice, what)}"
    return f"{text} {_where(dice)}." if dice.chance(0.5) else f"{text}."


def _pair(dice: Dice) -> str:
    one, other = dice.shuffled(tuple(KINDS))[:2]
    if dice.chance(0.3):
        text = f"there are {NUMBERS[2 + dice.below(4)]} {KINDS[one].plural} and {_a(dice, other)}"
    else:
        predicate = dice.pick(("left of", "right of", "behind", "in front of", "next to"))
        text = f"{_a(dice, one)} is {dice.pick(PREPOSITIONS[predicate])} {_a(dice, other)}"
    return f"{text} {_where(dice)}." if dice.chance(0.5) else f"{text}."


def _general(dice: Dice) -> str:
    kind = KINDS[dice.pick(tuple(KINDS))]
    choice = dice.below(4)
    if choice == 0 and kind.over:
        return f"{kind.plural} are {NOUNS[dice.pick(kind.over)]}."
    if choice == 1 and len(kind.colours) > 1 and kind.name not in PEOPLE:
        one, other = dice.shuffled(kind.colours)[:2]
        return f"some {kind.plural} are {one} and others are {other}."
    if choice == 2:
        return f"you can often see {kind.plural} {dice.pick(PLACE_PHRASES[dice.pick(kind.places)])}."
    return f"many {dice.pick(('people', 'children'))} like {kind.plural} {dice.pick(_TIMES)}." if kind.name not in PEOPLE else (
        f"the {kind.plural} are {_where(dice)} {dice.pick(_TIMES)}."
    )  # fmt: skip


def _story(dice: Dice) -> str:
    _, predicate, what = _action(dice)
    who, animal = dice.pick(PEOPLE), dice.pick(ANIMALS)
    did = dice.pick(_DID[predicate])
    ending = dice.pick((
        f"and {_NAMES[who]} was happy", f"and then {_NAMES[who]} went home", f"while {_a(dice, animal)} watched",
        f"until {_NAMES[who]} saw {_a(dice, animal)}",
            f"because {_NAMES[who]} had lost {_a(dice, dice.pick(('ball', 'book', 'kite', 'cup')))}",
    ))  # fmt: skip
    where = f"{_where(dice)}, " if dice.chance(0.4) else ""
    return f"{where}{_a(dice, who)} {did} {_a(dice, what)} {ending}."


def _wish(dice: Dice) -> str:
    who, what = dice.pick(PEOPLE), _a(dice, dice.pick(tuple(KINDS)), 0.9)
    pattern = dice.pick(PATTERNS)
    return dice.pick((
        f"the {who} would like to draw {what}.", f"the {who} dreams of {what}.", f"did the {who} find {what} {_where(dice)}?",
        f"the {pattern} shirt of the {who} is new.", f"{what} is what the {who} wants to see.",
        f"the {who} asked where {what} was, and it was {dice.pick(SPATIAL[-3:])} {_a(dice, 'tree')}.",
    ))  # fmt: skip
