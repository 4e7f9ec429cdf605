"""Questions, hypotheses, statements and referring expressions about scenes, with known answers, and balanced.

Every text is asked as often with each of its answers, of different scenes. So whoever sees only the text is right for one in as many as the
text has answers, whatever the training set was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import permutations
from typing import NamedTuple

from transforms.scenes.graph import CaptionGraph, Mention
from transforms.scenes.layout import Scene, SceneObject
from transforms.scenes.lexicon import HEIGHT_WORDS, PLACE_PHRASES, PREPOSITIONS
from transforms.scenes.rng import Rng
from transforms.scenes.truth import FALSE, TRUE, UNCLEAR, judge, matches, relation_grade
from transforms.scenes.world import COLOURS, EXTENSION, KINDS, MATERIALS, NOUNS, NUMBERS, SIZES, SPATIAL, article, clothed

LABELS = {FALSE: "contradiction", UNCLEAR: "neutral", TRUE: "entailment"}
_MOST = 6  # objects in a scene


class Asked(NamedTuple):
    """A text with its answer. kind: of question. scenes: the index of the scene, or of both."""

    kind: str
    text: str
    answer: str
    scenes: tuple[int, ...]


def balanced(found: Iterable[Asked], rng: Rng, room: int, most: int, answers: int | None = None) -> list[Asked]:
    """A choice in which every text has each of its answers equally often. The most frequent texts come first, as in any split.

    Args:
        room: the most that is kept of a text with one answer. most: the number of texts ends when it is reached.
        answers: how many answers a text must have; by default as many, at least two, as leave the most to be told apart.
    """
    held: dict[str, dict[str, list[Asked]]] = {}
    seen: dict[tuple[str, str], int] = {}
    for one in found:
        same = held.setdefault(one.text, {}).setdefault(one.answer, [])
        count = seen[one.text, one.answer] = seen.get((one.text, one.answer), 0) + 1
        if len(same) < room:
            same.append(one)
        elif (place := rng.below(count)) < room:  # each of those found is kept with the same probability
            same[place] = one
    chosen: list[Asked] = []
    told_apart = [text for text in rng.shuffled(sorted(held)) if len(held[text]) >= (answers or 2)]
    for text in sorted(told_apart, key=lambda text: -sorted(seen[text, answer] for answer in held[text])[-(answers or 2)]):
        ranked = sorted(held[text].items(), key=lambda pair: (-len(pair[1]), pair[0]))
        if len(chosen) >= most:
            break
        number = answers or max(range(2, len(ranked) + 1), key=lambda number: (number - 1) * len(ranked[number - 1][1]))
        each = len(ranked[number - 1][1])
        chosen += [one for _, same in ranked[:number] for one in rng.shuffled(same)[:each]]
    return chosen


def questions(scene: Scene) -> Iterator[Asked]:
    """Questions about existence, colour, number and position, as people ask them in VQA."""
    at, alone = (scene.index,), _alone(scene)
    for mention in _mentions(scene):
        if (count := _number(scene, mention)) is not None:
            phrase = described(mention)
            yield Asked("existence", f"Is there {article(phrase)} {phrase}?", "yes" if count else "no", at)
            if count and not mention.attributes:
                yield Asked("number", f"How many {NOUNS[mention.noun]} are there?", str(count), at)
    for kind, item in alone.items():
        if item.pattern not in MATERIALS:
            owned = f"{kind}'s shirt" if clothed(kind) else kind
            yield Asked("colour", f"What color is the {owned}?", item.colour, at)
    for kind, predicate, other, grade in _relations(scene, alone):
        if grade != UNCLEAR:
            answer = "yes" if grade == TRUE else "no"
            yield Asked("position", f"Is the {kind} {PREPOSITIONS[predicate][0]} the {other}?", answer, at)


def hypotheses(scene: Scene) -> Iterator[Asked]:
    """Sentences about size, place and position, which the scene entails, contradicts or leaves open."""
    at, alone = (scene.index,), _alone(scene)
    for kind in sorted({item.kind for item in scene.objects}):
        for size in SIZES:
            word = HEIGHT_WORDS[size] if clothed(kind) or kind == "tree" else size
            grade = max(matches(Mention(kind, (size,)), item) for item in scene.objects)
            yield Asked("size", f"There is {article(word)} {word} {kind}.", LABELS[grade], at)
        for place, phrases in PLACE_PHRASES.items():
            verdict = judge(CaptionGraph((Mention(kind),), places=(place,)), scene)
            grade = {"false": FALSE, "unclear": UNCLEAR, "true": TRUE}[verdict]
            yield Asked("place", f"There is {article(kind)} {kind} {phrases[0]}.", LABELS[grade], at)
    for kind, predicate, other, grade in _relations(scene, alone):
        words = f"{article(kind)} {kind} is {PREPOSITIONS[predicate][0]} {article(other)} {other}."
        yield Asked("position", words[0].upper() + words[1:], LABELS[grade], at)


def statements(left: Scene, right: Scene) -> Iterator[Asked]:
    """Sentences about two images, true or false."""
    at = (left.index, right.index)
    for mention in dict.fromkeys((*_mentions(left), *_mentions(right))):
        first, second = (_number(scene, mention) for scene in (left, right))
        if first is None or second is None or not first + second:
            continue
        phrase = described(mention)
        told = {
            f"Both images show {article(phrase)} {phrase}.": first > 0 and second > 0,
            f"Exactly one image shows {article(phrase)} {phrase}.": (first > 0) != (second > 0),
        }
        if not mention.attributes:
            many = NOUNS[mention.noun]
            told[f"The left image has more {many} than the right image."] = first > second
            told[f"Both images show the same number of {many}."] = first == second
            for number in range(2, _MOST):
                told[f"There are exactly {NUMBERS[number]} {many} in the two images."] = first + second == number
        yield from (Asked("statement", text, str(true), at) for text, true in told.items())


def referring(scene: Scene, item: SceneObject) -> str | None:
    """The shortest description by kind and looks that is true of the object and clearly false of all others; None if there is none."""
    looks = [word for word in (item.colour, item.pattern, item.size) if word in item.attributes]
    for words in ((), *((word,) for word in looks), *permutations(looks, 2)):
        mention = Mention(item.kind, tuple(sorted(words)))
        grades = {other.index: matches(mention, other) for other in scene.objects}
        if grades.pop(item.index) == TRUE and set(grades.values()) <= {FALSE}:
            return described(mention)
    return None


def described(mention: Mention) -> str:
    """The words of a mention: "small red ball", "tall man in a striped shirt"."""
    upright = clothed(mention.noun) or mention.noun == "tree"
    sizes = [HEIGHT_WORDS[word] if upright else word for word in mention.attributes if word in SIZES]
    looks = [word for word in mention.attributes if word not in SIZES]
    if looks and clothed(mention.noun):
        return " ".join((*sizes, mention.noun, "in", article(looks[0]), *looks, "shirt"))
    return " ".join((*sizes, *looks, mention.noun))


def _mentions(scene: Scene) -> Iterator[Mention]:
    """Every noun, and each kind that the scene has in each of its colours."""
    yield from map(Mention, NOUNS)
    for kind in sorted({item.kind for item in scene.objects}):
        yield from (Mention(kind, (colour,)) for colour in KINDS[kind].colours if colour in COLOURS)


def _number(scene: Scene, mention: Mention) -> int | None:
    """How many objects a mention describes; None where that is unclear."""
    grades = [matches(mention, item) for item in scene.objects if item.kind in EXTENSION[mention.noun]]
    return None if UNCLEAR in grades else len(grades) - grades.count(FALSE)


def _alone(scene: Scene) -> dict[str, SceneObject]:
    """The objects that are the only ones of their kind, by kind."""
    kinds = [item.kind for item in scene.objects]
    return {item.kind: item for item in scene.objects if kinds.count(item.kind) == 1}


def _relations(scene: Scene, alone: dict[str, SceneObject]) -> Iterator[tuple[str, str, str, int]]:
    """Kind, preposition, kind and grade of every spatial relation between two of these objects."""
    for (kind, item), (other, thing) in permutations(alone.items(), 2):
        for predicate in SPATIAL:
            yield kind, predicate, other, relation_grade(scene, item.index, predicate, thing.index)
