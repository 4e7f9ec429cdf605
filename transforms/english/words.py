"""Closed word lists for the rules."""

from __future__ import annotations

NOUN_TAGS = frozenset({"NN", "NNS", "NNP", "NNPS"})
VERB_TAGS = frozenset({"VB", "VBD", "VBG", "VBN", "VBP", "VBZ"})
PLURAL_TAGS = frozenset({"NNS", "NNPS"})
BE = frozenset({"is", "are", "was", "were"})

NUMBERS: dict[str, int] = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12,
}  # fmt: skip
VAGUE_COUNTS = frozenset({"several", "many", "few", "some", "numerous", "multiple", "various"})

# "A group of people": the people are the object, "group" is the measure. Value: the count that the measure states, 0 for none.
MEASURES: dict[str, int] = {
    "group": 0, "bunch": 0, "piece": 0, "slice": 0, "couple": 2, "pair": 2, "row": 0, "pile": 0, "stack": 0, "lot": 0,
    "variety": 0, "number": 0, "herd": 0, "flock": 0, "crowd": 0, "set": 0, "kind": 0, "type": 0, "sort": 0,
    "patch": 0, "collection": 0, "cluster": 0, "bit": 0, "part": 0, "assortment": 0, "array": 0, "line": 0, "team": 0,
    "trio": 3, "dozen": 12, "ton": 0, "selection": 0, "series": 0, "mixture": 0, "sheet": 0, "strip": 0, "section": 0, "chunk": 0,
    "hundred": 0,
}  # fmt: skip

# Nouns that only give a location: "on the side of the road" is one relation.
PLACES = frozenset({
    "side", "top", "front", "middle", "edge", "end", "bottom", "corner", "back", "left", "right", "center", "centre", "rear",
    "base", "foot", "inside", "outside", "background", "foreground", "rim", "tip", "midst", "half", "portion",
})  # fmt: skip
# Nouns for the picture itself, which is not an object in the scene.
FRAMES = frozenset({"photo", "picture", "image", "photograph", "view", "shot", "close", "closeup", "scene"})

COPULAS = frozenset({"be", "look", "seem", "appear", "become", "remain", "stay", "get"})
LIGHT_ADVERBS = frozenset({"down", "up", "directly", "just", "right", "together", "out", "over", "off", "away", "back", "close",
                           "while", "still", "along", "around", "all", "very", "far", "upside"})  # fmt: skip
RELATION_ADVERBS = frozenset({"next", "close", "adjacent", "near", "together", "ahead", "away", "outside", "inside", "opposite",
                              "parallel"})  # fmt: skip

SUBSTANCES = frozenset({
    "metal", "brick", "glass", "stone", "plastic", "wood", "wooden", "leather", "concrete", "tile", "cement", "dirt", "marble", "steel",
    "golden", "woolen",
    "wicker", "rubber", "paper", "cardboard", "gold", "silver", "copper", "brass", "iron", "denim", "straw", "fabric", "cotton",
    "wool", "fur", "lace", "granite", "aluminum", "chrome", "ceramic", "porcelain", "cloth", "silk", "velvet", "bamboo", "clay",
    "orange", "pink", "baby", "adult", "rock", "foam", "canvas", "asphalt", "gravel", "bronze", "linen", "khaki", "camouflage",
    "turquoise", "beige", "tan", "cream", "peach", "maroon", "violet", "lavender", "teal",
})  # fmt: skip
COLOURS = frozenset({"red", "blue", "green", "yellow", "orange", "purple", "pink", "brown", "black", "white", "gray", "grey",
"tan",
                     "beige", "blond", "blonde", "turquoise", "violet", "maroon", "gold", "silver", "cream", "haired", "teal",
                     "golden"})  # fmt: skip
SHADES = frozenset({"dark", "light", "bright", "pale", "deep", "off"})
# Adjectives that do not denote a visible property.
EMPTY_ADJECTIVES = frozenset({"other", "same", "such", "own", "many", "several", "few", "more", "various", "different",
"numerous",
                              "multiple", "another", "next", "single", "most", "much", "double", "certain", "main"})  # fmt: skip
SUBJECT_PRONOUNS = frozenset({"that", "which", "who", "whom"})
# Pronoun -> number that its antecedent must have.
PRONOUNS: dict[str, str] = {
    "it": "singular", "itself": "singular", "him": "singular", "himself": "singular", "her": "singular", "herself": "singular",
    "them": "plural", "themselves": "plural", "they": "plural", "he": "singular", "she": "singular",
}  # fmt: skip
