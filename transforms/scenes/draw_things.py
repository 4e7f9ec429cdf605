"""Drawing furniture, food, toys and trees."""

from __future__ import annotations

import math

from transforms.scenes.pen import BASE, INK, RGB, Pen, shade, smooth

TRUNK: RGB = (122, 82, 50)


def chair(pen: Pen) -> None:
    """A chair from the side: back, seat, four legs."""
    pen.limb([(0.16, 0.56), (0.10, 0.97)], 0.05, pen.dark)
    pen.limb([(0.80, 0.60), (0.88, 0.92)], 0.05, pen.dark)
    pen.poly([(0.02, 0.02), (0.20, 0.0), (0.30, 0.52), (0.14, 0.56)])
    pen.stroke([(0.10, 0.12), (0.20, 0.11)], pen.dark, 0.02)
    pen.poly([(0.12, 0.54), (0.78, 0.50), (0.98, 0.58), (0.98, 0.64), (0.30, 0.67), (0.12, 0.61)])
    pen.limb([(0.28, 0.67), (0.24, 0.972)], 0.055)
    pen.limb([(0.92, 0.65), (0.94, 0.972)], 0.055)


def table(pen: Pen) -> None:
    """A table from the front: a top seen a little from above, four legs."""
    for x, low in ((0.16, 0.86), (0.84, 0.86)):
        pen.rect(x - 0.02, 0.2, x + 0.02, low, pen.dark)
    pen.poly([(0.10, 0.01), (0.90, 0.01), (1.0, 0.20), (0.0, 0.20)])
    pen.rect(0.0, 0.20, 1.0, 0.31)
    for x in (0.06, 0.94):
        pen.rect(x - 0.026, 0.31, x + 0.026, 1.0)


def sofa(pen: Pen) -> None:
    """A sofa from the front: back, two cushions, arm rests, feet."""
    for x in (0.09, 0.91):
        pen.rect(x - 0.03, 0.88, x + 0.03, 1.0, TRUNK)
    pen.rect(0.06, 0.0, 0.94, 0.72, BASE, 0.14)
    pen.stroke([(0.5, 0.06), (0.5, 0.52)], pen.dark)
    pen.rect(0.10, 0.68, 0.90, 0.93, pen.dark, 0.03)
    for x0, x1 in ((0.13, 0.50), (0.50, 0.87)):
        pen.rect(x0, 0.52, x1, 0.74, BASE, 0.07)
    for x0, x1 in ((0.0, 0.155), (0.845, 1.0)):
        pen.rect(x0, 0.34, x1, 0.94, BASE, 0.11)


def bench(pen: Pen) -> None:
    """A park bench from the front: slats on iron legs."""
    iron = (74, 76, 82)
    for x in (0.14, 0.86):
        pen.limb([(x, 0.08), (x, 0.96)], 0.06, iron)
    for v in (0.02, 0.20, 0.38):
        pen.rect(0.0, v, 1.0, v + 0.135)
    pen.poly([(0.03, 0.56), (0.97, 0.56), (1.0, 0.68), (0.0, 0.68)])
    pen.rect(0.0, 0.67, 1.0, 0.76, pen.dark)


def tree(pen: Pen) -> None:
    """A tree: a crown of leaves on a trunk."""
    pen.poly([(0.42, 1.0), (0.46, 0.52), (0.42, 0.44), (0.58, 0.44), (0.54, 0.52), (0.59, 1.0)], TRUNK)
    pen.stroke([(0.49, 0.92), (0.50, 0.66)], shade(TRUNK, -0.25))
    lobes = (
        (0.20, 0.40, 0.15),
        (0.80, 0.40, 0.15),
        (0.17, 0.27, 0.14),
        (0.83, 0.27, 0.14),
        (0.32, 0.14, 0.14),
        (0.66, 0.13, 0.13),
        (0.50, 0.115, 0.115),
        (0.50, 0.44, 0.15),
        (0.34, 0.45, 0.14),
        (0.66, 0.45, 0.14),
    )
    for x, y, r in lobes:
        pen.disc((x, y), r * 0.98)
    pen.oval(0.14, 0.08, 0.86, 0.54, BASE, line=False)
    for x, y in ((0.30, 0.24), (0.55, 0.18), (0.68, 0.33), (0.42, 0.38)):
        pen.oval(x - 0.10, y - 0.035, x + 0.10, y + 0.035, pen.light, line=False)
    for x, y in ((0.25, 0.42), (0.60, 0.48), (0.78, 0.42)):
        pen.oval(x - 0.09, y - 0.03, x + 0.09, y + 0.03, pen.dark, line=False)


def apple(pen: Pen) -> None:
    """An apple with a stalk and a leaf."""
    pen.blob(
        [
            (0.50, 0.26),
            (0.72, 0.18),
            (0.96, 0.34),
            (0.95, 0.68),
            (0.72, 0.97),
            (0.50, 0.92),
            (0.28, 0.97),
            (0.05, 0.68),
            (0.04, 0.34),
            (0.28, 0.18),
        ]
    )
    pen.limb([(0.50, 0.28), (0.54, 0.06)], 0.06, (104, 66, 36), line=False)
    pen.blob([(0.55, 0.16), (0.70, 0.02), (0.88, 0.04), (0.76, 0.17)], (70, 160, 60))
    pen.oval(0.18, 0.36, 0.34, 0.58, shade(pen.base, 0.5), line=False)


def banana(pen: Pen) -> None:
    """A curved banana with dark tips."""
    pen.blob(
        [
            (0.04, 0.20),
            (0.13, 0.15),
            (0.24, 0.42),
            (0.48, 0.58),
            (0.74, 0.48),
            (0.90, 0.14),
            (0.97, 0.16),
            (0.96, 0.48),
            (0.80, 0.84),
            (0.52, 0.98),
            (0.24, 0.86),
            (0.08, 0.56),
        ]
    )
    pen.stroke([(0.14, 0.50), (0.32, 0.72), (0.52, 0.79), (0.74, 0.70), (0.89, 0.44)], pen.dark, 0.03)
    pen.limb([(0.93, 0.14), (0.94, 0.05)], 0.08, (112, 84, 30), line=False)
    pen.disc((0.075, 0.19), 0.05, (92, 70, 30), line=False)


def cake(pen: Pen) -> None:
    """A layer cake with icing, a cherry and candles, on a plate."""
    pen.oval(0.0, 0.80, 1.0, 1.0, (226, 230, 236))
    pen.rect(0.09, 0.44, 0.91, 0.90, BASE, 0.08)
    pen.rect(0.09, 0.66, 0.91, 0.73, shade(pen.base, 0.55) if sum(pen.base) < 560 else (200, 120, 90), line=False)
    icing = shade(pen.base, 0.62) if sum(pen.base) < 640 else (250, 214, 226)
    pen.poly(
        smooth(
            [
                (0.08, 0.40),
                (0.30, 0.34),
                (0.70, 0.34),
                (0.92, 0.40),
                (0.91, 0.56),
                (0.84, 0.50),
                (0.74, 0.60),
                (0.62, 0.50),
                (0.50, 0.60),
                (0.38, 0.50),
                (0.26, 0.60),
                (0.16, 0.50),
                (0.09, 0.56),
            ]
        ),
        icing,
    )
    for x, ink in ((0.30, (90, 150, 220)), (0.50, (232, 86, 120)), (0.70, (110, 180, 90))):
        pen.rect(x - 0.022, 0.14, x + 0.022, 0.40, ink, line=False)
        pen.oval(x - 0.032, 0.0, x + 0.032, 0.14, (255, 180, 40), line=False)


def cup(pen: Pen) -> None:
    """A cup with a handle."""
    ink = shade(pen.base, -0.2) if sum(pen.base) > 190 else shade(pen.base, 0.34)
    pen.ring((0.80, 0.48), 0.22, ink, 0.10)
    pen.blob([(0.02, 0.10), (0.38, 0.10), (0.74, 0.10), (0.72, 0.60), (0.62, 0.95), (0.38, 0.985), (0.14, 0.95), (0.04, 0.60)])
    pen.oval(0.015, 0.01, 0.745, 0.22, shade(pen.base, 0.25))
    pen.oval(0.08, 0.055, 0.68, 0.18, (112, 72, 48), line=False)


def book(pen: Pen) -> None:
    """A closed book seen at a slant: cover, pages, title lines."""
    pen.poly([(0.06, 0.80), (0.24, 0.02), (1.0, 0.08), (0.86, 0.90)])
    pen.poly([(0.0, 0.84), (0.06, 0.80), (0.86, 0.90), (0.83, 0.99), (0.02, 0.93)], (250, 246, 232))
    pen.poly([(0.0, 0.84), (0.20, 0.03), (0.27, 0.03), (0.10, 0.83)], pen.dark)
    ink = shade(pen.base, 0.72) if sum(pen.base) < 560 else (90, 90, 100)
    pen.stroke([(0.41, 0.27), (0.83, 0.31)], ink, 0.07)
    pen.stroke([(0.38, 0.44), (0.70, 0.47)], ink, 0.05)


def ball(pen: Pen) -> None:
    """A ball with a highlight, and a seam unless a pattern covers it."""
    pen.oval(0.0, 0.0, 1.0, 1.0)
    if pen.pattern == "plain":
        pen.stroke([(0.05, 0.62), (0.30, 0.76), (0.66, 0.76), (0.95, 0.62)], shade(pen.base, 0.75), 0.07)
    pen.oval(0.20, 0.12, 0.44, 0.32, (255, 255, 255), line=False)


def kite(pen: Pen) -> None:
    """A diamond kite with a cross of sticks and a tail of bows."""
    pen.stroke([(0.50, 0.62), (0.38, 0.72), (0.60, 0.82), (0.42, 0.90), (0.54, 0.99)], (92, 84, 84))
    for x, y in ((0.44, 0.74), (0.55, 0.84), (0.45, 0.93)):
        pen.poly([(x - 0.13, y - 0.028), (x + 0.13, y + 0.028), (x + 0.13, y - 0.028), (x - 0.13, y + 0.028)], pen.dark)
    pen.poly([(0.50, 0.0), (1.0, 0.25), (0.50, 0.66), (0.0, 0.25)])
    pen.stroke([(0.50, 0.0), (0.50, 0.66)], shade(pen.base, -0.4))
    pen.stroke([(0.0, 0.25), (1.0, 0.25)], shade(pen.base, -0.4))


def balloon(pen: Pen) -> None:
    """A balloon with a knot, a highlight and a string."""
    pen.stroke([(0.50, 0.52), (0.46, 0.64), (0.54, 0.78), (0.50, 1.0)], (120, 118, 124))
    pen.poly([(0.40, 0.535), (0.60, 0.535), (0.50, 0.47)], pen.dark)
    pen.oval(0.0, 0.0, 1.0, 0.51)
    pen.oval(0.18, 0.06, 0.40, 0.18, shade(pen.base, 0.75), line=False)


def umbrella(pen: Pen) -> None:
    """An open umbrella: scalloped canopy with ribs, a stick and a hooked handle."""
    pen.limb([(0.5, 0.05), (0.5, 0.93), (0.53, 0.975), (0.575, 0.975), (0.60, 0.93)], 0.022, (104, 72, 48))
    arc = [(0.5 - 0.5 * math.cos(math.pi * step / 14), 0.47 - 0.43 * math.sin(math.pi * step / 14)) for step in range(15)]
    scallops = [(1 - (step + part / 4) * 0.25, 0.47 - 0.055 * math.sin(math.pi * part / 4)) for step in range(4) for part in range(1, 5)]
    pen.poly([*arc, *scallops[:-1]])
    for foot in (0.25, 0.75):
        pen.stroke([(0.5, 0.04), (0.5 + (foot - 0.5) * 0.72, 0.18), (foot, 0.46)], pen.dark)
    pen.stroke([(0.5, 0.04), (0.5, 0.46)], pen.dark)
    pen.limb([(0.5, 0.0), (0.5, 0.04)], 0.02, INK, line=False)
