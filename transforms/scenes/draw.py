"""Renders a scene: the backdrop, then the objects from far to near, each on its shadow."""

from __future__ import annotations

import io
from collections.abc import Callable

from PIL import Image, ImageDraw

from transforms.scenes import draw_animals, draw_things, draw_vehicles
from transforms.scenes.backgrounds import paint_backdrop
from transforms.scenes.draw_people import person
from transforms.scenes.layout import Scene, SceneObject
from transforms.scenes.pen import SUPER, Pen
from transforms.scenes.poses import NECK, hand_of
from transforms.scenes.rng import Rng
from transforms.scenes.world import KINDS, PEOPLE

STAGE = "scenes.draw"
JPEG_QUALITY = 90
PAINTERS: dict[str, Callable[[Pen], None]] = {
    name: person if name in PEOPLE else next(getattr(m, name) for m in (draw_animals, draw_vehicles, draw_things) if hasattr(m, name))
    for name in KINDS
}


def render(scene: Scene) -> Image.Image:
    """The scene as an RGB image of its width and height; deterministic."""
    canvas = paint_backdrop(scene.backdrop, scene.horizon, Rng(scene.seed, f"{STAGE}.backdrop", str(scene.index)))
    supported = {subject for subject, predicate, _ in scene.relations if predicate in ("on", "riding", "sitting on", "holding")}
    held = {thing for _, predicate, thing in scene.relations if predicate in ("holding", "flying")}
    order = sorted(scene.objects, key=lambda item: (-item.depth, item.index))
    _shadows(canvas, [item for item in order if not item.airborne and item.index not in supported and item.index not in held])
    ties = [(s, o) for s, predicate, o in scene.relations if predicate in ("flying", "walking")]
    for item in order:
        for end in (o for s, o in ties if s == item.index):
            _tie(canvas, item, scene.objects[end])
        rng = Rng(scene.seed, STAGE, f"{scene.index}.{item.index}")
        pen = Pen(canvas, item.box, item.facing, item.colour, item.pattern, item.pose, rng)
        pen.kind = item.kind
        PAINTERS[item.kind](pen)
    return canvas.reduce(SUPER)


def encode(image: Image.Image) -> bytes:
    """The image as JPEG bytes, without time stamps or anything else that varies between runs."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _shadows(canvas: Image.Image, items: list[SceneObject]) -> None:
    draw = ImageDraw.Draw(canvas, "RGBA")
    for item in items:
        x1, _, x2, y2 = (value * SUPER for value in item.box)
        wide = (x2 - x1) * (0.30 if item.kind in ("tree", "umbrella") else 0.47)
        tall, middle = min(20.0, max(7.0, (x2 - x1) * 0.07)), (x1 + x2) / 2
        draw.ellipse((middle - wide, y2 - tall, middle + wide, y2 + tall * 0.8), fill=(20, 24, 40, 70))


def _tie(canvas: Image.Image, holder: SceneObject, end: SceneObject) -> None:
    """Draws the string of a kite or the lead of a dog."""

    def point(item: SceneObject, own: tuple[float, float]) -> tuple[float, float]:
        x1, y1, x2, y2 = (value * SUPER for value in item.box)
        u = own[0] if item.facing == "right" else 1 - own[0]
        return x1 + u * (x2 - x1), y1 + own[1] * (y2 - y1)

    ends = [point(holder, hand_of(holder.kind, holder.pose)), point(end, NECK.get(end.kind, (0.5, 0.25)))]
    ImageDraw.Draw(canvas).line(ends, fill=(92, 80, 76), width=4)
