"""Joints of people and contact points of things, shared by layout and drawing.

Points are fractions (across, down) of the box of an object facing right.
"""

from __future__ import annotations

from dataclasses import dataclass

from transforms.scenes.world import CHILDREN

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Pose:
    """A person's pose: `height` as a share of the standing height, `aspect` width / height, then the joints.

    `head` is the head's radius as a share of the box's height; a limb is (start, middle, end); the far limb is drawn first.
    `head_x`, `shoulder` and `hip` are fractions of the box; `girth` is half the width of the chest, in heights of the box.
    """

    height: float
    aspect: float
    head: float
    head_x: float
    shoulder: Point
    hip: Point
    girth: float
    far_arm: tuple[Point, Point, Point]
    near_arm: tuple[Point, Point, Point]
    far_leg: tuple[Point, Point, Point]
    near_leg: tuple[Point, Point, Point]


POSES: dict[str, Pose] = {
    "stand": Pose(1.0, 0.40, 0.088, 0.5, (0.5, 0.21), (0.5, 0.53), 0.095,
                  ((0.72, 0.25), (0.86, 0.38), (0.90, 0.51)), ((0.28, 0.25), (0.14, 0.38), (0.10, 0.51)),
                  ((0.60, 0.53), (0.64, 0.74), (0.66, 0.95)), ((0.40, 0.53), (0.37, 0.74), (0.34, 0.95))),
    "hold": Pose(1.0, 0.52, 0.088, 0.38, (0.38, 0.21), (0.38, 0.53), 0.095,
                 ((0.54, 0.25), (0.70, 0.40), (0.93, 0.37)), ((0.22, 0.25), (0.12, 0.38), (0.09, 0.51)),
                 ((0.46, 0.53), (0.49, 0.74), (0.50, 0.95)), ((0.30, 0.53), (0.28, 0.74), (0.25, 0.95))),
    "raise": Pose(1.0, 0.52, 0.088, 0.38, (0.38, 0.21), (0.38, 0.53), 0.095,
                  ((0.54, 0.25), (0.76, 0.28), (0.93, 0.13)), ((0.22, 0.25), (0.12, 0.38), (0.09, 0.51)),
                  ((0.46, 0.53), (0.49, 0.74), (0.50, 0.95)), ((0.30, 0.53), (0.28, 0.74), (0.25, 0.95))),
    "run": Pose(0.97, 0.70, 0.090, 0.60, (0.57, 0.22), (0.47, 0.54), 0.085,
                ((0.62, 0.26), (0.74, 0.38), (0.93, 0.31)), ((0.50, 0.26), (0.30, 0.36), (0.34, 0.50)),
                ((0.48, 0.54), (0.74, 0.66), (0.80, 0.94)), ((0.44, 0.54), (0.34, 0.76), (0.06, 0.80))),
    "kick": Pose(0.98, 0.62, 0.090, 0.36, (0.38, 0.22), (0.42, 0.54), 0.090,
                 ((0.50, 0.26), (0.70, 0.32), (0.84, 0.24)), ((0.28, 0.26), (0.12, 0.36), (0.05, 0.48)),
                 ((0.46, 0.54), (0.68, 0.66), (0.92, 0.83)), ((0.38, 0.54), (0.36, 0.75), (0.32, 0.95))),
    "sit": Pose(0.80, 0.60, 0.110, 0.34, (0.32, 0.27), (0.28, 0.64), 0.110,
                ((0.42, 0.31), (0.58, 0.46), (0.84, 0.42)), ((0.30, 0.31), (0.40, 0.48), (0.72, 0.50)),
                ((0.30, 0.65), (0.74, 0.66), (0.80, 0.95)), ((0.28, 0.66), (0.68, 0.69), (0.72, 0.95))),
    "front": Pose(0.80, 0.50, 0.110, 0.5, (0.5, 0.27), (0.5, 0.63), 0.115,
                  ((0.73, 0.31), (0.88, 0.47), (0.68, 0.60)), ((0.27, 0.31), (0.12, 0.47), (0.32, 0.60)),
                  ((0.62, 0.64), (0.70, 0.72), (0.72, 0.95)), ((0.38, 0.64), (0.30, 0.72), (0.28, 0.95))),
}  # fmt: skip
CHILD_HEAD = 1.32  # a child's head is larger relative to its height


def pose_of(kind: str, pose: str) -> Pose:
    """The pose of a person of `kind`: a child's larger head shifts the joints below it down."""
    base = POSES[pose]
    if kind not in CHILDREN:
        return base
    old, new = 2.05 * base.head, 2.05 * base.head * CHILD_HEAD
    factor = (1.0 - new) / (1.0 - old)

    def lower(point: Point) -> Point:
        x, y = point
        return (x, new + (y - old) * factor) if y > old else (x, y * new / old if y > 0.15 else y)

    def limb(points: tuple[Point, Point, Point]) -> tuple[Point, Point, Point]:
        return lower(points[0]), lower(points[1]), lower(points[2])

    return Pose(
        base.height, base.aspect, base.head * CHILD_HEAD, base.head_x, lower(base.shoulder), lower(base.hip), base.girth,
        limb(base.far_arm), limb(base.near_arm), limb(base.far_leg), limb(base.near_leg),
    )  # fmt: skip


def hand_of(kind: str, pose: str) -> Point:
    """The hand that holds things: the end of the far arm, which is stretched out."""
    return pose_of(kind, pose).far_arm[2]


SADDLE: dict[str, Point] = {"horse": (0.45, 0.40), "elephant": (0.42, 0.16), "bicycle": (0.33, 0.20)}
SEAT: dict[str, tuple[Point, ...]] = {
    "chair": ((0.38, 0.56),),
    "sofa": ((0.32, 0.62), (0.68, 0.62)),
    "bench": ((0.27, 0.56), (0.73, 0.56)),
}
SURFACE: dict[str, tuple[float, float, float]] = {
    "table": (0.12, 0.88, 0.11), "bench": (0.12, 0.88, 0.58), "sofa": (0.2, 0.8, 0.64), "car": (0.34, 0.60, 0.05),
}  # fmt: skip
"""Supports for other things: the usable range across the box, and how far down the box they rest."""

GRIP: dict[str, Point] = {"umbrella": (0.5, 0.90), "balloon": (0.5, 0.98), "cup": (0.30, 0.6), "book": (0.5, 0.7),
                          "ball": (0.5, 0.6), "apple": (0.5, 0.6), "banana": (0.5, 0.6)}  # fmt: skip
"""The point at which a held thing touches the hand."""

NECK: dict[str, Point] = {"dog": (0.72, 0.36)}
