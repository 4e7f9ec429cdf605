"""Decides whether a caption is true of a scene, from the scene's record alone.

A caption is TRUE if its mentions can be assigned to distinct objects of the scene such that every claim holds, FALSE if under
every assignment some claim clearly fails, UNCLEAR otherwise: geometry near a threshold is neither true nor false.

Mentions
    A noun applies to every kind it covers (`EXTENSION`: a dog is an animal, a duck is a bird). Colour and pattern words apply as
    recorded; for people they describe the shirt. "small" and "large" refer to scale relative to the kind: each is false of the
    other and unclear for things of medium size. "a dog" requires at least one; "dogs" at least two; "two dogs" exactly two
    objects of that description in the whole scene, and "one dog" exactly one. A relation of a counted or plural mention must
    hold for each of its members. "no dog" holds if there is no object of that description (and with those relations to the
    objects of the other mentions). An object that is less than 60 % visible cannot support a clear verdict.
Places
    "on the beach" is true of the backdrops that say so, unclear for similar ones (`Backdrop.perhaps`), else false.
Recorded relations
    Actions are true only if recorded, never inferred; else false, except: "looking at" is unclear for something in front of the
    subject's face, and "sitting on" is unclear for a rider or for an animal that is on the thing.
    "on" is true for things recorded as resting, sitting or riding on something, unclear if the boxes touch at that edge, else
    false. "under" is true if recorded, of the thing that something is on, and if "below" is.
Relations from geometry (W is the picture's width, boxes in pixels)
    "left of": centres differ by at least 8 % of W and the boxes overlap horizontally by at most a quarter of the narrower width;
    false if the centres differ by 5 % of W the other way. "right of" is its inverse.
    "above": true for something in the air or recorded over it, whose box ends above the other's top, with horizontal overlap;
    false if its centre is lower by 6 % of the height; "below" is its inverse.
    "behind": both on the ground, depths differ by 0.12 or more and the boxes overlap horizontally by a quarter of the narrower
    width; false if the depths differ that much the other way; "in front of" is its inverse.
    "next to": both on the ground, depths within 0.15, and a horizontal gap of at most 60 % of the mean width; false if the gap
    exceeds 150 % of the mean width and 25 % of W. Symmetric. Partners in a pose (a rider and the horse) are unclear.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Literal

from transforms.scenes.graph import CaptionGraph, Mention
from transforms.scenes.layout import Scene, SceneObject
from transforms.scenes.world import ACTIONS, BACKDROPS, EXTENSION, INVERSE, MATERIALS, PATTERNS, SIZES

Verdict = Literal["true", "false", "unclear"]
Option = tuple[tuple[int, ...], int]  # a set of objects and the grade of assigning a mention to it
Chosen = dict[int, tuple[int, ...]]  # the objects that each positive mention denotes
FALSE, UNCLEAR, TRUE = 0, 1, 2
_VERDICTS: tuple[Verdict, Verdict, Verdict] = ("false", "unclear", "true")
SURE_VISIBLE = 0.6
_CLOSE = frozenset(("holding", "riding", "sitting on", "on", "under"))
_RESTING = frozenset(("on", "sitting on", "riding"))


def is_true(graph: CaptionGraph, scene: Scene) -> bool:
    """Whether the caption is clearly true of the scene."""
    return judge(graph, scene) == "true"


def judge(graph: CaptionGraph, scene: Scene) -> Verdict:
    """Whether the caption is true or false of the scene, or unclear because too close to a threshold."""
    grade = min((_place_grade(place, scene) for place in graph.places), default=TRUE)
    if grade == FALSE:
        return "false"
    best = FALSE
    for groups, found in _assignments(graph, scene):
        if found > best:
            best = max(best, min(found, _claims(graph, scene, groups, best)))
        if best == TRUE:
            break
    return _VERDICTS[min(grade, best)]


def _place_grade(place: str, scene: Scene) -> int:
    backdrop = BACKDROPS[scene.backdrop]
    return TRUE if place in backdrop.says else UNCLEAR if place in backdrop.perhaps else FALSE


def matches(mention: Mention, item: SceneObject) -> int:
    """Whether the noun and the attributes describe the object: FALSE, UNCLEAR or TRUE."""
    if item.kind not in EXTENSION[mention.noun]:
        return FALSE
    grade = TRUE if item.visible >= SURE_VISIBLE else UNCLEAR
    for word in mention.attributes:
        if word in SIZES:
            if item.size != word:
                if item.size != "medium":
                    return FALSE
                grade = UNCLEAR
        elif word in PATTERNS or word in MATERIALS:
            if item.pattern != word:
                return FALSE
        elif item.colour != word:
            return FALSE
    return grade


def _groups(mention: Mention, scene: Scene) -> list[Option]:
    """The sets of objects that the mention may denote, each with its grade."""
    grades = [(item.index, matches(mention, item)) for item in scene.objects]
    sure = tuple(at for at, grade in grades if grade == TRUE)
    perhaps = tuple(at for at, grade in grades if grade == UNCLEAR)
    if mention.count is not None:
        missing = mention.count - len(sure)
        if mention.count == 0:
            return [] if sure else [((), UNCLEAR if perhaps else TRUE)]
        if missing < 0 or missing > len(perhaps):
            return []
        grade = UNCLEAR if perhaps else TRUE
        return [(tuple(sorted(sure + more)), grade) for more in combinations(perhaps, missing)]
    if mention.plural:
        known = dict(grades)
        return [(pair, min(known[pair[0]], known[pair[1]])) for pair in combinations(sorted(sure + perhaps), 2)]
    return [((at,), grade) for at, grade in grades if grade]


def _assignments(graph: CaptionGraph, scene: Scene) -> Iterator[tuple[Chosen, int]]:
    """All assignments of distinct objects to the positive mentions, with the grade of the descriptions."""
    wanted = [(at, _groups(mention, scene)) for at, mention in enumerate(graph.objects) if not mention.negated]
    wanted.sort(key=lambda pair: len(pair[1]))

    def extend(step: int, used: frozenset[int], chosen: Chosen, grade: int) -> Iterator[tuple[Chosen, int]]:
        if step == len(wanted):
            yield chosen, grade
            return
        at, options = wanted[step]
        for group, found in options:
            if used.isdisjoint(group):
                yield from extend(step + 1, used.union(group), {**chosen, at: group}, min(grade, found))

    return extend(0, frozenset(), {}, TRUE)


def _claims(graph: CaptionGraph, scene: Scene, groups: Chosen, floor: int) -> int:
    """The grade of the relations and absences under one assignment; stops early once it is no longer above `floor`."""
    grade = TRUE
    for subject, predicate, thing in graph.relations:
        if subject in groups and thing in groups:
            for one in groups[subject]:
                for other in groups[thing]:
                    grade = min(grade, relation_grade(scene, one, predicate, other))
                    if grade <= floor:
                        return grade
    for at, mention in enumerate(graph.objects):
        if mention.negated:
            grade = min(grade, _absent(graph, scene, groups, at, mention))
    return grade


def _absent(graph: CaptionGraph, scene: Scene, groups: Chosen, at: int, mention: Mention) -> int:
    """The grade of "there is none": the inverse of the best counterexample's."""
    best = FALSE
    for item in scene.objects:
        found = matches(mention, item)
        for subject, predicate, thing in graph.relations:
            if found and at in (subject, thing):
                others = groups[thing if at == subject else subject]
                for other in others:
                    if other == item.index:
                        found = FALSE
                    else:
                        pair = (item.index, other) if at == subject else (other, item.index)
                        found = min(found, relation_grade(scene, pair[0], predicate, pair[1]))
        best = max(best, found)
    return TRUE - best


def relation_grade(scene: Scene, subject: int, predicate: str, thing: int) -> int:
    """Whether the relation holds between two objects of the scene: FALSE, UNCLEAR or TRUE."""
    recorded = scene.relations
    a, b = scene.objects[subject], scene.objects[thing]
    if (subject, predicate, thing) in recorded:
        return TRUE
    if predicate == "looking at":
        return _facing(a, b)
    if predicate == "sitting on":
        return UNCLEAR if any((subject, other, thing) in recorded for other in ("riding", "on")) else FALSE
    if predicate in ACTIONS:
        return FALSE
    if predicate == "on":
        return _on(scene, a, b)
    if predicate == "under":
        return TRUE if _resting(scene, b, a) else _above(scene, b, a)
    if predicate in ("right of", "below", "in front of"):
        return relation_grade(scene, thing, INVERSE[predicate], subject)
    if predicate == "left of":
        return _left_of(scene, a, b)
    if predicate == "above":
        return _above(scene, a, b)
    if predicate == "behind":
        return _behind(scene, a, b)
    return _next_to(scene, a, b)


def _facing(a: SceneObject, b: SceneObject) -> int:
    gap = (b.box[0] + b.box[2]) - (a.box[0] + a.box[2])
    return UNCLEAR if (gap >= -8) == (a.facing == "right") or abs(gap) < 8 else FALSE


def _resting(scene: Scene, a: SceneObject, b: SceneObject) -> bool:
    return any((a.index, predicate, b.index) in scene.relations for predicate in _RESTING)


def _partners(scene: Scene, a: SceneObject, b: SceneObject) -> bool:
    return any(p in _CLOSE and {s, o} == {a.index, b.index} for s, p, o in scene.relations)


def _across(a: SceneObject, b: SceneObject) -> int:
    """Horizontal overlap of the boxes in pixels; negative for a gap."""
    return min(a.box[2], b.box[2]) - max(a.box[0], b.box[0])


def _narrow(a: SceneObject, b: SceneObject) -> int:
    return min(a.box[2] - a.box[0], b.box[2] - b.box[0])


def _on(scene: Scene, a: SceneObject, b: SceneObject) -> int:
    if _resting(scene, a, b):
        return TRUE
    if _resting(scene, b, a):
        return FALSE
    touching = _across(a, b) > 0 and b.box[1] - 8 <= a.box[3] <= b.box[3] + 2
    return UNCLEAR if touching or _partners(scene, a, b) else FALSE


def _left_of(scene: Scene, a: SceneObject, b: SceneObject) -> int:
    distance = (b.box[0] + b.box[2] - a.box[0] - a.box[2]) / 2
    if distance <= -0.05 * scene.width:
        return FALSE
    apart = _across(a, b) <= 0.25 * _narrow(a, b)
    return TRUE if distance >= 0.08 * scene.width and apart else UNCLEAR


def _aloft(scene: Scene, item: SceneObject) -> bool:
    return item.airborne or any(s == item.index and p in _RESTING for s, p, _ in scene.relations)


def _above(scene: Scene, a: SceneObject, b: SceneObject) -> int:
    if (b.index, "under", a.index) in scene.relations:
        return TRUE
    if (a.index, "under", b.index) in scene.relations or _resting(scene, b, a):
        return FALSE
    drop = (b.box[1] + b.box[3] - a.box[1] - a.box[3]) / 2
    if drop <= -0.06 * scene.height:
        return FALSE
    if _resting(scene, a, b) or _partners(scene, a, b):
        return UNCLEAR
    over = _aloft(scene, a) and a.box[3] <= b.box[1] + 2 and _across(a, b) >= 0.3 * _narrow(a, b)
    return TRUE if over else UNCLEAR


def _grounded(scene: Scene, a: SceneObject, b: SceneObject) -> bool:
    held = {o for _, p, o in scene.relations if p == "holding"}
    return not (_aloft(scene, a) or _aloft(scene, b) or a.index in held or b.index in held)


def _behind(scene: Scene, a: SceneObject, b: SceneObject) -> int:
    if _partners(scene, a, b) or not _grounded(scene, a, b):
        return UNCLEAR
    farther = a.depth - b.depth
    if farther <= -0.12:
        return FALSE
    return TRUE if farther >= 0.12 and _across(a, b) >= 0.25 * _narrow(a, b) else UNCLEAR


def _next_to(scene: Scene, a: SceneObject, b: SceneObject) -> int:
    if _partners(scene, a, b):
        return UNCLEAR
    gap, mean = -_across(a, b), (a.box[2] - a.box[0] + b.box[2] - b.box[0]) / 2
    if gap > 1.5 * mean and gap > 0.25 * scene.width:
        return FALSE
    level = _grounded(scene, a, b) and abs(a.depth - b.depth) <= 0.15
    return TRUE if level and -0.2 * mean <= gap <= 0.6 * mean else UNCLEAR


_FACTS = ("left of", "above", "behind", "next to", "under")


def facts(scene: Scene) -> list[tuple[int, str, int]]:
    """The relations worth mentioning that are clearly true between two objects, recorded ones first.

    True but odd relations, such as a bicycle under its rider, are left out.
    """
    found = list(scene.relations)
    found += [(s, "on", o) for s, p, o in scene.relations if p in _RESTING and p != "on"]
    known = set(found) | {(o, "under", s) for s, p, o in scene.relations if p in ("riding", "sitting on")}
    for a in range(len(scene.objects)):
        for b in range(len(scene.objects)):
            if a == b:
                continue
            for predicate in _FACTS:
                if predicate == "next to" and b < a or (a, predicate, b) in known:
                    continue
                if relation_grade(scene, a, predicate, b) == TRUE:
                    found.append((a, predicate, b))
                    if predicate in INVERSE:
                        found.append((b, INVERSE[predicate], a))
    return found
