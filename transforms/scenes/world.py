"""The closed world of the scenes: the things in it, their appearance and the words for them.

Everything here is data. Lengths are pixels in a picture of `WIDTH` x `HEIGHT` at middle distance; `aspect` is width / height.
Words are plain English that any translator or parser understands.
"""

from __future__ import annotations

from dataclasses import dataclass

WIDTH, HEIGHT = 288, 216

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 38, 40), "orange": (246, 138, 24), "yellow": (250, 216, 48), "green": (44, 156, 68), "blue": (44, 96, 208),
    "purple": (126, 56, 172), "pink": (250, 148, 190), "brown": (124, 74, 38), "black": (42, 42, 46),
    "white": (246, 246, 244), "gray": (140, 143, 150),
}  # fmt: skip
SIZES = ("small", "large")  # "medium" occurs only in the ground truth: no word claims it
SIZE_FACTOR = {"small": 0.72, "medium": 1.0, "large": 1.34}
PATTERNS = ("striped", "spotted", "checkered")
MATERIALS = ("wooden",)
ATTRIBUTES = (*COLOURS, *SIZES, *PATTERNS, *MATERIALS)

SPATIAL = ("left of", "right of", "above", "below", "on", "under", "behind", "in front of", "next to")
ACTIONS = ("holding", "riding", "sitting on", "chasing", "looking at", "kicking", "flying", "walking")
PREDICATES = SPATIAL + ACTIONS
INVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above", "behind": "in front of",
           "in front of": "behind", "next to": "next to"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Backdrop:
    """A place: the range of its horizon (fraction of the height) and the depths, 0 near to 1 far, that are ground or water.

    `says` are the place words that are true of it, `perhaps` those that are undecidable.
    """

    name: str
    horizon: tuple[float, float]
    ground: tuple[float, float]
    water: tuple[float, float] | None = None
    sky: bool = True
    weight: float = 1.0
    says: tuple[str, ...] = ()
    perhaps: tuple[str, ...] = ()


BACKDROPS: dict[str, Backdrop] = {
    backdrop.name: backdrop
    for backdrop in (
        Backdrop("beach", (0.34, 0.42), (0.0, 0.66), (0.80, 0.95), says=("beach",), perhaps=("lake",)),
        Backdrop("street", (0.40, 0.46), (0.0, 0.95), weight=1.3, says=("street",)),
        Backdrop("room", (0.48, 0.56), (0.0, 0.85), sky=False, weight=2.2, says=("room",)),
        Backdrop("park", (0.38, 0.46), (0.0, 0.95), weight=1.3, says=("park",), perhaps=("field",)),
        Backdrop("snow", (0.40, 0.48), (0.0, 0.95), says=("snow",), perhaps=("field", "park")),
        Backdrop("lake", (0.36, 0.42), (0.0, 0.36), (0.52, 0.95), says=("lake",), perhaps=("field", "park", "beach")),
        Backdrop("field", (0.36, 0.44), (0.0, 0.95), says=("field",), perhaps=("park",)),
        Backdrop("night", (0.42, 0.48), (0.0, 0.95), says=("night", "street")),
    )
}  # fmt: skip

_VIVID = ("red", "orange", "yellow", "green", "blue", "purple", "pink")
_PAINT = (*_VIVID, "black", "white", "gray", "brown")
_FUR = ("brown", "black", "white", "gray")
_EVERYWHERE = tuple(BACKDROPS)
_LAND = ("beach", "park", "snow", "lake", "field")
_OUTSIDE = ("beach", "street", "park", "snow", "lake", "field", "night")
_PICNIC = ("room", "park", "beach", "field", "lake")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object; `over` has the broader nouns that apply to it, `habitat` is ground, air or water."""

    name: str
    plural: str
    over: tuple[str, ...]
    height: float
    aspect: float
    colours: tuple[str, ...]
    places: tuple[str, ...]
    patterns: tuple[str, ...] = ()
    habitat: tuple[str, ...] = ("ground",)
    weight: float = 1.0


_TALL = 96.0
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("dog", "dogs", ("animal", "pet"), 46, 1.25, _FUR, _EVERYWHERE, ("spotted",)),
        Kind("cat", "cats", ("animal", "pet"), 40, 1.2, (*_FUR, "orange"), _EVERYWHERE, ("striped",)),
        Kind("horse", "horses", ("animal",), 88, 1.15, _FUR, _LAND, ("spotted",)),
        Kind("cow", "cows", ("animal",), 70, 1.38, ("brown", "black", "white"), ("park", "snow", "lake", "field"), ("spotted",),
            weight=1.6),
        Kind("sheep", "sheep", ("animal",), 50, 1.25, ("white", "black", "gray", "brown"), ("park", "snow", "lake", "field")),
        Kind("elephant", "elephants", ("animal",), 100, 1.25, ("gray", "brown"), ("beach", "park", "lake", "field")),
        Kind("bird", "birds", ("animal",), 27, 1.25, ("red", "blue", "yellow", "green", "black", "white", "gray"), _OUTSIDE,
             habitat=("ground", "air", "air")),
        Kind("duck", "ducks", ("animal", "bird"), 30, 1.15, ("yellow", "white", "brown", "green"), ("lake", "park", "field"),
             habitat=("ground", "water")),
        Kind("man", "men", ("person", "adult"), _TALL, 0.40, _PAINT, _EVERYWHERE, PATTERNS, weight=1.2),
        Kind("woman", "women", ("person", "adult"), 92, 0.40, _PAINT, _EVERYWHERE, PATTERNS, weight=1.2),
        Kind("boy", "boys", ("person", "child"), 70, 0.43, _PAINT, _EVERYWHERE, PATTERNS),
        Kind("girl", "girls", ("person", "child"), 68, 0.43, _PAINT, _EVERYWHERE, PATTERNS),
        Kind("car", "cars", ("vehicle",), 46, 2.1, _PAINT, ("street", "night", "snow"), weight=2.2),
        Kind("bus", "buses", ("vehicle",), 76, 1.85, ("red", "orange", "yellow", "green", "blue", "white"), ("street", "night"),
            weight=2.5),
        Kind("truck", "trucks", ("vehicle",), 66, 1.75, _PAINT, ("street", "night", "field", "snow"), weight=2.0),
        Kind("bicycle", "bicycles", ("vehicle",), 58, 1.55, _PAINT, ("street", "park", "beach", "night", "field")),
        Kind("boat", "boats", ("vehicle",), 70, 1.15, _PAINT, ("lake", "beach"), ("striped",), ("water",), weight=2.5),
        Kind("airplane", "airplanes", ("vehicle",), 36, 2.4, ("white", "red", "blue", "yellow", "gray", "orange"),
             ("beach", "park", "snow", "lake", "field", "street"), habitat=("air",), weight=0.8),
        Kind("chair", "chairs", ("seat",), 64, 0.68, _PAINT, ("room", "beach", "park"), ("wooden", "wooden", "striped")),
        Kind("table", "tables", (), 50, 1.7, _PAINT, ("room", "park"), ("wooden",)),
        Kind("sofa", "sofas", ("seat",), 56, 2.0, _PAINT, ("room",), PATTERNS, weight=2.0),
        Kind("bench", "benches", ("seat",), 48, 1.9, _PAINT, ("park", "street", "snow", "lake", "beach", "night"), ("wooden",)),
        Kind("tree", "trees", (), 142, 0.68, ("green", "orange", "yellow"), ("park", "field", "lake", "snow", "street"),
            weight=2.2),
        Kind("apple", "apples", ("fruit",), 20, 0.92, ("red", "green", "yellow"), _PICNIC),
        Kind("banana", "bananas", ("fruit",), 20, 1.5, ("yellow", "green"), _PICNIC),
        Kind("cake", "cakes", (), 32, 1.2, ("pink", "white", "brown", "blue", "yellow"), _PICNIC, ("spotted",)),
        Kind("cup", "cups", (), 22, 1.2, _PAINT, _PICNIC, ("striped", "spotted")),
        Kind("book", "books", (), 22, 1.35, _PAINT, _PICNIC),
        Kind("ball", "balls", ("toy",), 24, 1.0, _VIVID, _EVERYWHERE, PATTERNS),
        Kind("kite", "kites", ("toy",), 62, 0.72, _VIVID, _LAND, PATTERNS, ("air",)),
        Kind("balloon", "balloons", ("toy",), 60, 0.46, _VIVID, _EVERYWHERE, ("striped", "spotted"), ("air",)),
        Kind("umbrella", "umbrellas", (), 60, 1.15, _PAINT, _EVERYWHERE, PATTERNS),
    )
}  # fmt: skip

PEOPLE = ("man", "woman", "boy", "girl")
CHILDREN = ("boy", "girl")
ANIMALS = tuple(name for name, kind in KINDS.items() if "animal" in kind.over)
BROADER: dict[str, str] = {"animal": "animals", "pet": "pets", "person": "people", "child": "children", "adult": "adults",
                           "vehicle": "vehicles", "seat": "seats", "fruit": "fruits", "toy": "toys"}  # fmt: skip
NOUNS: dict[str, str] = {**{kind.name: kind.plural for kind in KINDS.values()}, **BROADER}

SPOKEN_SYNONYMS: dict[str, tuple[tuple[str, str], ...]] = {
    "sofa": (("couch", "couches"),), "bicycle": (("bike", "bikes"),), "airplane": (("plane", "planes"),),
    "cup": (("mug", "mugs"),), "woman": (("lady", "ladies"),), "child": (("kid", "kids"),), "boat": (("sailboat", "sailboats"),),
}  # fmt: skip
HEARD_SYNONYMS: dict[str, tuple[tuple[str, str], ...]] = {
    "truck": (("lorry", "lorries"),), "car": (("automobile", "automobiles"),), "airplane": (("aeroplane", "aeroplanes"),),
    "person": (("human", "humans"), ("person", "persons")), "horse": (("pony", "ponies"),),
        "umbrella": (("parasol", "parasols"),),
    "dog": (("hound", "hounds"),), "man": (("guy", "guys"), ("gentleman", "gentlemen"), ("male", "males")),
    "woman": (("female", "females"),),
    "sofa": (("settee", "settees"),),
    "boat": (("sailing boat", "sailing boats"), ("ship", "ships")), "duck": (("drake", "drakes"),),
    "ball": (("beach ball", "beach balls"),), "child": (("youngster", "youngsters"),), "balloon": (("baloon", "baloons"),),
    "fruit": (("piece of fruit", "pieces of fruit"), ("fruit", "fruit")), "bicycle": (("cycle", "cycles"),),
}  # fmt: skip

EXTENSION: dict[str, frozenset[str]] = {
    noun: frozenset(kind.name for kind in KINDS.values() if noun == kind.name or noun in kind.over) for noun in NOUNS
}
"""The kinds that a noun covers: "bird" covers birds and ducks, "child" covers boys and girls."""

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def article(words: str) -> str:
    """The indefinite article for `words`: "an" before a vowel letter ("an orange cat"), else "a"."""
    return "an" if words[:1].lower() in "aeiou" else "a"


def clothed(noun: str) -> bool:
    """Whether colour and pattern words with `noun` describe clothes ("a man in red"): true of people."""
    return bool(EXTENSION[noun] & set(PEOPLE))
