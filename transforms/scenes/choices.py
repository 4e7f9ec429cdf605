"""Questions about scenes with four answers and four rationales to choose from, as in VCR.

A question asks what is there with an object; the rationale says on which side of two others the answer is. Questions come in groups
of four about objects of one kind, with the same four answers, each of which is right once, and so is each pair of sides. So the text alone
does not tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import permutations
from typing import NamedTuple

from transforms.scenes.layout import Scene
from transforms.scenes.rng import Rng
from transforms.scenes.truth import TRUE, relation_grade
from transforms.scenes.world import EXTENSION, article

Sentence = list[str | list[int]]  # words and tags, which are lists of objects
_SIDES = tuple((one, two) for one in ("left", "right") for two in ("left", "right"))


class Choices(NamedTuple):
    """answers, rationales: to choose from; answer, rationale: the numbers of the right ones. scene: its index."""

    scene: int
    question: Sentence
    answers: list[Sentence]
    answer: int
    rationales: list[Sentence]
    rationale: int


class _Found(NamedTuple):
    """What could be asked. shown: the only object of its kind, on these sides of the objects asked and other. kinds: of all objects."""

    scene: int
    asked: int
    shown: int
    other: int
    sides: tuple[str, str]
    kinds: tuple[str, ...]

    @property
    def answer(self) -> str:
        return self.kinds[self.shown]

    def excludes(self, noun: str) -> bool:
        """Whether nothing in the scene is called that."""
        return EXTENSION[noun].isdisjoint(self.kinds)


def choices(scenes: Iterable[Scene], rng: Rng, most: int) -> list[Choices]:
    """Groups of four, at most `most` questions in all, each object being an answer once."""
    held: dict[str, dict[tuple[str, str], list[_Found]]] = {}
    for scene in scenes:
        for one in _found(scene, rng):
            held.setdefault(one.kinds[one.asked], {}).setdefault(one.sides, []).append(one)
    used: set[tuple[int, int]] = set()
    groups: list[list[_Found]] = []
    for kind in sorted(held):
        pools = [rng.shuffled(held[kind].get(sides, [])) for sides in _SIDES]
        while group := _group(pools, used):
            groups.append(group)
    chosen = rng.shuffled(groups)[: most // len(_SIDES)]
    return [_asked(one, [other.answer for other in group], rng) for group in chosen for one in group]


def _found(scene: Scene, rng: Rng) -> Iterator[_Found]:
    """For each object that is the only one of its kind, and each one to ask about, at most one further one for each pair of sides."""
    kinds = tuple(item.kind for item in scene.objects)
    for shown, kind in enumerate(kinds):
        if sum(other in EXTENSION[kind] for other in kinds) > 1:
            continue
        asked = ((side, other) for side in ("left", "right") for other in range(len(kinds)) if other != shown)
        beside = {other: side for side, other in asked if relation_grade(scene, shown, f"{side} of", other) == TRUE}
        pairs = rng.shuffled(list(permutations(beside, 2)))
        held = {(one, beside[one], beside[two]): two for one, two in pairs}
        yield from (_Found(scene.index, one, shown, two, (first, second), kinds) for (one, first, second), two in held.items())


def _group(pools: list[list[_Found]], used: set[tuple[int, int]]) -> list[_Found]:
    """One of each pair of sides, each with an answer that is wrong for the others; empty when there are no more. Adds them to `used`."""
    group: list[_Found] = []
    for pool in pools:
        free = (one for one in pool if (one.scene, one.shown) not in used)
        fits = (one for one in free if all(one.excludes(other.answer) and other.excludes(one.answer) for other in group))
        if (one := next(fits, None)) is None:
            return []
        group.append(one)
    used.update((one.scene, one.shown) for one in group)
    return group


def _asked(one: _Found, answers: list[str], rng: Rng) -> Choices:
    """A question with its choices in random order."""
    asked, shown, other = [one.asked], [one.shown], [one.other]
    offered, sides = rng.shuffled(answers), rng.shuffled(_SIDES)
    return Choices(
        one.scene,
        ["What", "is", "with", asked, "?"],
        [[article(noun).capitalize(), noun] for noun in offered],
        offered.index(one.answer),
        [[shown, first, "of", asked, "and", second, "of", other] for first, second in sides],
        sides.index(one.sides),
    )
