"""Drawing vehicles from the side, facing right."""

from __future__ import annotations

import math

from transforms.scenes.pen import BASE, RGB, Pen, shade

GLASS: RGB = (186, 222, 240)
TYRE: RGB = (46, 46, 50)
RIM: RGB = (196, 198, 204)
LAMP: RGB = (255, 238, 160)


def _wheel(pen: Pen, x: float, radius: float) -> None:
    y = 1 - radius
    pen.disc((x, y), radius, TYRE)
    pen.disc((x, y), radius * 0.52, RIM)
    pen.disc((x, y), radius * 0.18, (110, 112, 118), line=False)


def car(pen: Pen) -> None:
    """A saloon car: cabin with two windows, two wheels, lights, a door handle."""
    pen.blob([(0.17, 0.44), (0.27, 0.08), (0.38, 0.015), (0.58, 0.015), (0.68, 0.10), (0.80, 0.44)])
    pen.poly([(0.245, 0.40), (0.315, 0.13), (0.46, 0.11), (0.46, 0.40)], GLASS)
    pen.poly([(0.50, 0.40), (0.50, 0.11), (0.61, 0.13), (0.72, 0.40)], GLASS)
    pen.rect(0.0, 0.40, 1.0, 0.84, BASE, 0.16)
    pen.stroke([(0.48, 0.42), (0.48, 0.80)], pen.dark)
    pen.stroke([(0.52, 0.52), (0.58, 0.52)], pen.dark, 0.03)
    pen.rect(0.93, 0.48, 0.995, 0.60, LAMP, 0.03)
    pen.rect(0.005, 0.48, 0.05, 0.60, (210, 40, 44), 0.03)
    pen.rect(0.0, 0.72, 1.0, 0.79, pen.dark, 0.02, line=False)
    for x in (0.22, 0.78):
        _wheel(pen, x, 0.225)


def bus(pen: Pen) -> None:
    """A bus: a long box with a row of windows and a door."""
    pen.rect(0.0, 0.0, 1.0, 0.90, BASE, 0.09)
    pen.rect(0.0, 0.60, 1.0, 0.68, shade(pen.base, 0.55) if sum(pen.base) < 600 else (120, 124, 132), line=False)
    for at in range(5):
        x = 0.04 + at * 0.152
        pen.rect(x, 0.15, x + 0.122, 0.48, GLASS, 0.03)
    pen.rect(0.815, 0.15, 0.905, 0.86, shade(GLASS, -0.12), 0.02)
    pen.stroke([(0.86, 0.15), (0.86, 0.86)], (92, 104, 116))
    pen.rect(0.93, 0.13, 0.995, 0.52, GLASS, 0.03)
    pen.rect(0.95, 0.72, 0.995, 0.79, LAMP, 0.02)
    for x in (0.20, 0.74):
        _wheel(pen, x, 0.145)


def truck(pen: Pen) -> None:
    """A truck: a high load box behind a cab."""
    pen.rect(0.0, 0.02, 0.64, 0.76, shade(pen.base, 0.12) if sum(pen.base) < 600 else pen.base, 0.02)
    for x in (0.16, 0.32, 0.48):
        pen.stroke([(x, 0.06), (x, 0.72)], pen.dark)
    pen.rect(0.0, 0.76, 0.96, 0.86, (84, 86, 92), 0.01)
    pen.poly([(0.665, 0.82), (0.665, 0.20), (0.85, 0.20), (0.925, 0.46), (0.995, 0.52), (0.995, 0.82)])
    pen.poly([(0.71, 0.46), (0.71, 0.27), (0.825, 0.27), (0.88, 0.46)], GLASS)
    pen.stroke([(0.72, 0.56), (0.77, 0.56)], pen.dark, 0.03)
    pen.rect(0.945, 0.58, 0.995, 0.67, LAMP, 0.02)
    for x in (0.15, 0.34, 0.82):
        _wheel(pen, x, 0.155)


def bicycle(pen: Pen) -> None:
    """A bicycle: two spoked wheels, a frame, saddle and handlebar."""
    radius = 0.30
    back, front = (0.20, 1 - radius), (0.80, 1 - radius)
    for hub in (back, front):
        pen.ring(hub, radius, TYRE, 0.05)
        pen.ring(hub, radius - 0.05, (168, 170, 176), 0.012)
        for spoke in range(4):
            angle = spoke * math.pi / 4
            dx, dy = math.cos(angle) * (radius - 0.05) * pen.height / pen.width, math.sin(angle) * (radius - 0.05)
            pen.stroke([(hub[0] - dx, hub[1] - dy), (hub[0] + dx, hub[1] + dy)], (176, 178, 184))
    pedal, seat, neck = (0.45, 0.72), (0.36, 0.27), (0.69, 0.24)
    for path in (
        [back, (0.385, 0.36)],
        [back, pedal],
        [pedal, (0.37, 0.30)],
        [(0.39, 0.38), (0.705, 0.32)],
        [pedal, (0.715, 0.36)],
        [neck, front],
    ):
        pen.limb(path, 0.045)
    pen.limb([(0.28, 0.215), (0.42, 0.225)], 0.06, (52, 48, 50))
    pen.stroke([seat, (0.36, 0.22)], (90, 92, 98), 0.03)
    pen.limb([neck, (0.66, 0.10), (0.74, 0.04), (0.80, 0.10)], 0.034, (60, 60, 66))
    pen.disc(pedal, 0.075, (150, 152, 158))
    pen.limb([pedal, (0.49, 0.86)], 0.03, (96, 98, 104))


def boat(pen: Pen) -> None:
    """A sailing boat: hull and mainsail in its colour, a mast and a white foresail."""
    pen.limb([(0.47, 0.02), (0.47, 0.80)], 0.024, (128, 88, 52))
    pen.poly([(0.50, 0.04), (0.50, 0.68), (0.92, 0.68)])
    pen.poly([(0.445, 0.14), (0.445, 0.68), (0.12, 0.68)], (250, 249, 242))
    pen.poly([(0.0, 0.76), (1.0, 0.76), (0.86, 0.985), (0.15, 0.985)])
    pen.stroke([(0.045, 0.83), (0.955, 0.83)], shade(pen.base, 0.7) if sum(pen.base) < 600 else (90, 110, 150), 0.03)


def airplane(pen: Pen) -> None:
    """An airliner: body with windows, swept wing, tail fin."""
    pen.poly([(0.40, 0.46), (0.52, 0.46), (0.42, 0.06), (0.35, 0.06)], pen.dark)
    pen.poly([(0.03, 0.50), (0.0, 0.0), (0.09, 0.0), (0.20, 0.46)])
    pen.blob(
        [
            (0.02, 0.44),
            (0.20, 0.38),
            (0.55, 0.36),
            (0.84, 0.38),
            (0.95, 0.46),
            (0.995, 0.56),
            (0.93, 0.66),
            (0.75, 0.70),
            (0.40, 0.70),
            (0.12, 0.62),
        ]
    )
    for at in range(8):
        x = 0.26 + at * 0.068
        pen.rect(x, 0.45, x + 0.034, 0.55, (96, 150, 196), 0.02, line=False)
    pen.poly([(0.86, 0.42), (0.935, 0.46), (0.955, 0.53), (0.87, 0.53)], GLASS)
    pen.poly([(0.04, 0.50), (0.15, 0.50), (0.07, 0.66), (0.01, 0.66)], pen.dark)
    pen.poly([(0.40, 0.58), (0.58, 0.58), (0.40, 0.99), (0.31, 0.99)])
    pen.rect(0.42, 0.70, 0.53, 0.86, pen.dark, 0.06)
