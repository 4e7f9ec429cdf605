"""Groups of objects that belong together, such as a rider on a horse, cups on a table or a herd, and their poses.

A group is arranged at a scale around its own origin, the middle of its base line; `Group.settle` then places it at a depth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from transforms.scenes.poses import GRIP, POSES, SADDLE, SEAT, SURFACE, Point, hand_of, pose_of
from transforms.scenes.rng import Rng
from transforms.scenes.world import CHILDREN, HEIGHT, KINDS, PEOPLE, SIZE_FACTOR, WIDTH, Backdrop

Local = tuple[float, float, float, float]
SMALL_HEIGHT, SMALL_DEPTH = 32, 0.45  # things this small are placed near, where they can be recognised
LAYER = 0.002  # the step in depth between partners, later ones nearer


@dataclass(eq=False, slots=True)
class Draft:
    """An object of a scene under construction; fields as in `SceneObject`, plus the group it poses in."""

    kind: str
    colour: str
    size: str
    pattern: str
    facing: str
    jitter: float
    pose: str = "stand"
    airborne: bool = False
    herd: bool = False
    depth: float = 0.0
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    group: object = None

    def extent(self, scale: float) -> tuple[float, float]:
        """Width and height in pixels at `scale`."""
        kind = KINDS[self.kind]
        height = kind.height * SIZE_FACTOR[self.size] * self.jitter * scale
        if self.kind in PEOPLE:
            pose = POSES[self.pose]
            return height * pose.height * pose.aspect, height * pose.height
        return height * kind.aspect, height

    def standing(self, scale: float, x: float = 0.0, base: float = 0.0) -> Local:
        """Its box with the middle of its base at (x, base)."""
        width, height = self.extent(scale)
        return x - width / 2, base - height, x + width / 2, base

    def pinned(self, scale: float, own: Point, to: Point) -> Local:
        """Its box such that its point `own`, in fractions of a box facing right, is at the point `to`."""
        width, height = self.extent(scale)
        x = to[0] - width * (own[0] if self.facing == "right" else 1 - own[0])
        y = to[1] - height * own[1]
        return x, y, x + width, y + height

    def point(self, box: Local, own: Point) -> Point:
        """The position of its point `own` if it fills `box`."""
        u = own[0] if self.facing == "right" else 1 - own[0]
        return box[0] + u * (box[2] - box[0]), box[1] + own[1] * (box[3] - box[1])


@dataclass(eq=False, slots=True)
class Group:
    """Objects placed as a unit; `arrange(scale)` gives their boxes around the origin, in the order of `members`."""

    members: list[Draft]
    arrange: Callable[[float], list[Local]]
    links: list[tuple[Draft, str, Draft]] = field(default_factory=list)
    spread: bool = False

    def __post_init__(self) -> None:
        """Sets the members' group, unless they merely stand around."""
        for member in self.members:
            member.group = member if self.spread else self

    def settle(self, rng: Rng, backdrop: Backdrop, horizon: float) -> bool:
        """Chooses a depth and a position, and sets every member's box and depth; False if it does not fit in the picture."""
        if self.members[0].airborne:
            depth = rng.between(0.90, 0.97)
            scale = rng.between(0.75, 1.05)
            base = rng.between(0.22, max(0.3, horizon - 0.01)) * HEIGHT
        else:
            depth = self._depth(rng, backdrop)
            scale = 1.12 - 0.5 * depth
            top = horizon * HEIGHT + 8
            base = HEIGHT - 6 - depth * (HEIGHT - 6 - top)
        boxes = self.arrange(scale)
        left, right = min(box[0] for box in boxes), max(box[2] for box in boxes)
        if right - left > WIDTH - 6 or base + min(box[1] for box in boxes) < 3:
            return False
        x = rng.between(3 - left, WIDTH - 3 - right)
        for layer, (member, box) in enumerate(zip(self.members, boxes, strict=True)):
            drop = 0.0 if not self.spread else (HEIGHT * 0.03) * (layer % 2)
            member.box = (round(x + box[0]), round(base + drop + box[1]), round(x + box[2]), round(base + drop + box[3]))
            member.depth = max(0.0, depth - 0.03 * (layer % 2) if self.spread else depth + LAYER * (len(boxes) - layer))
            if member.box[3] > HEIGHT - 1 or member.box[1] < 1:
                return False
        return True

    def _depth(self, rng: Rng, backdrop: Backdrop) -> float:
        first = self.members[0]
        zone = backdrop.ground
        habitat = KINDS[first.kind].habitat
        if backdrop.water and "water" in habitat and ("ground" not in habitat or rng.chance(0.7)):
            zone = backdrop.water
        far = zone[1]
        if zone is backdrop.ground and all(KINDS[m.kind].height <= SMALL_HEIGHT for m in self.members):
            far = min(far, SMALL_DEPTH)
        return rng.between(zone[0], far)


@dataclass(frozen=True, slots=True)
class Event:
    """A kind of posed group: its participants and weight."""

    name: str
    subjects: tuple[str, ...]
    things: tuple[str, ...]
    build: Callable[[Rng, Draft, Draft], Group]
    weight: float = 1.0

    def possible(self, backdrop: Backdrop) -> bool:
        """Whether `backdrop` suits at least one of its subjects and one of its things."""
        return all(any(backdrop.name in KINDS[kind].places for kind in side) for side in (self.subjects, self.things))

    def make(self, rng: Rng, backdrop: Backdrop) -> Group:
        """A new group of this kind."""
        one, other = (
            draft(rng, rng.pick([kind for kind in side if backdrop.name in KINDS[kind].places])) for side in (self.subjects, self.things)
        )
        return self.build(rng, one, other)


def draft(rng: Rng, name: str, medium: bool = False) -> Draft:
    """An object of kind `name` with random appearance; `medium` keeps its ordinary size, to fit a partner."""
    kind = KINDS[name]
    size = "medium" if medium else rng.weighted(("small", "medium", "large"), (28, 46, 26))
    pattern = rng.pick(kind.patterns) if kind.patterns and rng.chance(0.4) else "plain"
    colour = "brown" if pattern == "wooden" else rng.pick(kind.colours)
    return Draft(name, colour, size, pattern, rng.pick(("left", "right")), rng.between(0.95, 1.05))


def free_group(rng: Rng, backdrop: Backdrop) -> Group:
    """A single object, standing, swimming or in the air."""
    names = [kind for kind in KINDS.values() if backdrop.name in kind.places]
    one = draft(rng, rng.weighted(names, [kind.weight for kind in names]).name)
    habitat = rng.pick(KINDS[one.kind].habitat)
    one.airborne = habitat == "air"
    if one.airborne and one.kind == "bird":
        one.pose = "fly"
    return Group([one], lambda scale: [one.standing(scale)])


def herd_group(rng: Rng, backdrop: Backdrop, count: int) -> Group:
    """`count` objects of one kind side by side, often with the same appearance."""
    names = [
        kind.name for kind in KINDS.values() if backdrop.name in kind.places and kind.height * kind.aspect < 100 and kind.name != "tree"
    ]
    first = draft(rng, rng.pick(names))
    alike = rng.chance(0.5)
    members = [first]
    for _ in range(count - 1):
        other = draft(rng, first.kind)
        if alike:
            other.colour, other.pattern, other.size = first.colour, first.pattern, first.size
        members.append(other)
    flying = "ground" not in KINDS[first.kind].habitat and "air" in KINDS[first.kind].habitat
    for member in members:
        member.airborne, member.herd = flying, True
    gaps = [rng.between(3, 12) for _ in members]

    def arrange(scale: float) -> list[Local]:
        boxes, x = [], 0.0
        for member, gap in zip(members, gaps, strict=True):
            width, _ = member.extent(scale)
            boxes.append(member.standing(scale, x + width / 2))
            x += width + gap
        return boxes

    return Group(members, arrange, spread=True)


def _riding(rng: Rng, rider: Draft, mount: Draft) -> Group:
    rider.size, rider.pose, rider.facing = "medium", "sit", mount.facing
    if mount.kind == "bicycle":
        mount.size = "small" if rider.kind in CHILDREN else "medium"
    elif mount.size == "small" and rider.kind not in CHILDREN:
        mount.size = "medium"

    def arrange(scale: float) -> list[Local]:
        under = mount.standing(scale)
        return [under, rider.pinned(scale, pose_of(rider.kind, "sit").hip, mount.point(under, SADDLE[mount.kind]))]

    return Group([mount, rider], arrange, [(rider, "riding", mount)])


def _sitting(rng: Rng, sitter: Draft, seat: Draft) -> Group:
    sitter.size, seat.size = "medium", "medium" if sitter.kind in CHILDREN else rng.pick(("medium", "large"))
    sitter.pose, sitter.facing = ("sit", seat.facing) if seat.kind == "chair" else ("front", seat.facing)
    where = rng.pick(SEAT[seat.kind])

    def arrange(scale: float) -> list[Local]:
        under = seat.standing(scale)
        return [under, sitter.pinned(scale, pose_of(sitter.kind, sitter.pose).hip, seat.point(under, where))]

    return Group([seat, sitter], arrange, [(sitter, "sitting on", seat)])


def _holding(rng: Rng, holder: Draft, thing: Draft) -> Group:
    holder.pose, thing.facing = "hold", holder.facing
    if thing.kind != "umbrella":
        thing.size = rng.pick(("small", "medium", "medium"))

    def arrange(scale: float) -> list[Local]:
        body = holder.standing(scale)
        return [body, thing.pinned(scale, GRIP[thing.kind], holder.point(body, hand_of(holder.kind, "hold")))]

    return Group([holder, thing], arrange, [(holder, "holding", thing)])


def _flying(rng: Rng, holder: Draft, kite: Draft) -> Group:
    holder.pose, kite.facing, kite.airborne = "raise", holder.facing, True
    away, up = rng.between(14, 70), rng.between(4, 26)

    def arrange(scale: float) -> list[Local]:
        body = holder.standing(scale)
        x, y = holder.point(body, hand_of(holder.kind, "raise"))
        side = 1 if holder.facing == "right" else -1
        return [body, kite.standing(scale, x + side * (away + kite.extent(scale)[0] / 2), y - up)]

    return Group([holder, kite], arrange, [(holder, "flying", kite)])


def _kicking(rng: Rng, kicker: Draft, ball: Draft) -> Group:
    kicker.pose, ball.facing, ball.size = "kick", kicker.facing, rng.pick(("small", "medium"))
    gap = rng.between(-1, 5)

    def arrange(scale: float) -> list[Local]:
        body = kicker.standing(scale)
        radius = ball.extent(scale)[0] / 2
        edge = body[2] + radius + gap if kicker.facing == "right" else body[0] - radius - gap
        return [body, ball.standing(scale, edge, -1.0)]

    return Group([kicker, ball], arrange, [(kicker, "kicking", ball)])


def _ahead(rng: Rng, follower: Draft, leader: Draft, gap: float) -> Callable[[float], list[Local]]:
    leader.facing = follower.facing

    def arrange(scale: float) -> list[Local]:
        back, front = follower.standing(scale), leader.extent(scale)[0] / 2
        x = back[2] + gap * scale + front if follower.facing == "right" else back[0] - gap * scale - front
        return [back, leader.standing(scale, x)]

    return arrange


def _walking(rng: Rng, walker: Draft, dog: Draft) -> Group:
    walker.pose = "hold"
    return Group([walker, dog], _ahead(rng, walker, dog, rng.between(6, 22)), [(walker, "walking", dog)])


def _chasing(rng: Rng, chaser: Draft, prey: Draft) -> Group:
    chaser.pose = "run"
    if prey.kind in (*PEOPLE, "dog", "cat", "horse"):
        prey.pose = "run"
    if prey.kind == chaser.kind:
        prey.jitter = chaser.jitter
    return Group([chaser, prey], _ahead(rng, chaser, prey, rng.between(8, 26)), [(chaser, "chasing", prey)])


def _resting(rng: Rng, thing: Draft, support: Draft) -> Group:
    things = [thing]
    if KINDS[thing.kind].height <= SMALL_HEIGHT and support.kind in ("table", "sofa") and rng.chance(0.45):
        things.append(draft(rng, rng.pick(("apple", "banana", "cake", "cup", "book"))))
    for item in things:
        item.size = rng.pick(("small", "medium"))
    left, right, down = SURFACE[support.kind]
    spots = [rng.between(0.1, 0.9)] if len(things) == 1 else [rng.between(0.08, 0.3), rng.between(0.7, 0.92)]

    def arrange(scale: float) -> list[Local]:
        under = support.standing(scale)
        boxes = [under]
        for item, spot in zip(things, spots, strict=True):
            half = item.extent(scale)[0] / 2
            width = under[2] - under[0]
            low, high = under[0] + left * width + half, under[0] + right * width - half
            x = (low + high) / 2 if low > high else low + spot * (high - low)
            boxes.append(item.standing(scale, x, under[1] + down * (under[3] - under[1])))
        return boxes

    return Group([support, *things], arrange, [(item, "on", support) for item in things])


def _sheltered(rng: Rng, thing: Draft, roof: Draft) -> Group:
    thing.size = "small" if roof.kind == "table" else "medium"
    roof.size = "large" if roof.kind == "table" else rng.pick(("medium", "large"))
    side = rng.pick((-1, 1))
    table = roof.kind == "table"

    def arrange(scale: float) -> list[Local]:
        over = roof.standing(scale)
        reach = 0.0 if table else side * (over[2] - over[0]) * 0.27
        below = thing.standing(scale, reach, -3.0 if table else 2.0)
        return [below, over] if table else [over, below]

    return Group([thing, roof] if table else [roof, thing], arrange, [(thing, "under", roof)])


_HELD = tuple(GRIP)
EVENTS: tuple[Event, ...] = (
    Event("riding", PEOPLE, ("horse", "horse", "elephant", "bicycle", "bicycle"), _riding, 2.0),
    Event("sitting", PEOPLE, ("chair", "sofa", "bench"), _sitting, 1.8),
    Event("holding", PEOPLE, (*_HELD, "umbrella", "balloon"), _holding, 2.4),
    Event("flying", PEOPLE, ("kite",), _flying, 1.4),
    Event("kicking", PEOPLE, ("ball",), _kicking, 1.2),
    Event("walking", PEOPLE, ("dog",), _walking, 1.2),
    Event("chasing", ("dog", "cat", "boy", "girl"), ("dog", "cat", "ball", "duck", "sheep", "horse"), _chasing, 1.6),
    Event("resting", ("apple", "banana", "cake", "cup", "book", "cat", "ball"), ("table", "table", "sofa"), _resting, 1.6),
    Event("perching", ("bird", "bird", "cat"), ("bench", "car"), _resting, 0.8),
    Event("sheltered", ("cat", "ball", "dog", "duck"), ("table", "tree"), _sheltered, 1.4),
)  # fmt: skip
