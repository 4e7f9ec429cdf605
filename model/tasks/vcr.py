"""VCR (Zellers et al. 2019): choosing one of four answers to a question about a photo, then one of four rationales for the right answer.

As in UNITER, each choice is a sequence of its own, `question [SEP] choice`, or `question [SEP] answer [SEP] choice`, scored by two layers,
and the photo's regions are the objects' boxes, each with the features of the detected region that overlaps it most, then the detected
regions. Trained by binary cross-entropy on the choices, all of them. The name of an object in the text is tied to its region, whose
embedding, projected, is added to the name's. Metrics: accuracy from question to answer (`qa`), from question and answer to rationale
(`qar`), and of both together (`joint`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from model.batch import Stream
from model.heads import Network, wide
from model.objectives.base import ObjectiveSettings, Views
from model.tasks.base import Row, Task, TaskSettings, pooled
from model.tasks.boxes import Box, joined, regions_at, shares
from model.tasks.published import read_json, read_json_lines
from schemas import files, vcr
from schemas.regions import Regions

QUESTION, ANSWER, RATIONALE = range(3)  # roles of words


class Choice(NamedTuple):
    """What a row is judged by: its question, `answer` or `rationale`, and whether it is the right choice. boxes: of the objects."""

    question: str
    kind: str
    right: bool
    boxes: tuple[Box, ...]


class VcrSettings(TaskSettings):
    """VCR."""

    images: str = Field("vcr1images", description="folder, in the task's folder, of the files that `metadata_fn` names")


class Vcr(Task):
    """`train.jsonl` and `val.jsonl` of vcr1annots; a photo's metadata has `boxes` (x1, y1, x2, y2, score, px), `width` and `height`.

    A row is a question with one choice. A token's marks are its role, and the position of its object's region, from 1 (0: none).
    """

    name: ClassVar[str] = "vcr"
    streams: ClassVar[tuple[Stream, ...]] = ("pairs",)
    settings_type: ClassVar[type[ObjectiveSettings]] = VcrSettings
    files: ClassVar[dict[str, tuple[str, ...]]] = {split: (f"{split}.jsonl",) for split in ("train", "val")}
    evaluated: ClassVar[tuple[str, ...]] = ("val",)

    def read(self, split: str) -> Iterator[Row | str]:
        """The choices of a split, those of a question one after the other; or, for a question, why it cannot be used."""
        seen: set[str] = set()
        for found in read_json_lines(self.urls(split)[0], vcr.KEYS):
            number = "" if isinstance(found, str) else str(found[1]["annot_id"])
            if number and number in seen:
                yield "its annot_id is another's"
                continue
            seen.add(number)
            try:
                yield from [found] if isinstance(found, str) else list(self._choices(split, found[1]))
            except ValueError as error:
                yield str(error)

    def _choices(self, split: str, held: dict[str, Any]) -> Iterator[Row]:
        objects, boxes = held["objects"], self._boxes(str(held["metadata_fn"]))
        if not isinstance(objects, list) or len(objects) != len(boxes):
            raise ValueError("its metadata does not have a box for each object")
        (answers, right), (rationales, _) = (vcr.choices(held, kind) for kind in ("answer", "rationale"))
        question = (QUESTION, held["question"])
        asked = {"answer": [question], "rationale": [question, (ANSWER, answers[right])]}
        for kind, role, offered in (("answer", ANSWER, answers), ("rationale", RATIONALE, rationales)):
            for number, choice in enumerate(offered):
                parts = [*asked[kind], (role, choice)]
                said = [(at, own, *piece) for at, (own, text) in enumerate(parts) for piece in _spaced(vcr.pieces(text, objects))]
                yield Row(
                    f"{split}:{held['annot_id']}:{kind}:{number}",
                    tuple(words for _, _, words, _ in said),
                    Choice(str(held["annot_id"]), kind, number == held[f"{kind}_label"], boxes),
                    (str(held["img_fn"]),),
                    tuple((own, 0 if tag is None else tag + 1) for _, own, _, tag in said),
                    tuple(at for at, *_ in said),
                )

    def _boxes(self, name: str) -> tuple[Box, ...]:
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError("its metadata_fn is outside the folder of images")
        held = read_json(files.join(self.settings.folder, self.settings.images, name), ["boxes"])
        whole = [box for box in held["boxes"] if isinstance(box, list) and len(box) > 3]
        found = [box for x1, y1, x2, y2, *_ in whole if (box := shares(x1, y1, x2, y2, held.get("width"), held.get("height")))]
        if len(found) < len(held["boxes"]):
            raise ValueError("its metadata does not have boxes, width and height in px")
        return tuple(found)

    def regions(self, row: Row, held: Regions) -> Regions:
        """The objects, then the detected regions."""
        boxes: tuple[Box, ...] = row.target.boxes
        return joined(regions_at(held, list(boxes)), held) if boxes else held

    def head(self, network: Network, labels: Sequence[str]) -> nn.Module:
        """UNITER's two layers, embeddings of roles, and the projection of an object's region onto the words of its tag."""
        return _Head(network.body.width, network.settings.epsilon)

    def targets(self, rows: Sequence[Row], labels: Sequence[str]) -> Tensor:
        """1 for the right choices, float32 [P]."""
        return torch.tensor([float(row.target.right) for row in rows])

    def scores(self, views: Views) -> Tensor:
        """Scores of the choices, [P]."""
        network, batch = views.network, views.batch
        head, rows = network.task, torch.arange(len(batch), device=network.contrast.bias.device)
        assert isinstance(head, _Head) and batch.marks is not None and batch.images is not None
        embedded = network.body.embed(batch, mask_images=True)
        assert embedded.images is not None and embedded.texts is not None
        roles, places = batch.marks.unbind(-1)
        places = places * (places <= batch.images.counts[:, None])  # an object beyond data.max_regions is not shown
        tags = head.object(embedded.images[rows[:, None], places]) * (places > 0)[..., None]
        states = network.body.encode(replace(embedded, texts=embedded.texts + head.role(roles) + tags), rows, rows)
        assert states.cls is not None
        return wide(head.out(pooled(network, states.cls))[:, 0])

    def loss(self, views: Views) -> Tensor:
        """Sum over the choices."""
        assert views.batch.targets is not None
        return F.binary_cross_entropy_with_logits(self.scores(views), views.batch.targets, reduction="sum")

    def predict(self, views: Views) -> Tensor:
        """The scores, [P]."""
        return self.scores(views)

    def measure(self, found: np.ndarray, rows: Sequence[Row], labels: Sequence[str]) -> dict[str, float]:
        """Shares of questions with the highest score on the right choice; `joint`: on both."""
        best: dict[tuple[str, str], tuple[float, bool]] = {}
        for score, row in zip(found.tolist(), rows, strict=True):
            key = row.target.question, row.target.kind
            if key not in best or score > best[key][0]:
                best[key] = score, row.target.right
        right = {kind: {question: hit for (question, own), (_, hit) in best.items() if own == kind} for kind in ("answer", "rationale")}
        both = [hit and right["rationale"].get(question, False) for question, hit in right["answer"].items()]
        return {"qa": _mean(right["answer"].values()), "qar": _mean(right["rationale"].values()), "joint": _mean(both)}


def _mean(hits: Iterable[bool]) -> float:
    return float(np.mean(list(hits)))


def _spaced(pieces: Sequence[tuple[str, int | None]]) -> Iterator[tuple[str, int | None]]:
    """Pieces of a sentence with the spaces between them, which byte-level tokenizers encode."""
    for number, (words, tag) in enumerate(pieces):
        yield f" {words}" if number else words, tag


class _Head(nn.Module):
    def __init__(self, width: int, epsilon: float):
        super().__init__()
        self.role, self.object = nn.Embedding(3, width), nn.Linear(width, width)
        self.out = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.LayerNorm(2 * width, epsilon), nn.Linear(2 * width, 1))
