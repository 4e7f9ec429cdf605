"""VQA v2 (Goyal et al. 2017): a question about a photo, whose answer is one of the frequent ones. Metric: the official accuracy.

Answers that were the people's first choice for at least `occurrences` training questions are classes; on train2014 and val2014 together,
Anderson et al. (2018), and UNITER after them, have 3,129. Targets are soft: how right each answer is. Loss: binary cross-entropy,
summed over the answers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from model.batch import Stream
from model.heads import Network
from model.objectives.base import ObjectiveSettings, Views
from model.tasks.base import Row, Task, TaskSettings
from model.tasks.published import by_id, found_by, read_json, text_of
from model.tasks.vqa_answers import accuracy, agreement, normalised
from schemas.errors import SourceError


class Answers(NamedTuple):
    """What people said. chosen: the most frequent answer. people: all ten, as they said them."""

    chosen: str
    people: tuple[str, ...]


class VqaSettings(TaskSettings):
    """VQA."""

    occurrences: int = Field(9, ge=1, description="training questions that an answer must be the first choice for to be a class")


class Vqa(Task):
    """A split is a file of questions and one of annotations."""

    name: ClassVar[str] = "vqa"
    streams: ClassVar[tuple[Stream, ...]] = ("pairs",)
    settings_type: ClassVar[type[ObjectiveSettings]] = VqaSettings
    files: ClassVar[dict[str, tuple[str, ...]]] = {
        split: (f"v2_OpenEnded_mscoco_{split}_questions.json", f"v2_mscoco_{split}_annotations.json") for split in ("train2014", "val2014")
    }
    trained: ClassVar[tuple[str, ...]] = ("train2014",)
    evaluated: ClassVar[tuple[str, ...]] = ("val2014",)

    def read(self, split: str) -> Iterator[Row | str]:
        """The questions of a split."""
        questions, annotations = self.urls(split)
        held = by_id(annotations, read_json(annotations, ["annotations"])["annotations"], "question_id")
        for one in read_json(questions, ["questions"])["questions"]:
            if not isinstance(one, dict) or not {"question_id", "image_id", "question"} <= one.keys():
                yield "it lacks question_id, image_id or question"
            elif (annotation := found_by(held, one["question_id"])) is None:
                yield "its question has no annotation"
            elif (answers := _answers(annotation)) is None:
                yield "its annotation lacks answers or multiple_choice_answer"
            elif not (question := text_of(one, "question")):
                yield "a text is empty"
            else:
                yield Row(f"{split}:{one['question_id']}", (question,), answers, (str(one["image_id"]),))

    def labels(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """The frequent answers, normalised, in alphabetical order. Raises SourceError when there are none."""
        found = Counter(normalised(row.target.chosen) for row in rows)
        if not (frequent := sorted(answer for answer, count in found.items() if count >= self.settings.occurrences)):
            raise SourceError(f"{self.settings.folder}: no answer is frequent enough to be a class: reduce vqa.occurrences")
        return tuple(frequent)

    def head(self, network: Network, labels: Sequence[str]) -> nn.Module:
        """UNITER's: two layers, the first twice as wide as the network."""
        width = network.body.width
        return nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.LayerNorm(2 * width, network.settings.epsilon), nn.Linear(2 * width, len(labels))
        )

    def targets(self, rows: Sequence[Row], labels: Sequence[str]) -> Tensor:
        """How right each answer is, float32 [P, answers]."""
        places, made = {label: place for place, label in enumerate(labels)}, torch.zeros(len(rows), len(labels))
        for number, row in enumerate(rows):
            people = [normalised(answer) for answer in row.target.people]
            for answer in set(people) & places.keys():
                made[number, places[answer]] = agreement(answer, people)
        return made

    def scores(self, views: Views) -> Tensor:
        """Logits, [P, answers]. New weights give every answer the probability of one in as many as there are.

        From one half, the first updates would only learn that almost every answer is wrong, by one direction of the pooled state that
        every row shares, in which a pretrained network loses what it knows of the image.
        """
        logits = super().scores(views)
        return logits - math.log(max(logits.shape[1] - 1, 1))

    def loss(self, views: Views) -> Tensor:
        """Sum over the rows and answers."""
        assert views.batch.targets is not None
        return F.binary_cross_entropy_with_logits(self.scores(views), views.batch.targets, reduction="sum")

    def measure(self, found: np.ndarray, rows: Sequence[Row], labels: Sequence[str]) -> dict[str, float]:
        """The official accuracy; majority: that of always giving these rows' most frequent answer."""
        answers = [labels[place] for place in found.astype(int).tolist()]
        usual = Counter(normalised(row.target.chosen) for row in rows).most_common(1)[0][0]
        return {
            "accuracy": float(np.mean([accuracy(answer, row.target.people) for answer, row in zip(answers, rows, strict=True)])),
            "majority": float(np.mean([accuracy(usual, row.target.people) for row in rows])),
        }


def _answers(annotation: dict[str, object]) -> Answers | None:
    people, chosen = annotation.get("answers"), annotation.get("multiple_choice_answer")
    if (
        not isinstance(people, list)
        or not people
        or not all(isinstance(one, dict) and isinstance(one.get("answer"), str) for one in people)
    ):
        return None
    return Answers(chosen, tuple(one["answer"] for one in people)) if isinstance(chosen, str) else None
