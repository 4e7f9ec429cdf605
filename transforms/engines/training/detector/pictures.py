"""Training pictures: scenes drawn on the fly, with augmentation that makes them harder than the demo's.

Picture i of a run is a pure function of (seed, i), so a resumed run sees the same pictures as an uninterrupted one.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image, ImageFilter

from transforms.scenes.draw import render
from transforms.scenes.layout import Scene, SceneObject, sample_scene
from transforms.scenes.world import COLOURS, KINDS, MATERIALS, PATTERNS

CLASSES = tuple(KINDS)
# Sizes are left out: they are relative to the kind and the distance, which a box does not show.
ATTRIBUTES = (*COLOURS, *PATTERNS, *MATERIALS)
LABEL_OF = {name: number for number, name in enumerate(CLASSES, start=1)}  # 0 is the background
_TRIES = 6
# Desired share of scenes with a kind; rarer kinds are sampled more often (counted on 4,000 scenes by `frequencies`).
_WANTED = 0.10
Sample = tuple[torch.Tensor, dict[str, torch.Tensor]]


def frequencies(seed: int, count: int) -> dict[str, float]:
    """The share of scenes that contain each kind, over `count` scenes of `seed`."""
    held = {name: 0 for name in CLASSES}
    for index in range(count):
        for name in {item.kind for item in sample_scene(seed, index).objects}:
            held[name] += 1
    return {name: max(1, number) / count for name, number in held.items()}


def balanced_scene(seed: int, number: int, shares: dict[str, float]) -> Scene:
    """One of a few scenes, favouring those that contain rare kinds."""
    chance = np.random.Generator(np.random.Philox(key=[seed, number]))
    scene = sample_scene(seed, number * _TRIES)
    for attempt in range(_TRIES):
        scene = sample_scene(seed, number * _TRIES + attempt)
        rarest = min(shares[item.kind] for item in scene.objects)
        if chance.random() < min(1.0, (_WANTED / rarest) ** 0.5 * 0.45):
            return scene
    return scene


def sample(seed: int, number: int, shares: dict[str, float], hard: bool = True) -> Sample:
    """Training picture `number`: float32 [3, H, W] in 0..1, and its objects.

    These have boxes float32 [n, 4] (xyxy, px), labels int64 [n] and attributes float32 [n, ATTRIBUTES], 1 where one applies.
    """
    scene = balanced_scene(seed, number, shares)
    chance = np.random.Generator(np.random.Philox(key=[seed + 1, number]))
    picture = render(scene)
    boxes = np.array([item.box for item in scene.objects], np.float32)
    rows = np.arange(len(scene.objects))
    if hard:
        picture, boxes, rows = _reframe(picture, boxes, rows, chance)
        picture = _relight(picture, chance)
        pixels = _spoil(np.asarray(picture, np.float32) / 255, boxes, chance)
    else:
        pixels = np.asarray(picture, np.float32) / 255
    image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    shown = [scene.objects[row] for row in rows]
    return image, {
        "boxes": torch.from_numpy(boxes),
        "labels": torch.tensor([LABEL_OF[item.kind] for item in shown], dtype=torch.int64),
        "attributes": torch.tensor([applies(item) for item in shown], dtype=torch.float32).reshape(len(shown), len(ATTRIBUTES)),
    }


def applies(item: SceneObject) -> list[bool]:
    """Which of ATTRIBUTES an object has."""
    return [attribute in item.attributes for attribute in ATTRIBUTES]


def _reframe(
    picture: Image.Image, boxes: np.ndarray, rows: np.ndarray, chance: np.random.Generator
) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """Flips, zooms, stretches and shifts; keeps objects at least half of which remain in view, `rows` their numbers."""
    width, height = picture.size
    if chance.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
    if chance.random() < 0.6:
        zoom = np.exp(chance.uniform(-0.25, 0.3))
        stretch = np.exp(chance.uniform(-0.12, 0.12))
        wide, tall = width / (zoom * stretch), height / (zoom / stretch)  # size of the window that becomes the picture
        left = chance.uniform(min(0.0, width - wide), max(0.0, width - wide))
        top = chance.uniform(min(0.0, height - tall), max(0.0, height - tall))
        grey = tuple(int(value) for value in chance.integers(60, 200, 3))
        picture = picture.transform(
            (width, height),
            Image.Transform.AFFINE,
            (wide / width, 0, left, 0, tall / height, top),
            Image.Resampling.BILINEAR,
            fillcolor=grey,
        )
        moved = (boxes - np.array([left, top, left, top])) * np.array([width / wide, height / tall] * 2)
        seen = np.clip(moved, 0, np.array([width, height, width, height]))
        share = np.prod(seen[:, 2:] - seen[:, :2], 1) / np.prod(moved[:, 2:] - moved[:, :2], 1)
        keep = (share >= 0.5) & (np.min(seen[:, 2:] - seen[:, :2], 1) >= 6)
        if keep.any():
            boxes, rows = seen[keep].astype(np.float32), rows[keep]
        else:
            boxes, rows = np.zeros((0, 4), np.float32), rows[:0]
    return picture, boxes.astype(np.float32), rows


def _relight(picture: Image.Image, chance: np.random.Generator) -> Image.Image:
    """Blur, downsampling, JPEG artefacts."""
    draw = chance.random()
    if draw < 0.15:
        picture = picture.filter(ImageFilter.GaussianBlur(chance.uniform(0.4, 1.2)))
    elif draw < 0.25:
        factor = chance.uniform(0.55, 0.9)
        small = picture.resize((round(picture.width * factor), round(picture.height * factor)), Image.Resampling.BILINEAR)
        picture = small.resize(picture.size, Image.Resampling.BILINEAR)
    if chance.random() < 0.3:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(chance.integers(30, 90)))
        picture = Image.open(buffer).convert("RGB")
    return picture


def _spoil(pixels: np.ndarray, boxes: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Brightness, contrast, saturation, tint, noise, and occluding patches on some objects; float32 [H, W, 3] in 0..1."""
    grey = pixels.mean(2, keepdims=True)
    pixels = grey + (pixels - grey) * chance.uniform(0.55, 1.4)
    pixels = (pixels - 0.5) * chance.uniform(0.7, 1.3) + 0.5 + chance.uniform(-0.12, 0.12)
    pixels = pixels * chance.uniform(0.88, 1.12, 3)
    if chance.random() < 0.3:
        pixels = pixels + chance.normal(0, chance.uniform(0.01, 0.05), pixels.shape)
    for box in boxes:
        if chance.random() < 0.12:
            size = (box[2:] - box[:2]) * chance.uniform(0.2, 0.45)
            corner = box[:2] + chance.uniform(0, 1, 2) * (box[2:] - box[:2] - size)
            (x1, y1), (x2, y2) = corner.astype(int), (corner + size).astype(int)
            pixels[y1:y2, x1:x2] = chance.uniform(0, 1, 3)
    return np.clip(pixels, 0, 1).astype(np.float32)
