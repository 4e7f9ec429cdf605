"""Backdrops: sky, ground and scenery, without any kind of object that captions mention."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from transforms.scenes.pen import RGB, SUPER, shade
from transforms.scenes.rng import Rng
from transforms.scenes.world import HEIGHT, WIDTH

W, H = WIDTH * SUPER, HEIGHT * SUPER
Draw = ImageDraw.ImageDraw


@lru_cache(maxsize=128)
def _gradient(top: RGB, bottom: RGB, height: int) -> Image.Image:
    ramp = np.linspace(0, 1, max(2, height))[:, None, None]
    column = np.asarray(top) * (1 - ramp) + np.asarray(bottom) * ramp
    return Image.fromarray(column.round().astype(np.uint8)).resize((W, height))


def _fill(canvas: Image.Image, y0: int, y1: int, top: RGB, bottom: RGB) -> None:
    canvas.paste(_gradient(top, bottom, y1 - y0), (0, y0))


def _cloud(draw: Draw, x: float, y: float, size: float) -> None:
    for dx, dy, r in ((-1.1, 0.15, 0.5), (-0.45, -0.12, 0.68), (0.35, -0.2, 0.75), (1.05, 0.12, 0.52)):
        draw.ellipse(
            (x + (dx - r) * size, y + (dy - r * 0.75) * size, x + (dx + r) * size, y + (dy + r * 0.6) * size), fill=(250, 252, 255)
        )


def _sky(canvas: Image.Image, rng: Rng, horizon: int, top: RGB = (112, 178, 236), low: RGB = (206, 232, 248)) -> None:
    _fill(canvas, 0, horizon, top, low)
    draw = ImageDraw.Draw(canvas)
    for _ in range(1 + rng.below(3)):
        _cloud(draw, rng.between(0, W), rng.between(0.12, 0.45) * horizon, rng.between(22, 40))


def _hills(draw: Draw, rng: Rng, horizon: int, colour: RGB, high: float) -> None:
    x = -60.0
    while x < W + 60:
        wide, tall = rng.between(160, 330), rng.between(0.4, 1.0) * high
        draw.ellipse((x - wide / 2, horizon - tall, x + wide * 1.3, horizon + tall), fill=colour)
        x += wide * 0.7


def _tufts(draw: Draw, rng: Rng, top: int, count: int, ink: RGB) -> None:
    for _ in range(count):
        y = top + (H - top) * rng.unit() ** 0.7
        x, size = rng.between(0, W), 5 + 11 * (y - top) / (H - top)
        draw.line((x - size * 0.5, y - size, x, y, x + size * 0.5, y - size), fill=ink, width=2)


def _beach(canvas: Image.Image, rng: Rng, horizon: int) -> None:
    _sky(canvas, rng, horizon)
    shore = horizon + int((H - horizon) * 0.25)
    _fill(canvas, horizon, shore + 16, (38, 128, 190), (98, 190, 214))
    _fill(canvas, shore, H, (240, 220, 170), (226, 198, 138))
    draw = ImageDraw.Draw(canvas)
    draw.ellipse((W - 130, 30, W - 60, 100), fill=(255, 236, 130))
    for step in range(0, W, 72):
        draw.ellipse((step - 10, shore - 14, step + 82, shore + 12), fill=(246, 250, 250))
        draw.ellipse((step - 14, shore - 4, step + 86, shore + 22), fill=(240, 220, 170))
    for _ in range(14):
        x, y = rng.between(0, W), rng.between(horizon + 8, shore - 12)
        draw.line((x, y, x + 30, y), fill=(150, 212, 230), width=3)
    for _ in range(60):
        x, y = rng.between(0, W), rng.between(shore + 30, H)
        draw.ellipse((x, y, x + 5, y + 3), fill=(206, 176, 120))


def _houses(draw: Draw, rng: Rng, horizon: int, walls: tuple[RGB, ...], pane: RGB, dim: RGB) -> None:
    """A row of buildings; windows are `pane`, some of them `dim`."""
    x = -20
    while x < W:
        wide, tall = 100 + rng.below(90), int(horizon * rng.between(0.45, 0.88))
        wall = rng.pick(walls)
        draw.rectangle((x, horizon - tall, x + wide, horizon), fill=wall, outline=shade(wall, -0.25), width=3)
        for row in range(horizon - tall + 20, horizon - 36, 44):
            for column in range(x + 16, x + wide - 26, 36):
                draw.rectangle((column, row, column + 18, row + 24), fill=pane if rng.chance(0.6) else dim)
        x += wide + 2


def _road(canvas: Image.Image, horizon: int, paving: RGB, tar: RGB, mark: RGB) -> None:
    _fill(canvas, horizon, H, shade(paving, 0.06), shade(paving, -0.06))
    draw = ImageDraw.Draw(canvas)
    top, low = horizon + int((H - horizon) * 0.16), horizon + int((H - horizon) * 0.86)
    draw.rectangle((0, top, W, low), fill=tar)
    for y in (top, low):
        draw.rectangle((0, y - 5, W, y + 3), fill=shade(paving, 0.3))
    middle = (top * 3 + low * 2) // 5
    for x in range(20, W, 130):
        draw.rectangle((x, middle, x + 66, middle + 9), fill=mark)


def _street(canvas: Image.Image, rng: Rng, horizon: int) -> None:
    _sky(canvas, rng, horizon)
    walls = ((214, 190, 168), (196, 172, 160), (186, 194, 204), (220, 208, 180), (202, 170, 150))
    _houses(ImageDraw.Draw(canvas), rng, horizon, walls, (150, 190, 214), (120, 156, 182))
    _road(canvas, horizon, (196, 194, 190), (122, 124, 130), (240, 238, 228))


def _night(canvas: Image.Image, rng: Rng, horizon: int) -> None:
    _fill(canvas, 0, horizon, (16, 22, 58), (48, 54, 104))
    draw = ImageDraw.Draw(canvas)
    for _ in range(40):
        x, y = rng.between(0, W), rng.between(0, horizon * 0.8)
        draw.ellipse((x, y, x + 4, y + 4), fill=(240, 240, 220))
    x = rng.between(80, W - 140)
    draw.ellipse((x, 24, x + 66, 90), fill=(250, 244, 206))
    draw.ellipse((x + 20, 16, x + 80, 78), fill=(20, 26, 62))
    _houses(draw, rng, horizon, ((44, 46, 76), (54, 52, 84), (38, 42, 66)), (246, 216, 120), (70, 72, 104))
    _road(canvas, horizon, (104, 108, 134), (84, 88, 112), (190, 188, 160))


def _room(canvas: Image.Image, rng: Rng, horizon: int) -> None:
    wall = rng.pick(((226, 216, 196), (206, 220, 226), (224, 210, 218), (212, 224, 204)))
    _fill(canvas, 0, horizon, shade(wall, 0.12), wall)
    floor = rng.pick(((198, 158, 114), (184, 146, 108), (206, 176, 140)))
    _fill(canvas, horizon, H, floor, shade(floor, 0.1))
    draw = ImageDraw.Draw(canvas)
    for at in range(-14, 15):
        draw.line((W / 2 + at * 42, horizon, W / 2 + at * 120, H), fill=shade(floor, -0.1), width=2)
    draw.rectangle((0, horizon - 18, W, horizon), fill=(244, 240, 232), outline=(200, 192, 180), width=2)
    x = int(rng.between(60, W - 320))
    draw.rectangle((x, 50, x + 190, horizon - 90), fill=(250, 250, 248), outline=(190, 182, 172), width=4)
    draw.rectangle((x + 14, 64, x + 176, horizon - 104), fill=(172, 214, 242))
    draw.line((x + 95, 64, x + 95, horizon - 104), fill=(250, 250, 248), width=9)
    for side in (x - 26, x + 176):
        draw.rectangle((side, 40, side + 42, horizon - 70), fill=shade(wall, -0.22), outline=shade(wall, -0.34), width=3)
    frame = x + 270 if x < W / 2 - 60 else x - 190
    draw.rectangle((frame, 76, frame + 120, 160), fill=(250, 248, 240), outline=(150, 116, 76), width=8)
    draw.polygon([(frame + 12, 148), (frame + 50, 100), (frame + 76, 130), (frame + 92, 116), (frame + 108, 148)], fill=(150, 176, 190))


def _park(canvas: Image.Image, rng: Rng, horizon: int) -> None:
    _sky(canvas, rng, horizon)
    draw = ImageDraw.Draw(canvas)
    _hills(draw, rng, horizon, (108, 166, 104), 70)
    _fill(canvas, horizon, H, (138, 200, 104), (112, 182, 84))
    draw = ImageDraw.Draw(canvas)
    x = rng.between(0.3, 0.7) * W
    draw.polygon([(x - 12, horizon), (x + 16, horizon), (x + 120, H), (x - 220, H)], fill=(226, 208, 168))
    _tufts(draw, rng, horizon + 20, 60, (88, 156, 66))
    for _ in range(16):
        x, y = rng.between(0, W), rng.between(horizon + 40, H)
        ink = rng.pick(((255, 244, 150), (250, 250, 250), (248, 190, 210)))
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=ink)


def _snow(canvas: Image.Image, rng: Rng, horizon: int) -> None:
    _fill(canvas, 0, horizon, (150, 184, 216), (214, 228, 240))
    draw = ImageDraw.Draw(canvas)
    x = -80.0
    while x < W:
        wide, tall = rng.between(200, 340), rng.between(0.4, 0.75) * horizon
        draw.polygon([(x, horizon), (x + wide / 2, horizon - tall), (x + wide, horizon)], fill=(146, 162, 186))
        draw.polygon(
            [
                (x + wide * 0.36, horizon - tall * 0.72),
                (x + wide / 2, horizon - tall),
                (x + wide * 0.64, horizon - tall * 0.72),
                (x + wide * 0.5, horizon - tall * 0.6),
            ],
            fill=(248, 250, 253),
        )
        x += wide * 0.62
    _fill(canvas, horizon, H, (224, 234, 245), (206, 220, 236))
    for _ in range(90):
        x, y, r = rng.between(0, W), rng.between(0, H), rng.between(2, 5)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 255, 255))


def _lake(canvas: Image.Image, rng: Rng, horizon: int) -> None:
    _sky(canvas, rng, horizon)
    draw = ImageDraw.Draw(canvas)
    _hills(draw, rng, horizon, (96, 150, 120), 84)
    shore = H - int((H - horizon) * 0.44)
    _fill(canvas, horizon, shore, (92, 170, 208), (62, 140, 190))
    _fill(canvas, shore, H, (146, 196, 100), (118, 178, 82))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, shore - 4, W, shore + 8), fill=(208, 190, 140))
    for _ in range(26):
        x, y = rng.between(0, W), rng.between(horizon + 8, shore - 12)
        draw.line((x, y, x + 34, y), fill=(158, 208, 230), width=3)
    _tufts(draw, rng, shore + 20, 30, (92, 158, 66))


def _field(canvas: Image.Image, rng: Rng, horizon: int) -> None:
    _sky(canvas, rng, horizon)
    draw = ImageDraw.Draw(canvas)
    _hills(draw, rng, horizon, (158, 188, 96), 60)
    _fill(canvas, horizon, H, (196, 204, 104), (160, 188, 84))
    draw = ImageDraw.Draw(canvas)
    wood, y = (176, 138, 96), horizon + 14
    for x in range(10, W, 78):
        draw.rectangle((x, y - 34, x + 10, y + 22), fill=wood)
    for rail in (y - 24, y - 4):
        draw.rectangle((0, rail, W, rail + 8), fill=shade(wood, 0.12))
    _tufts(draw, rng, horizon + 40, 80, (142, 164, 62))


_PAINTERS = {"beach": _beach, "street": _street, "room": _room, "park": _park, "snow": _snow, "lake": _lake, "field": _field,
    "night": _night}  # fmt: skip


def paint_backdrop(name: str, horizon: float, rng: Rng) -> Image.Image:
    """A canvas, RGB and `SUPER` times the picture's size, showing backdrop `name`; `horizon` is a fraction of the height."""
    canvas = Image.new("RGB", (W, H))
    _PAINTERS[name](canvas, rng, int(horizon * H))
    return canvas
