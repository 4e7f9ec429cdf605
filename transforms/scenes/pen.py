"""A pen that draws in coordinates relative to an object's box, with outlines, patterns and mirroring.

Points are (across, down) in [0, 1] of the box, for an object that faces right; the pen mirrors them when it faces left. Widths
are fractions of the box's height. Everything is drawn at `SUPER` times the final size and downsampled, which smooths the edges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from transforms.scenes.rng import Rng
from transforms.scenes.world import COLOURS

SUPER = 3
RGB = tuple[int, int, int]
Point = tuple[float, float]
BASE = "base"  # denotes the object's own colour and pattern as a fill
INK: RGB = (38, 34, 40)


def shade(colour: RGB, amount: float) -> RGB:
    """A darker (amount in [-1, 0)) or lighter (amount in (0, 1]) colour."""
    goal = 255 if amount > 0 else 0
    r, g, b = (round(value + (goal - value) * abs(amount)) for value in colour)
    return r, g, b


def outline_of(colour: RGB) -> RGB:
    """The outline colour for a fill: darker, or lighter if the fill is nearly black."""
    return shade(colour, -0.42) if sum(colour) > 190 else shade(colour, 0.34)


@lru_cache(maxsize=64)
def _basis(count: int, steps: int) -> np.ndarray:
    """The matrix, float [count * steps, count], that maps control points to a closed Catmull-Rom curve."""
    t = np.arange(steps) / steps
    weights = 0.5 * np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], axis=1)
    basis = np.zeros((count * steps, count))
    for segment in range(count):
        for part in range(4):
            basis[segment * steps : (segment + 1) * steps, (segment + part - 1) % count] += weights[:, part]
    return basis


def smooth(points: Sequence[Point], steps: int = 6) -> list[Point]:
    """A smooth closed curve through `points`."""
    curve = _basis(len(points), steps) @ np.asarray(points, dtype=float)
    return [(x, y) for x, y in curve.tolist()]


class Pen:
    """Draws one object into its box on a canvas `SUPER` times the size of the picture."""

    def __init__(
        self, canvas: Image.Image, box: tuple[int, int, int, int], facing: str, colour: str, pattern: str, pose: str, rng: Rng
    ) -> None:
        """`box` is in pixels of the picture; `rng` makes the small choices that are not part of the ground truth."""
        self.canvas, self.draw = canvas, ImageDraw.Draw(canvas)
        self.left, self.top = box[0] * SUPER, box[1] * SUPER
        self.width, self.height = (box[2] - box[0]) * SUPER, (box[3] - box[1]) * SUPER
        self.mirrored = facing == "left"
        self.pattern, self.pose, self.rng, self.kind = pattern, pose, rng, ""
        jitter = rng.below(17) - 8
        red, green, blue = (min(255, max(0, value + jitter)) for value in COLOURS[colour])
        self.base: RGB = (red, green, blue)
        self.edge = max(2, round(self.height * 0.014 + 1.2))

    @property
    def dark(self) -> RGB:
        """The object's colour in shadow."""
        return shade(self.base, -0.22) if sum(self.base) > 190 else shade(self.base, 0.14)

    @property
    def light(self) -> RGB:
        """The object's colour in the light."""
        return shade(self.base, 0.3)

    def xy(self, point: Point) -> Point:
        """The canvas pixel of a point of the box."""
        u = 1 - point[0] if self.mirrored else point[0]
        return self.left + u * self.width, self.top + point[1] * self.height

    def _box(self, u0: float, v0: float, u1: float, v1: float) -> tuple[float, float, float, float]:
        (xa, ya), (xb, yb) = self.xy((u0, v0)), self.xy((u1, v1))
        return min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb)

    def _rgb(self, fill: RGB | str) -> RGB:
        return self.base if isinstance(fill, str) else fill

    def poly(self, points: Sequence[Point], fill: RGB | str = BASE, line: bool = True) -> None:
        """A filled polygon; fill `BASE` includes the object's pattern."""
        path = [self.xy(point) for point in points]
        self._fill(lambda draw, shift, ink: draw.polygon([(x - shift[0], y - shift[1]) for x, y in path], fill=ink), path, fill)
        if line:
            self.draw.line([*path, path[0], path[1]], fill=outline_of(self._rgb(fill)), width=self.edge, joint="curve")

    def blob(self, points: Sequence[Point], fill: RGB | str = BASE, line: bool = True) -> None:
        """A filled smooth shape through `points`."""
        self.poly(smooth(points), fill, line)

    def oval(self, u0: float, v0: float, u1: float, v1: float, fill: RGB | str = BASE, line: bool = True) -> None:
        """A filled ellipse in the given part of the box."""
        box = self._box(u0, v0, u1, v1)
        corners = [(box[0], box[1]), (box[2], box[3])]
        self._fill(lambda draw, s, ink: draw.ellipse((box[0] - s[0], box[1] - s[1], box[2] - s[0], box[3] - s[1]), fill=ink), corners, fill)
        if line:
            self.draw.ellipse(box, outline=outline_of(self._rgb(fill)), width=self.edge)

    def disc(self, at: Point, radius: float, fill: RGB | str = BASE, line: bool = True) -> None:
        """A filled circle; `radius` in heights of the box."""
        ru = radius * self.height / self.width
        self.oval(at[0] - ru, at[1] - radius, at[0] + ru, at[1] + radius, fill, line)

    def rect(self, u0: float, v0: float, u1: float, v1: float, fill: RGB | str = BASE, round_by: float = 0.0, line: bool = True) -> None:
        """A filled rectangle with corners rounded by `round_by` heights of the box."""
        box, radius = self._box(u0, v0, u1, v1), round_by * self.height
        corners = [(box[0], box[1]), (box[2], box[3])]
        self._fill(
            lambda draw, s, ink: draw.rounded_rectangle((box[0] - s[0], box[1] - s[1], box[2] - s[0], box[3] - s[1]), radius,
                fill=ink),
            corners, fill,
        )  # fmt: skip
        if line:
            self.draw.rounded_rectangle(box, radius, outline=outline_of(self._rgb(fill)), width=self.edge)

    def limb(self, points: Sequence[Point], width: float, fill: RGB | str = BASE, line: bool = True) -> None:
        """A thick line with round ends: a leg, an arm, a pole."""
        path = [self.xy(point) for point in points]
        inner = max(2, round(width * self.height))
        passes = [(inner + 2 * self.edge, outline_of(self._rgb(fill)))] if line else []
        for thick, ink in [*passes, (inner, self._rgb(fill))]:
            self.draw.line(path, fill=ink, width=thick, joint="curve")
            for x, y in (path[0], path[-1]):
                self.draw.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=ink)

    def stroke(self, points: Sequence[Point], ink: RGB, width: float = 0.0) -> None:
        """A plain line, at least as wide as the outline."""
        self.draw.line([self.xy(p) for p in points], fill=ink, width=max(self.edge, round(width * self.height)), joint="curve")

    def ring(self, at: Point, radius: float, ink: RGB, width: float) -> None:
        """An unfilled circle; `radius` and `width` in heights of the box."""
        ru = radius * self.height / self.width
        self.draw.ellipse(
            self._box(at[0] - ru, at[1] - radius, at[0] + ru, at[1] + radius), outline=ink, width=max(2, round(width * self.height))
        )

    def eye(self, at: Point, radius: float, white: bool = False) -> None:
        """An eye with a glint, optionally with its white."""
        if white:
            self.disc(at, radius * 1.7, (252, 252, 250), line=False)
        self.disc(at, radius, INK if sum(self.base) > 190 or white else (236, 214, 120), line=False)

    def _fill(self, stamp: Callable[[ImageDraw.ImageDraw, Point, RGB | int], None], corners: Sequence[Point], fill: RGB | str) -> None:
        """Fills a shape with a plain colour, or through a mask with the object's pattern."""
        if fill != BASE or self.pattern == "plain":
            stamp(self.draw, (0.0, 0.0), self._rgb(fill))
            return
        x0, y0 = int(min(x for x, _ in corners)) - 1, int(min(y for _, y in corners)) - 1
        x1, y1 = int(max(x for x, _ in corners)) + 2, int(max(y for _, y in corners)) + 2
        mask = Image.new("L", (x1 - x0, y1 - y0), 0)
        stamp(ImageDraw.Draw(mask), (float(x0), float(y0)), 255)
        self.canvas.paste(self._tile(x0, y0, x1 - x0, y1 - y0), (x0, y0), mask)

    def _tile(self, x0: int, y0: int, width: int, height: int) -> Image.Image:
        """A tile of the object's pattern for the canvas from (x0, y0), aligned with its other tiles."""
        tile = Image.new("RGB", (width, height), self.base)
        draw = ImageDraw.Draw(tile)
        unit = max(9.0, min(self.width, self.height) * 0.15)
        other = shade(self.base, -0.62) if sum(self.base) > 540 else shade(self.base, 0.78)
        dx, dy = x0 - self.left, y0 - self.top
        if self.pattern == "striped":
            for step in range(int(dx // unit) - 1, int((dx + width) // unit) + 2):
                if step % 2:
                    draw.rectangle((step * unit - dx, 0, step * unit - dx + unit, height), fill=other)
        elif self.pattern == "wooden":
            grain = shade(self.base, -0.35)
            for step in range(int(dy // (unit * 0.45)) - 1, int((dy + height) // (unit * 0.45)) + 2):
                y = step * unit * 0.45 - dy
                draw.line((0, y, width, y + (step % 3 - 1) * unit * 0.2), fill=grain, width=2)
        else:
            size = unit if self.pattern == "spotted" else unit * 1.1
            for row in range(int(dy // size) - 1, int((dy + height) // size) + 2):
                for column in range(int(dx // size) - 1, int((dx + width) // size) + 2):
                    if (row + column) % 2 == 0:
                        continue
                    x, y = column * size - dx, row * size - dy
                    if self.pattern == "spotted":
                        draw.ellipse((x + size * 0.08, y + size * 0.08, x + size * 0.98, y + size * 0.98), fill=other)
                    else:
                        draw.rectangle((x, y, x + size, y + size), fill=other)
        return tile
