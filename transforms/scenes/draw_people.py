"""Drawing people: joints from the pose table, clothes in the object's colour, random hair and skin."""

from __future__ import annotations

from transforms.scenes.pen import BASE, INK, RGB, Pen, shade
from transforms.scenes.poses import Point, pose_of
from transforms.scenes.world import CHILDREN

SKIN: tuple[RGB, ...] = ((250, 214, 178), (236, 188, 146), (198, 140, 98), (142, 92, 62))
HAIR: tuple[RGB, ...] = ((58, 40, 28), (34, 30, 32), (112, 70, 36), (196, 150, 72), (150, 66, 30))
TROUSERS: tuple[RGB, ...] = ((70, 84, 112), (92, 88, 84), (108, 98, 78), (74, 74, 84))
SHOE: RGB = (66, 52, 46)


def person(pen: Pen) -> None:
    """A man, woman, boy or girl in the pen's pose; women and girls wear skirts and longer hair."""
    pose = pose_of(pen.kind, pen.pose)
    skin, hair, cloth = pen.rng.pick(SKIN), pen.rng.pick(HAIR), pen.rng.pick(TROUSERS)
    skirted, young = pen.kind in ("woman", "girl"), pen.kind in CHILDREN
    thick = pose.girth
    across = pen.height / pen.width  # box height / box width: converts widths in heights of the box to fractions across
    head: Point = (pose.head_x, pose.head * 1.12)
    if skirted:
        _long_hair(pen, head, pose.head, hair)
    _arm(pen, pose.far_arm, thick, skin, pen.dark, young)
    legs = skin if skirted or young else cloth
    for leg, tone in ((pose.far_leg, -0.12), (pose.near_leg, 0.0)):
        _leg(pen, leg, thick, shade(legs, tone) if tone else legs)
        if not skirted and young:
            pen.limb(leg[:2], thick * 0.92, shade(cloth, tone) if tone else cloth)
    if skirted:
        _skirt(pen, pose.hip, pose.near_leg[1], pose.far_leg[1], thick, cloth)
    sx, sy = pose.shoulder
    hx, hy = pose.hip
    half, waist = thick * across, thick * 0.86 * across
    pen.limb([(sx, sy - 0.035), (sx, sy + 0.02)], thick * 0.62, skin)
    lean = (sx + hx) / 2
    pen.blob(
        [
            (sx - half * 0.55, sy),
            (sx + half * 0.55, sy),
            (sx + half, sy + 0.045),
            (lean + waist, (sy + hy) / 2 + 0.03),
            (hx + waist, hy + 0.02),
            (hx, hy + 0.035),
            (hx - waist, hy + 0.02),
            (lean - waist, (sy + hy) / 2 + 0.03),
            (sx - half, sy + 0.045),
        ],
        BASE,
    )
    _arm(pen, pose.near_arm, thick, skin, pen.base, young)
    _head(pen, head, pose.head, skin, hair)


def _arm(pen: Pen, arm: tuple[Point, Point, Point], thick: float, skin: RGB, sleeve: RGB, young: bool) -> None:
    width = thick * (0.62 if young else 0.56)
    pen.limb(arm, width * 0.86, skin)
    pen.limb(arm[:2], width, sleeve)
    pen.disc(arm[2], width * 0.66, skin)


def _leg(pen: Pen, leg: tuple[Point, Point, Point], thick: float, fill: RGB) -> None:
    pen.limb(leg, thick * 0.78, fill)
    foot = leg[2]
    toe = thick * 1.15 * pen.height / pen.width
    pen.oval(foot[0] - toe * 0.5, foot[1] - 0.012, foot[0] + toe, min(0.998, foot[1] + 0.05), SHOE)


def _skirt(pen: Pen, hip: Point, near: Point, far: Point, thick: float, cloth: RGB) -> None:
    across = pen.height / pen.width
    half = thick * 0.9 * across
    if pen.pose == "sit":
        pen.limb([hip, ((near[0] * 0.85 + far[0] * 0.15), near[1])], thick * 1.5, cloth)
        return
    if pen.pose == "front":
        pen.poly(
            [
                (hip[0] - half, hip[1] - 0.02),
                (hip[0] + half, hip[1] - 0.02),
                (far[0] + half * 0.6, far[1] + 0.05),
                (near[0] - half * 0.6, far[1] + 0.05),
            ],
            cloth,
        )
        return
    low = hip[1] + (max(near[1], far[1]) - hip[1]) * 0.95
    left, right = min(near[0], far[0]) - half * 0.55, max(near[0], far[0]) + half * 0.55
    pen.poly([(hip[0] - half * 0.9, hip[1] - 0.03), (hip[0] + half * 0.9, hip[1] - 0.03), (right, low), (left, low)], cloth)


def _long_hair(pen: Pen, head: Point, radius: float, hair: RGB) -> None:
    ru = radius * pen.height / pen.width
    x, y = head
    if pen.kind == "girl":
        for side in (-1, 1):
            pen.blob(
                [
                    (x + side * ru * 0.7, y - radius * 0.2),
                    (x + side * ru * 1.75, y - radius * 0.1),
                    (x + side * ru * 1.9, y + radius * 0.9),
                    (x + side * ru * 1.3, y + radius * 1.2),
                ],
                hair,
            )
            pen.disc((x + side * ru * 1.15, y - radius * 0.05), radius * 0.2, (226, 62, 92), line=False)
        return
    pen.blob(
        [
            (x - ru * 0.9, y - radius * 0.8),
            (x + ru * 0.9, y - radius * 0.8),
            (x + ru * 1.25, y + radius * 0.3),
            (x + ru * 1.3, y + radius * 1.7),
            (x, y + radius * 1.9),
            (x - ru * 1.3, y + radius * 1.7),
            (x - ru * 1.25, y + radius * 0.3),
        ],
        hair,
    )


def _head(pen: Pen, head: Point, radius: float, skin: RGB, hair: RGB) -> None:
    """A face turned slightly towards where the person faces."""
    ru = radius * pen.height / pen.width
    x, y = head
    if pen.kind in ("man", "boy"):
        pen.disc((x - ru * 0.98, y + radius * 0.1), radius * 0.2, skin)
    pen.disc(head, radius, skin)
    if pen.kind == "boy":
        pen.blob(
            [
                (x - ru * 1.06, y - radius * 0.1),
                (x - ru * 0.9, y - radius * 0.85),
                (x, y - radius * 1.1),
                (x + ru * 0.9, y - radius * 0.85),
                (x + ru * 1.0, y - radius * 0.35),
                (x + ru * 0.4, y - radius * 0.55),
                (x - ru * 0.3, y - radius * 0.4),
            ],
            hair,
        )
    elif pen.kind == "man":
        pen.blob(
            [
                (x - ru * 1.04, y + radius * 0.05),
                (x - ru * 0.95, y - radius * 0.8),
                (x, y - radius * 1.1),
                (x + ru * 0.85, y - radius * 0.8),
                (x + ru * 0.7, y - radius * 0.55),
                (x - ru * 0.5, y - radius * 0.5),
            ],
            hair,
        )
    else:
        pen.blob(
            [
                (x - ru * 1.08, y + radius * 0.25),
                (x - ru * 0.95, y - radius * 0.75),
                (x, y - radius * 1.1),
                (x + ru * 0.95, y - radius * 0.75),
                (x + ru * 1.05, y + radius * 0.2),
                (x + ru * 0.75, y - radius * 0.4),
                (x - ru * 0.1, y - radius * 0.55),
            ],
            hair,
        )
    gaze = ru * 0.26
    for side in (-0.36, 0.36):
        pen.disc((x + gaze + ru * side, y + radius * 0.02), radius * 0.13, INK, line=False)
    mouth = (176, 70, 66)
    pen.stroke([(x + gaze - ru * 0.3, y + radius * 0.46), (x + gaze, y + radius * 0.58), (x + gaze + ru * 0.3, y + radius * 0.46)], mouth)
    if pen.kind == "man":
        pen.stroke([(x + gaze - ru * 0.34, y + radius * 0.32), (x + gaze + ru * 0.34, y + radius * 0.32)], hair, radius * 0.16)
