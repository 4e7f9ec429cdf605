"""Scenes as downstream tasks, in the layouts in which the tasks' own sets are published. A folder `tasks` in the collection has:

    vqa/v2_OpenEnded_mscoco_SPLIT_questions.json, vqa/v2_mscoco_SPLIT_annotations.json   questions (VQA v2)
    snli_ve/snli_ve_SPLIT.jsonl                                                          hypotheses (SNLI-VE)
    nlvr2/SPLIT.json, nlvr2/images.json          statements about two images (NLVR2), and which scene each image is
    refcoco/refs(unc).p, refcoco/instances.json  referring expressions (RefCOCO; a pickle of builtin containers), and all objects' boxes
    refexp/finetune_refcoco_SPLIT.json           the same expressions as MDETR has them
    vcr/SPLIT.jsonl, vcr/vcr1images/scenes/INDEX.json   questions with answers and rationales to choose from (VCR), and all objects' boxes
    coco_captions/captions_SPLIT.json            captions (COCO)

The last scenes of a collection are the unseen ones: splits `val2014`, `dev` or `val`; the others are `train2014` or `train`.
"""

from __future__ import annotations

import json
import os
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from schemas.errors import ConfigError
from transforms.scenes.choices import Choices, choices
from transforms.scenes.collections import CATEGORY, write_file
from transforms.scenes.language import captions
from transforms.scenes.layout import Scene, sample_scene
from transforms.scenes.questions import Asked, balanced, hypotheses, questions, referring, statements
from transforms.scenes.rng import Rng

FOLDER = "tasks"
OBJECTS = 8  # object ids of a scene: from 8 x index + 1
PAIRS = 4  # pairs of images that each scene is the first of
_KINDS = ("existence", "colour", "number", "position")
_scene = lru_cache(4096)(sample_scene)  # every task looks at every scene
_PEOPLE = 10  # answers to a question in VQA
_MOVIE = "scenes"  # folder of images in VCR


@dataclass(frozen=True)
class Split:
    """Scenes `start` to `stop` of a seed. seen: for training."""

    seed: int
    start: int
    stop: int
    seen: bool

    def scenes(self) -> Iterator[Scene]:
        """The scenes."""
        return (_scene(self.seed, index) for index in range(self.start, self.stop))

    def rng(self, task: str) -> Rng:
        """The choices of a task."""
        return Rng(self.seed, "scenes.tasks", f"{task} {self.start} {self.stop}")

    @property
    def room(self) -> int:
        """The most rows with one text and one answer; more for training, from which a text has to be learned."""
        return max(4, (self.stop - self.start) // (20 if self.seen else 100))

    @property
    def most(self) -> int:
        """About how many rows of one kind there are at most: one a scene, and four for training."""
        return (4 if self.seen else 1) * (self.stop - self.start)


def task_files(seed: int, start: int, stop: int, unseen: int) -> dict[str, bytes]:
    """The files of all tasks by their path below the collection; unseen: how many of the scenes, the last, are not for training."""
    splits = [Split(seed, start, stop - unseen, True), Split(seed, stop - unseen, stop, False)]
    made: dict[str, bytes] = {}
    shown: dict[str, str] = {}
    refs: list[dict[str, Any]] = []
    for split in splits:
        year, dev, val = ("train2014", "train", "train") if split.seen else ("val2014", "dev", "val")
        asked, answered = _vqa(split, year)
        made[f"vqa/v2_OpenEnded_mscoco_{year}_questions.json"] = _json(asked)
        made[f"vqa/v2_mscoco_{year}_annotations.json"] = _json(answered)
        made[f"snli_ve/snli_ve_{dev}.jsonl"] = _lines(_snli_ve(split))
        rows, images = _nlvr2(split, dev)
        made[f"nlvr2/{dev}.json"] = _lines(rows)
        shown |= images
        own = list(_refs(split, val))
        refs += own
        made[f"refexp/finetune_refcoco_{val}.json"] = _json(_mdetr(own, split))
        asked_of = choices(split.scenes(), split.rng("choices"), split.most)
        made[f"vcr/{val}.jsonl"] = _lines(_vcr(asked_of, split, val))
        shown_of = (_scene(seed, index) for index in sorted({one.scene for one in asked_of}))
        made |= {f"vcr/vcr1images/{_MOVIE}/{scene.index}.json": _json(_metadata(scene)) for scene in shown_of}
        made[f"coco_captions/captions_{year}.json"] = _json(_captions(split))
    made["nlvr2/images.json"] = _json(shown)
    # Read back, so that equal strings are one object and the bytes depend on the content alone.
    made["refcoco/refs(unc).p"] = pickle.dumps(json.loads(json.dumps(refs)), protocol=2)
    made["refcoco/instances.json"] = _json(_instances(splits))
    return {f"{FOLDER}/{name}": content for name, content in made.items()}


def check_tasks(out: str, names: Iterable[str]) -> None:
    """Raises ConfigError when a file of `task_files` would replace a link or a folder."""
    for name in names:
        for path in (Path(out, name), *(Path(out, above) for above in Path(name).parents[:-1])):
            if os.path.lexists(path) and (path.is_symlink() or path.is_dir() == (path.name == Path(name).name)):
                raise ConfigError(f"{path} is not what `cmcl scenes --tasks` writes there: remove it")


def write_tasks(out: str, made: dict[str, bytes]) -> None:
    """Writes the files of `task_files` into a collection."""
    for name, content in made.items():
        path = Path(out, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, lambda aside, content=content: aside.write_bytes(content))  # type: ignore[misc]


def _json(value: Any) -> bytes:
    return (json.dumps(value, separators=(",", ":")) + "\n").encode()


def _lines(rows: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(_json(row) for row in rows)


def _vqa(split: Split, year: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The questions and the annotations of a split."""
    chosen: list[Asked] = []
    for kind in _KINDS:
        found = (one for scene in split.scenes() for one in questions(scene) if one.kind == kind)
        chosen += balanced(found, split.rng(kind), split.room, split.most)
    chosen.sort(key=lambda one: (one.scenes, one.kind, one.text))
    asked: list[dict[str, Any]] = []
    answered: list[dict[str, Any]] = []
    numbers: Counter[int] = Counter()  # of questions, by scene
    for one in chosen:
        (scene,) = one.scenes
        own = {"image_id": scene, "question_id": 1000 * scene + numbers[scene]}
        numbers[scene] += 1
        asked.append({**own, "question": one.text})
        people = [{"answer": one.answer, "answer_confidence": "yes", "answer_id": at} for at in range(1, _PEOPLE + 1)]
        kind = {"number": "number", "colour": "other"}.get(one.kind, "yes/no")
        answered.append({**own, "question_type": one.kind, "answer_type": kind, "multiple_choice_answer": one.answer, "answers": people})
    head = {"info": {"description": "scenes"}, "data_type": "mscoco", "data_subtype": year, "license": {"name": "CC0 1.0"}}
    return {**head, "task_type": "Open-Ended", "questions": asked}, {**head, "annotations": answered}


def _snli_ve(split: Split) -> Iterator[dict[str, Any]]:
    found = (one for scene in split.scenes() for one in hypotheses(scene))
    chosen = balanced(found, split.rng("entailment"), split.room, 2 * split.most, answers=3)
    for number, one in enumerate(sorted(chosen, key=lambda one: (one.scenes, one.text))):
        (scene,) = one.scenes
        premise = captions(_scene(split.seed, scene), split.seed)[0].text
        pair = f"{scene}.jpg#0r1{one.answer[0]}{number}"
        yield {
            "annotator_labels": [one.answer], "captionID": f"{scene}.jpg#0", "gold_label": one.answer, "pairID": pair,
            "sentence1": premise, "sentence2": one.text, "Flickr30K_ID": str(scene),
        }  # fmt: skip


def _nlvr2(split: Split, name: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The statements of a split, and the scene of each of their images."""
    rng, scenes = split.rng("statements"), list(split.scenes())
    pairs = [(one, rng.pick(scenes)) for one in scenes for _ in range(PAIRS)]
    found = (one for left, right in pairs if left is not right for one in statements(left, right))
    chosen = balanced(found, split.rng("statement"), split.room, split.most, answers=2)
    rows: list[dict[str, Any]] = []
    shown: dict[str, str] = {}
    for number, one in enumerate(sorted(chosen, key=lambda one: (one.scenes, one.text))):
        rows.append({"sentence": one.text, "label": one.answer, "identifier": f"{name}-{number}-0-0"})
        shown |= {f"{name}-{number}-0-img{side}": str(scene) for side, scene in enumerate(one.scenes)}
    return rows, shown


def _refs(split: Split, name: str) -> Iterator[dict[str, Any]]:
    """The objects of the scenes that looks tell apart, each with its expression."""
    for scene in split.scenes():
        for item in scene.objects:
            if len(scene.objects) > 1 and (text := referring(scene, item)) is not None:
                number = OBJECTS * scene.index + item.index + 1
                said = {"tokens": text.split(), "raw": text, "sent_id": number, "sent": text}
                yield {
                    "sent_ids": [number], "file_name": f"{scene.index}.jpg", "ann_id": number, "ref_id": number, "image_id": scene.index,
                    "split": name, "sentences": [said], "category_id": CATEGORY[item.kind],
                }  # fmt: skip


def _instances(splits: Sequence[Split]) -> dict[str, Any]:
    """COCO's layout; every object of every scene."""
    images, annotations = [], []
    for scene in (scene for split in splits for scene in split.scenes()):
        images.append({"id": scene.index, "file_name": f"{scene.index}.jpg", "width": scene.width, "height": scene.height})
        annotations += [
            {
                "id": OBJECTS * scene.index + item.index + 1,
                "image_id": scene.index,
                "category_id": CATEGORY[item.kind],
                "bbox": _box(item.box),
            }
            for item in scene.objects
        ]
    categories = [{"id": at, "name": name} for name, at in CATEGORY.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def _mdetr(refs: Sequence[dict[str, Any]], split: Split) -> dict[str, Any]:
    """MDETR's layout: an image entry an expression."""
    scenes = {scene.index: scene for scene in split.scenes()}
    images, annotations = [], []
    for ref in refs:
        scene = scenes[ref["image_id"]]
        images.append(
            {
                "id": ref["ref_id"],
                "original_id": scene.index,
                "file_name": ref["file_name"],
                "caption": ref["sentences"][0]["sent"],
                "width": scene.width,
                "height": scene.height,
            }  # fmt: skip
        )
        box = _box(scene.objects[ref["ann_id"] - OBJECTS * scene.index - 1].box)
        annotations.append({"id": ref["ann_id"], "image_id": ref["ref_id"], "bbox": box, "category_id": ref["category_id"]})
    return {"images": images, "annotations": annotations, "categories": [{"id": at, "name": name} for name, at in CATEGORY.items()]}


def _vcr(asked: Sequence[Choices], split: Split, name: str) -> Iterator[dict[str, Any]]:
    for number, one in enumerate(sorted(asked, key=lambda one: one.scene)):
        yield {
            "movie": _MOVIE, "objects": [item.kind for item in _scene(split.seed, one.scene).objects],
            "img_fn": f"{_MOVIE}/{one.scene}.jpg", "metadata_fn": f"{_MOVIE}/{one.scene}.json", "img_id": f"{name}-{one.scene}",
            "question": one.question, "answer_choices": one.answers, "answer_label": one.answer,
            "rationale_choices": one.rationales, "rationale_label": one.rationale, "annot_id": f"{name}-{number}",
        }  # fmt: skip


def _metadata(scene: Scene) -> dict[str, Any]:
    """The objects of an image in VCR; a segment is the polygon of its box."""
    boxes = [item.box for item in scene.objects]
    return {
        "boxes": [[*box, 1.0] for box in boxes], "segms": [[[[x1, y1], [x2, y1], [x2, y2], [x1, y2]]] for x1, y1, x2, y2 in boxes],
        "names": [item.kind for item in scene.objects], "width": scene.width, "height": scene.height,
    }  # fmt: skip


def _captions(split: Split) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for scene in split.scenes():
        images.append({"id": scene.index, "file_name": f"{scene.index}.jpg", "width": scene.width, "height": scene.height})
        for one in captions(scene, split.seed):
            annotations.append({"id": len(annotations) + 1, "image_id": scene.index, "caption": one.text})
    return {"images": images, "annotations": annotations}


def _box(box: tuple[int, int, int, int]) -> list[int]:
    """x, y, width, height, px."""
    x1, y1, x2, y2 = box
    return [x1, y1, x2 - x1, y2 - y1]
