"""What a downstream task is: one file with how its published files are read, its head, its loss and its metric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from sklearn.metrics import accuracy_score
from torch import Tensor, nn
from torch.nn import functional as F

from model.batch import Batch, Stream
from model.heads import Network, wide
from model.objectives.base import Objective, ObjectiveSettings, Views
from schemas import files
from schemas.errors import ConfigError
from schemas.regions import Regions
from schemas.tokenizer import Tokenizer


@dataclass(frozen=True)
class Row:
    """One example of a task.

    name: for messages. texts: one text, or several that become one sequence. target: what the row is judged by. images: file names or ids.
    marks: for each text, numbers that the task gives its tokens. parts: for each text, which part of the sequence it belongs to, ascending;
    by default each is one. Parts are separated, and shortened where the sequence is too long.
    """

    name: str
    texts: tuple[str, ...]
    target: Any
    images: tuple[str, ...] = ()
    marks: tuple[tuple[int, ...], ...] = ()
    parts: tuple[int, ...] = ()


class TaskSettings(ObjectiveSettings):
    """What every task that reads files is set by."""

    folder: str = Field(min_length=1, description="folder of the task's files, as published")
    source: str | None = Field(None, description="the corpus's source of images, where several have images of the same name")
    train: tuple[str, ...] = Field((), description="splits to train on; by default the task's own")
    evaluate: tuple[str, ...] = Field((), description="splits to evaluate on; by default the task's own")


class Task(Objective):
    """A downstream task. Its rows come from files, its images from a corpus; see `model.downstream`.

    files: by split, the names of its published files. trained, evaluated: the splits that are used by default.
    """

    settings_type: ClassVar[type[ObjectiveSettings]] = TaskSettings
    files: ClassVar[dict[str, tuple[str, ...]]]
    trained: ClassVar[tuple[str, ...]] = ("train",)
    evaluated: ClassVar[tuple[str, ...]] = ("dev",)

    @property
    def stream(self) -> Stream:
        """`texts`, or `pairs` if there are images."""
        return self.streams[0]

    def splits(self, use: str) -> tuple[str, ...]:
        """The splits to `train` or to `evaluate` on. Raises ConfigError when the task has no such split."""
        chosen: tuple[str, ...] = getattr(self.settings, use) or (self.trained if use == "train" else self.evaluated)
        if unknown := [split for split in chosen if split not in self.files]:
            raise ConfigError(f"{self.name}.{use}: there is no split {unknown[0]}; there are {', '.join(self.files)}")
        return chosen

    def urls(self, split: str) -> list[str]:
        """Where the files of a split are."""
        return [files.join(self.settings.folder, name) for name in self.files[split]]

    def read(self, split: str) -> Iterator[Row | str]:
        """The rows of a split; for one that cannot be used, the reason. Raises SourceError when a file is missing or another's."""
        raise NotImplementedError

    @property
    def room(self) -> int:
        """How many tokens a text that the task writes may have; 0: it writes none."""
        return 0

    def examples(self, row: Row) -> Iterator[Row]:
        """What a row is in training."""
        yield row

    def regions(self, row: Row, held: Regions) -> Regions:
        """The regions that an image of a row is shown as, given those in the corpus."""
        return held

    def labels(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """What the head tells apart; rows: those to train on."""
        return ()

    def head(self, network: Network, labels: Sequence[str]) -> nn.Module:
        """The layers that the task puts on top of the network."""
        raise NotImplementedError

    def targets(self, rows: Sequence[Row], labels: Sequence[str]) -> Tensor:
        """The targets of a batch of P rows, [P, ...]."""
        raise NotImplementedError

    def scores(self, views: Views) -> Tensor:
        """What the head says of a batch, at least float32 [P, ...]: by default its output for [CLS], pooled as for matching."""
        cls = views.own(mask_images=True).cls
        assert cls is not None and views.network.task is not None
        return wide(views.network.task(pooled(views.network, cls)))

    def predict(self, views: Views) -> Tensor:
        """The answers to a batch, [P, ...]; by default the class with the highest score."""
        return self.scores(views).argmax(1)

    def answers(self, found: Tensor, tokenizer: Tokenizer) -> np.ndarray:
        """What `predict` found, for `measure`."""
        return found.float().cpu().numpy()

    def prepare(self) -> None:
        """Raises ConfigError when a package is missing that `measure` requires."""

    def measure(self, found: np.ndarray, rows: Sequence[Row], labels: Sequence[str]) -> dict[str, float]:
        """The task's metrics; found: `answers`, one a row."""
        raise NotImplementedError

    def count(self, batch: Batch) -> Tensor:
        """Rows."""
        assert batch.targets is not None
        return torch.tensor(len(batch), device=batch.targets.device)


class Classification(Task):
    """One of some classes, by cross-entropy; a row's target is the number of its class. Metric: accuracy, beside the largest class's."""

    classes: ClassVar[tuple[str, ...]]

    def labels(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """The classes."""
        return self.classes

    def head(self, network: Network, labels: Sequence[str]) -> nn.Module:
        """A linear layer."""
        return nn.Sequential(nn.Dropout(network.settings.dropout), nn.Linear(network.body.width, len(labels)))

    def targets(self, rows: Sequence[Row], labels: Sequence[str]) -> Tensor:
        """Classes, int64 [P]."""
        return torch.tensor([row.target for row in rows])

    def loss(self, views: Views) -> Tensor:
        """Sum over the rows."""
        assert views.batch.targets is not None
        return F.cross_entropy(self.scores(views), views.batch.targets, reduction="sum")

    def measure(self, found: np.ndarray, rows: Sequence[Row], labels: Sequence[str]) -> dict[str, float]:
        """Accuracy; majority: that of always answering these rows' most frequent class."""
        true = np.array([row.target for row in rows])
        return {"accuracy": float(accuracy_score(true, found)), "majority": float(np.bincount(true).max() / len(true))}


def pooled(network: Network, cls: Tensor) -> Tensor:
    """[CLS] as the matching head sees it, [n, H] (BERT's and UNITER's pooler, which pretraining has trained)."""
    return torch.tanh(network.match.pool(cls))


def class_rows(
    found: Iterable[tuple[str, tuple[str, ...], str, tuple[str, ...]] | str], classes: Sequence[str], unlabelled: Sequence[str] = ("", "-")
) -> Iterator[Row | str]:
    """Rows of a classification out of (name, texts, label, images), or the reason why one cannot be used."""
    numbers = {label: number for number, label in enumerate(classes)}
    for one in found:
        if isinstance(one, str):
            yield one
            continue
        name, texts, label, images = one
        if label in unlabelled:
            yield "it has no label"
        elif label not in numbers:
            yield f"its label is none of {', '.join(classes)}"
        elif not all(text.strip() for text in texts):
            yield "a text is empty"
        else:
            yield Row(name, texts, numbers[label], images)
