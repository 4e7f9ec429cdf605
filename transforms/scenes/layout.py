"""Scenes: objects with positions, depths and actions, sampled as a pure function of (seed, index).

A `Scene` is the complete ground truth of a picture. Boxes are pixels (x1, y1, x2, y2) with x to the right and y down, x2 and y2
exclusive. Depth ranges from 0 (near) to 1 (at the horizon). `visible` is the share of an object's box that nearer boxes leave
uncovered (partners in a pose, such as a rider and the horse, cover each other less: see `PARTNER_COVER`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transforms.scenes.events import EVENTS, Draft, Event, Group, free_group, herd_group
from transforms.scenes.rng import Rng
from transforms.scenes.world import (
    ANIMALS,
    BACKDROPS,
    HEIGHT,
    KINDS,
    MATERIALS,
    PEOPLE,
    PREDICATES,
    WIDTH,
    Backdrop,
)  # fmt: skip

STAGE = "scenes.layout"
MIN_OBJECTS, MAX_OBJECTS = 2, 6
MIN_VISIBLE = 0.62
PARTNER_COVER = 0.3
Box = tuple[int, int, int, int]
Link = tuple[Draft, str, Draft]


class SceneError(ValueError):
    """A malformed stored scene."""


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One thing in a scene; `size` is its scale relative to its kind (small, medium, large), `pattern` plain or a word."""

    index: int
    kind: str
    colour: str
    size: str
    pattern: str
    box: Box
    depth: float
    visible: float
    facing: str
    pose: str
    airborne: bool

    @property
    def attributes(self) -> frozenset[str]:
        """The attribute words that apply to it."""
        return frozenset(word for word in (self.colour, self.size, self.pattern) if word not in ("medium", "plain"))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `attributes` is informational and ignored by `from_json`."""
        return {
            "index": self.index, "kind": self.kind, "attributes": sorted(self.attributes), "colour": self.colour,
            "size": self.size, "pattern": self.pattern, "box": list(self.box), "depth": self.depth, "visible": self.visible,
            "facing": self.facing, "pose": self.pose, "airborne": self.airborne,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scene:
    """The ground truth of one picture: objects in the order of `index`, and the recorded relations (subject, predicate, object).

    `horizon` is the distance from the top at which the ground begins, as a fraction of the picture's height.
    """

    seed: int
    index: int
    backdrop: str
    horizon: float
    objects: tuple[SceneObject, ...]
    relations: tuple[tuple[int, str, int], ...]
    width: int = WIDTH
    height: int = HEIGHT

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, from which `from_json` restores an equal scene."""
        return {
            "seed": self.seed, "index": self.index, "width": self.width, "height": self.height, "backdrop": self.backdrop,
                "horizon": self.horizon,
            "objects": [item.to_json() for item in self.objects], "relations": [list(relation) for relation in self.relations],
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Scene:
        """The scene that `to_json` wrote. Raises SceneError if a field is missing or has an unknown value."""
        try:
            objects = tuple(
                SceneObject(
                    int(o["index"]),
                    o["kind"],
                    o["colour"],
                    o["size"],
                    o["pattern"],
                    _box(o["box"]),
                    float(o["depth"]),
                    float(o["visible"]),
                    o["facing"],
                    o["pose"],
                    bool(o["airborne"]),
                )  # fmt: skip
                for o in data["objects"]
            )
            relations = tuple((int(s), str(p), int(o)) for s, p, o in data["relations"])
            scene = cls(
                int(data["seed"]), int(data["index"]), data["backdrop"], float(data["horizon"]), objects, relations,
                int(data["width"]), int(data["height"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise SceneError(f"not a valid scene: {error!r}") from error
        known = all(o.kind in KINDS and o.index == at for at, o in enumerate(objects)) and scene.backdrop in BACKDROPS
        ends = range(len(objects))
        if not known or any(p not in PREDICATES or s not in ends or o not in ends for s, p, o in relations):
            raise SceneError(f"scene {scene.index} has an unknown kind, place, relation or object")
        return scene


def _box(values: Any) -> Box:
    x1, y1, x2, y2 = (int(value) for value in values)
    return x1, y1, x2, y2


def sample_scene(seed: int, index: int) -> Scene:
    """Scene number `index` of collection `seed`: 2 to 6 objects, each at least `MIN_VISIBLE` visible."""
    rng = Rng(seed, STAGE, str(index))
    backdrop = rng.weighted(tuple(BACKDROPS.values()), tuple(one.weight for one in BACKDROPS.values()))
    horizon = round(rng.between(*backdrop.horizon), 3)
    wanted = rng.weighted((2, 3, 4, 5, 6), (15, 25, 25, 20, 15))
    placed: list[Draft] = []
    links: list[Link] = []
    plan = _plan(rng, backdrop, wanted)
    for attempt in range(40):
        if len(placed) >= wanted or (attempt >= 14 and len(placed) >= MIN_OBJECTS):
            break
        event = plan[attempt] if attempt < len(plan) else None
        room = wanted - len(placed)
        group = _group(rng, backdrop, event, room, placed)
        if len(group.members) <= MAX_OBJECTS - len(placed) and _place(rng, backdrop, horizon, group, placed):
            placed.extend(group.members)
            links.extend(group.links)
    links.extend(_gazes(rng, placed, links))
    return _freeze(seed, index, backdrop, horizon, placed, links)


def _plan(rng: Rng, backdrop: Backdrop, wanted: int) -> list[Event | None]:
    """Up to two posed events to try first, in order."""
    here = [event for event in EVENTS if event.possible(backdrop)]
    plan: list[Event | None] = []
    if here and rng.chance(0.85):
        plan.append(rng.weighted(here, [event.weight for event in here]))
        if wanted >= 4 and rng.chance(0.5):
            plan.append(rng.weighted(here, [event.weight for event in here]))
    return plan


def _group(rng: Rng, backdrop: Backdrop, event: Event | None, room: int, placed: list[Draft]) -> Group:
    if event is not None:
        return event.make(rng, backdrop)
    if room >= 2 and rng.chance(0.35):
        return herd_group(rng, backdrop, min(room, rng.weighted((2, 3, 4), (6, 3, 1))))
    return free_group(rng, backdrop)


def _place(rng: Rng, backdrop: Backdrop, horizon: float, group: Group, placed: list[Draft]) -> bool:
    """Gives the group's members their boxes; False if twelve tries find no position where all remain visible."""
    for _ in range(12):
        if not group.settle(rng, backdrop, horizon):
            continue
        if any(_crowded(new, old) for new in group.members for old in placed):
            continue
        everyone = placed + group.members
        if all(_visible(item, everyone) >= MIN_VISIBLE for item in everyone):
            return True
    return False


def _crowded(a: Draft, b: Draft) -> bool:
    """Whether two unrelated objects look glued together: they touch and have nearly the same base line."""
    if a.airborne or b.airborne:
        return a.airborne and b.airborne and _overlap(a.box, b.box) > 0
    across = min(a.box[2], b.box[2]) - max(a.box[0], b.box[0])
    if across <= -3:
        return False
    far, near = (a, b) if a.depth > b.depth else (b, a)
    # An object whose base line is just at or below another's top edge looks as if it stood on it.
    seems_on = -6 < far.box[3] - near.box[1] < 0.3 * (far.box[3] - far.box[1])
    return abs(a.depth - b.depth) < 0.07 or seems_on


def _overlap(a: Box, b: Box) -> int:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def _visible(item: Draft, everyone: list[Draft]) -> float:
    """The share of `item`'s box that boxes drawn after it leave uncovered."""
    x1, y1, x2, y2 = item.box
    area = (x2 - x1) * (y2 - y1)
    covers: list[Box] = []
    partly = 0.0
    for other in everyone:
        if other is item or (shared := _overlap(item.box, other.box)) == 0:
            continue
        if other.group is item.group:
            partly = max(partly, PARTNER_COVER * shared / area)
        elif other.depth < item.depth:
            covers.append(other.box)
    return 1.0 - min(1.0, partly + _union(item.box, covers) / area)


def _union(frame: Box, covers: list[Box]) -> int:
    """The area of `frame`, in square pixels, covered by any of `covers`."""
    if len(covers) <= 1:
        return _overlap(frame, covers[0]) if covers else 0
    xs = sorted({min(max(x, frame[0]), frame[2]) for box in covers for x in (box[0], box[2])})
    ys = sorted({min(max(y, frame[1]), frame[3]) for box in covers for y in (box[1], box[3])})
    total = 0
    for left, right in zip(xs, xs[1:], strict=False):
        for top, bottom in zip(ys, ys[1:], strict=False):
            if any(box[0] <= left and right <= box[2] and box[1] <= top and bottom <= box[3] for box in covers):
                total += (right - left) * (bottom - top)
    return total


def _gazes(rng: Rng, placed: list[Draft], links: list[Link]) -> list[Link]:
    """Makes some idle people and animals look at the nearest thing beside them, turning them towards it."""
    busy = {id(end) for subject, _, thing in links for end in (subject, thing)}
    out: list[Link] = []
    for one in placed:
        if one.kind not in PEOPLE and one.kind not in ANIMALS or id(one) in busy or one.airborne or one.herd or not rng.chance(0.45):
            continue
        near = [other for other in placed if other is not one and not other.airborne and abs(other.depth - one.depth) < 0.45]
        near = [other for other in near if other.box[0] > one.box[2] or other.box[2] < one.box[0]]
        if not near:
            continue
        target = min(near, key=lambda other: max(other.box[0] - one.box[2], one.box[0] - other.box[2]))
        one.facing = "right" if target.box[0] > one.box[2] else "left"
        out.append((one, "looking at", target))
    return out


def _freeze(seed: int, index: int, backdrop: Backdrop, horizon: float, placed: list[Draft], links: list[Link]) -> Scene:
    index_of = {id(draft): at for at, draft in enumerate(placed)}
    objects = tuple(
        SceneObject(
            at,
            draft.kind,
            "brown" if draft.pattern in MATERIALS else draft.colour,
            draft.size,
            draft.pattern,
            draft.box,
            round(draft.depth, 3),
            round(_visible(draft, placed), 2),
            draft.facing,
            draft.pose,
            draft.airborne,
        )  # fmt: skip
        for at, draft in enumerate(placed)
    )
    relations = sorted((index_of[id(subject)], predicate, index_of[id(thing)]) for subject, predicate, thing in links)
    return Scene(seed, index, backdrop.name, horizon, objects, tuple(relations))
