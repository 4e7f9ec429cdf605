"""Scenes: sampling, storage and drawing."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.scenes import Scene, SceneError, encode, render, sample_scene
from transforms.scenes.draw import PAINTERS
from transforms.scenes.layout import MAX_OBJECTS, MIN_OBJECTS, MIN_VISIBLE
from transforms.scenes.truth import facts
from transforms.scenes.world import ATTRIBUTES, BACKDROPS, COLOURS, HEIGHT, KINDS, PREDICATES, WIDTH

indexes = st.integers(0, 10**9)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [sample_scene(1, index) for index in range(300)]


def test_the_vocabulary_is_as_large_as_promised() -> None:
    assert len(KINDS) >= 28 and len(ATTRIBUTES) >= 8 and len(PREDICATES) >= 8 and len(BACKDROPS) >= 6
    assert set(PAINTERS) == set(KINDS)
    for kind in KINDS.values():
        assert set(kind.colours) <= set(COLOURS) and set(kind.places) <= set(BACKDROPS) and set(kind.patterns) <= set(ATTRIBUTES)


def test_colours_are_far_apart() -> None:
    for one, other in itertools.combinations(COLOURS, 2):
        distance = np.linalg.norm(np.subtract(COLOURS[one], COLOURS[other]))
        assert distance > 60, (one, other, distance)


def test_three_hundred_scenes_show_everything(scenes: list[Scene]) -> None:
    assert {item.kind for scene in scenes for item in scene.objects} == set(KINDS)
    assert {word for scene in scenes for item in scene.objects for word in item.attributes} == set(ATTRIBUTES)
    assert {predicate for scene in scenes for _, predicate, _ in facts(scene)} == set(PREDICATES)
    assert {scene.backdrop for scene in scenes} == set(BACKDROPS)
    sizes = Counter(len(scene.objects) for scene in scenes)
    assert set(sizes) == set(range(MIN_OBJECTS, MAX_OBJECTS + 1)) and min(sizes.values()) >= 15


@settings(max_examples=150, deadline=None)
@given(indexes, indexes)
def test_objects_lie_in_the_picture_and_can_be_seen(seed: int, index: int) -> None:
    scene = sample_scene(seed, index)
    assert MIN_OBJECTS <= len(scene.objects) <= MAX_OBJECTS
    for at, item in enumerate(scene.objects):
        x1, y1, x2, y2 = item.box
        assert item.index == at and 0 <= x1 < x2 <= WIDTH and 0 <= y1 < y2 <= HEIGHT
        assert MIN_VISIBLE - 0.01 <= item.visible <= 1 and 0 <= item.depth <= 1
        assert item.colour in KINDS[item.kind].colours or item.pattern == "wooden"
        assert scene.backdrop in KINDS[item.kind].places
    assert len(set(scene.relations)) == len(scene.relations)


@settings(max_examples=60, deadline=None)
@given(indexes, indexes)
def test_a_scene_round_trips_through_json_and_is_reproducible(seed: int, index: int) -> None:
    scene = sample_scene(seed, index)
    assert Scene.from_json(scene.to_json()) == scene == sample_scene(seed, index)


@pytest.mark.parametrize("spoil", [
    lambda data: data.pop("objects"), lambda data: data["objects"][0].update(kind="dragon"),
        lambda data: data.update(backdrop="moon"),
    lambda data: data.update(relations=[[0, "eating", 1]]), lambda data: data.update(relations=[[0, "on", 99]]),
    lambda data: data["objects"][0].update(box=[1, 2, 3]),
])  # fmt: skip
def test_a_malformed_scene_is_refused(spoil: Callable[[dict[str, Any]], object]) -> None:
    data = sample_scene(1, 1).to_json()
    spoil(data)
    with pytest.raises(SceneError):
        Scene.from_json(data)


def test_different_indices_and_seeds_give_different_scenes() -> None:
    drawn = {(scene.backdrop, scene.objects) for seed in (1, 2) for scene in (sample_scene(seed, index) for index in range(50))}
    assert len(drawn) == 100


def test_pictures_are_deterministic_and_fill_their_boxes() -> None:
    for index in range(12):
        scene = sample_scene(4, index)
        image = render(scene)
        assert image.size == (WIDTH, HEIGHT) and encode(image) == encode(render(scene))
        bare = np.asarray(render(Scene(4, index, scene.backdrop, scene.horizon, (), ())), dtype=int)
        changed = np.abs(np.asarray(image, dtype=int) - bare).sum(axis=2) > 24
        inside = np.zeros_like(changed)
        for item in scene.objects:
            x1, y1, x2, y2 = item.box
            assert changed[y1:y2, x1:x2].mean() > 0.08, item
            inside[max(0, y1 - 3) : y2 + 9, max(0, x1 - 3) : x2 + 3] = True
        tied = any(predicate in ("flying", "walking") for _, predicate, _ in scene.relations)
        assert tied or (changed & ~inside).sum() < 40


@pytest.mark.parametrize("colour", ["red", "yellow", "green", "blue", "purple", "pink", "orange"])
def test_a_ball_has_the_colour_of_its_record(colour: str) -> None:
    for index in range(400):
        scene = sample_scene(2, index)
        for item in scene.objects:
            if item.kind == "ball" and item.colour == colour and item.visible == 1.0 and item.pattern == "plain":
                x1, y1, x2, y2 = item.box
                pixels = np.asarray(render(scene), dtype=float)[
                    (y1 + y2) // 2 - 1 : (y1 + y2) // 2 + 2, (x1 + x2) // 2 - 2 : (x1 + x2) // 2 + 2
                ]
                mean = pixels.reshape(-1, 3).mean(axis=0)
                nearest = min(COLOURS, key=lambda name: float(np.linalg.norm(np.subtract(COLOURS[name], mean))))
                assert nearest == colour
                return
    pytest.fail(f"no {colour} ball among 400 scenes")
