"""Fine-tuning and measuring on a task's own files: their rows, with the tokenizer and the regions of a corpus, as batches."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from model.batch import Batch, DataFacts, Fragments, Stream, Vocabulary
from model.checkpoint import Checkpoint
from model.config import TrainSettings, wanted
from model.data.collate import image_table, text_table
from model.data.loader import Batches, Steps, log
from model.data.order import share_of
from model.data.settings import DataSettings
from model.data.shards import Shards
from model.generation import fragment_table
from model.objectives.base import Views
from model.scoring import check_corpus, load_network, task_in
from model.tasks import TASKS, task_of
from model.tasks.base import Row, Task
from model.tasks.generation import Generation
from model.trials import CorpusImages
from schemas.errors import ConfigError, SourceError
from schemas.ids import counter_rng
from schemas.manifest import fingerprint
from schemas.regions import Regions
from schemas.tokenizer import Tokenizer


class TaskRows:
    """The usable rows of some splits of a task.

    rows: the examples. left_out: others, by reason. cut: rows whose texts were too long, and have lost the ends of the longest, or whose
    target has lost its end. training: as in training, where each of several texts to write is a row.

    Raises SourceError when a file is missing or another's, or none of its rows can be used; ConfigError as `Task.splits` does.
    """

    def __init__(self, task: Task, splits: Sequence[str], data: DataSettings, shards: Shards, training: bool = False):
        self._task = task
        self.left_out, self._settings, self._tokenizer = Counter[str](), data, shards.tokenizer
        self._images = CorpusImages(data.corpus, task.settings.source) if task.stream == "pairs" else None
        self._why: dict[str, str | None] = {}
        self.rows: list[Row] = []
        for split in splits:
            before = len(self.rows), self.left_out.total()
            for row in task.read(split):
                if why := row if isinstance(row, str) else self._unusable(row):
                    self.left_out[why] += 1
                elif isinstance(row, Row):
                    self.rows += task.examples(row) if training else [row]
            if len(self.rows) == before[0]:
                reasons = ", ".join(f"{count}: {reason}" for reason, count in self.left_out.items())
                rows = f"none of its {self.left_out.total() - before[1]} rows can be used; {reasons}" if reasons else "it has no rows"
                raise SourceError(f"{task.urls(split)[0]}: {rows}")
        if (room := data.max_tokens - 2 - task.room) < 1:
            raise ConfigError(f"data.max_tokens: {data.max_tokens} leaves no room beside {task.name}.target_tokens: {task.room}")
        self.tokens, self.marks, cut = _tokens(self.rows, shards.tokenizer, room)
        self.written = [np.zeros(0, np.int32)] * len(self.rows)
        if isinstance(task, Generation) and training:
            whole = shards.tokenizer.encode([task.written(row) for row in self.rows])
            self.written = [tokens[: task.room] for tokens in whole]
            cut = [short or len(tokens) > task.room for short, tokens in zip(cut, whole, strict=True)]
        self.cut = sum(cut)

    def batch(self, stream: Stream, numbers: np.ndarray, vocabulary: Vocabulary, hidden: bool = False) -> Batch:
        """A batch of P rows, with the first image of each, then, if there are two, the second; hidden: with every region masked."""
        rows, keys = [self.rows[number] for number in numbers.tolist()], [0] * len(numbers)
        texts = text_table([self.tokens[number] for number in numbers.tolist()], keys, self._settings, vocabulary)
        names = tuple(row.name for row in rows)
        fragments = self._fragments(numbers.tolist(), vocabulary) if isinstance(self._task, Generation) else None
        marks = None if fragments else self._marks(numbers.tolist(), texts.ids.shape[1])
        if self._images is None:
            return Batch(stream, names, texts=texts, fragments=fragments, marks=marks)
        regions = [self._task.regions(row, self._regions(row.images[at])) for at in range(len(rows[0].images)) for row in rows]
        images = image_table(regions, [0] * len(regions), self._settings)
        if hidden:
            images = replace(images, hidden=torch.arange(images.boxes.shape[1]) < images.counts[:, None])
        return Batch(stream, names, images, texts, fragments=fragments, marks=marks)

    def _fragments(self, numbers: Sequence[int], vocabulary: Vocabulary) -> Fragments:
        sources, targets, marks = ([held[number] for number in numbers] for held in (self.tokens, self.written, self.marks))
        assert isinstance(self._task, Generation)
        mark = self._task.mark
        return fragment_table(sources, targets, vocabulary, marks if mark else None, mark)

    def _marks(self, numbers: Sequence[int], width: int) -> torch.Tensor | None:
        """Marks of the tokens, int64 [P, width, m]; zero at `[CLS]`, `[SEP]` and padding. None if the task has none."""
        held = [self.marks[number] for number in numbers]
        made = np.zeros((len(held), width, held[0].shape[1]), np.int64)
        for row, own in zip(made, held, strict=True):
            row[1 : 1 + len(own)] = own
        return torch.from_numpy(made) if made.shape[2] else None

    def _regions(self, name: str) -> Regions:
        assert self._images is not None
        found = self._images.find(name, None)
        assert isinstance(found, Regions)  # else the row was left out
        return found

    def _unusable(self, row: Row) -> str | None:
        """Why a row's texts cannot be encoded, or its images not be shown."""
        try:
            "".join((*row.texts, *(row.target if isinstance(self._task, Generation) else ()))).encode()
        except UnicodeEncodeError:
            return "a text is not Unicode (half a surrogate pair)"
        for name in row.images if self._images else ():
            if name not in self._why:
                found = self._images.find(name, None) if self._images else None
                self._why[name] = found if isinstance(found, str) else None
        return next((why for name in row.images if (why := self._why.get(name))), None)

    @cached_property
    def digest(self) -> str:
        """A hash of the rows."""
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(repr(row).encode())
        return digest.hexdigest()


def _tokens(rows: Sequence[Row], tokenizer: Tokenizer, room: int) -> tuple[list[np.ndarray], list[np.ndarray], list[bool]]:
    """One sequence a row, int32, its tokens' marks, int [length, m], and whether it had to be cut.

    Between two parts stand two [SEP], as RoBERTa has it, with the first marks of the second.
    """
    encoded = iter(tokenizer.encode([text for row in rows for text in row.texts]))
    made: list[np.ndarray] = []
    told: list[np.ndarray] = []
    cut: list[bool] = []
    between = np.full(2, tokenizer.sep, np.int32)
    for row in rows:
        texts, number = [next(encoded) for _ in row.texts], row.parts or range(len(row.texts))
        marks = np.array(row.marks).reshape(len(texts), -1)
        parts = [[at for at, part in enumerate(number) if part == own] for own in dict.fromkeys(number)]
        lengths = [sum(len(texts[at]) for at in part) for part in parts]
        space = room - 2 * (len(parts) - 1)
        cut.append(sum(lengths) > space)
        while sum(lengths) > space:
            lengths[int(np.argmax(lengths))] -= 1
        pieces, own_marks = [], []
        for part, length in zip(parts, lengths, strict=True):
            pieces += [between, np.concatenate([texts[at] for at in part])[:length]]
            own_marks += [marks[part[:1]].repeat(2, 0), np.concatenate([marks[[at]].repeat(len(texts[at]), 0) for at in part])[:length]]
        made.append(np.concatenate(pieces[1:]))
        told.append(np.concatenate(own_marks[1:]))
    return made, told, cut


class TaskBatches(Steps):
    """A task's rows for training, in an order that is drawn anew every epoch; a batch may hold the end of one and the start of the next.

    Raises as `TaskRows` and `Shards` do; ConfigError when a batch is no multiple of `world`.
    """

    def __init__(self, task: Task, settings: DataSettings, *, seed: int, rank: int = 0, world: int = 1):
        shards = Shards(settings.corpus, settings.damaged == "skip", settings.verify)
        self.settings, self._task = settings, task
        self.held = held = TaskRows(task, task.splits("train"), settings, shards, training=True)
        self._seed, self._rank, self._world, self._size = seed, rank, world, settings.rows(task.stream)
        if self._size % world:
            raise ConfigError(f"batch.{task.stream}: {self._size} rows cannot be divided evenly among {world} processes")
        (features, classes), tokenizer = shards.widths, shards.tokenizer
        regions = np.concatenate([shards.pairs.columns["regions"], shards.images.columns["regions"], [0]])
        self.facts = DataFacts(
            corpus=shards.contents,
            rows={task.stream: len(held.rows)},
            features=features,
            geometry=settings.geometry,
            classes=classes if shards.has_soft_labels(every=False) else 0,
            max_regions=min(int(regions.max()), settings.max_regions),
            max_tokens=max(map(len, held.tokens)) + 2 + task.room,
            vocabulary=Vocabulary(tokenizer.size, tokenizer.pad, tokenizer.cls, tokenizer.sep, tokenizer.mask, tokenizer.sha256),
            drawn={},
            labels=task.labels(held.rows),
        )
        told = settings.model_dump(mode="json", include={"batch", "max_tokens", "max_regions", "geometry"})
        self.fingerprint = fingerprint([shards.contents, held.digest, seed, told])
        self._epoch: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))
        for reason, rows in held.left_out.items():
            log.warning("%s: %d rows are left out: %s", task.name, rows, reason)
        if held.cut:
            log.warning("%s: the texts of %d rows are cut to data.max_tokens: %d", task.name, held.cut, settings.max_tokens)

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step, counted over all epochs."""
        places = share_of(np.arange(step * self._size, (step + 1) * self._size), self._rank, self._world)
        numbers = np.array([self._order(epoch)[place] for epoch, place in zip(*divmod(places, len(self.held.rows)), strict=True)])
        batch = self.held.batch(self._task.stream, numbers, self.facts.vocabulary)
        return replace(batch, targets=self._task.targets([self.held.rows[number] for number in numbers], self.facts.labels))

    def _order(self, epoch: int) -> np.ndarray:
        if self._epoch[0] != epoch:
            self._epoch = epoch, counter_rng(self._seed, "task rows", str(epoch)).permutation(len(self.held.rows))
        return self._epoch[1]


def batches_of(settings: TrainSettings, rank: int = 0, world: int = 1) -> Steps:
    """What a training reads: the rows of its task's files, or its corpus's."""
    if settings.task in TASKS and isinstance(task := task_of(settings), Task):
        return TaskBatches(task, settings.data, seed=settings.seed, rank=rank, world=world)
    return Batches(settings.data, seed=settings.seed, masking=settings.masking, wanted=wanted(settings), rank=rank, world=world)


def measure_task(checkpoint_url: str, corpus: str, folder: str | None = None, hidden: bool = False) -> dict[str, Any]:
    """The metrics of a checkpoint on the splits that its task is evaluated on.

    Args:
        corpus: with the tokenizer of the checkpoint, and the regions of the images.
        folder: of the task's files; by default, where they were in training.
        hidden: also with every region masked, which shows what text alone gives away.

    Returns the report, as JSON. Raises CheckpointError, CorpusError, SourceError and ConfigError when something cannot be read or does not
    fit the rest.
    """
    held, report = None, {}
    for held, task, split, rows, found in answered(checkpoint_url, corpus, folder, hidden):
        report[split] = {"rows": len(rows.rows), "left_out": dict(rows.left_out), "cut": rows.cut}
        for name, answers in found.items():
            report[split][name] = task.measure(answers, rows.rows, held.state["facts"]["labels"])
    assert held is not None
    return {"checkpoint": held.url, "step": held.state["step"], "corpus": corpus, "task": task.name, "splits": report}


@torch.inference_mode()
def answered(
    checkpoint_url: str, corpus: str, folder: str | None = None, hidden: bool = False
) -> Iterator[tuple[Checkpoint, Task, str, TaskRows, dict[str, np.ndarray]]]:
    """For each split that `measure_task` measures: the checkpoint, its task, the split, its rows, and their answers under `metrics` and, if
    `hidden`, `metrics_image_hidden`. Raises as `measure_task` does.
    """
    network, held = load_network(checkpoint_url, "cuda" if torch.cuda.is_available() else "cpu")
    task, facts, shards = task_in(held, **({"folder": folder} if folder else {})), held.state["facts"], Shards(corpus)
    assert isinstance(task, Task)
    task.prepare()
    check_corpus(shards, held)
    device = network.contrast.bias.device
    data = DataSettings.model_validate({**held.state["settings"]["data"], "corpus": corpus})
    vocabulary = Vocabulary(**facts["vocabulary"])
    for split in task.splits("evaluate"):
        rows, made = TaskRows(task, [split], data, shards), {}
        for name, mask in (("metrics", False), ("metrics_image_hidden", True))[: 1 + (hidden and task.stream == "pairs")]:
            batches = (rows.batch(task.stream, some, vocabulary, mask) for some in _pieces(len(rows.rows), data.rows(task.stream)))
            with torch.autocast(device.type, torch.bfloat16, enabled=held.state["settings"]["precision"] == "bfloat16"):
                found = [task.predict(Views(network, batch.to(device))) for batch in batches]
            made[name] = task.answers(torch.cat(found), shards.tokenizer)
        yield held, task, split, rows, made


def _pieces(count: int, size: int) -> Iterator[np.ndarray]:
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
