"""How often the items of a collection are used.

image_caps, text_caps  corpus-wide  with `max_uses` alone: which queries may use an item that more than `max_uses` of them could
image_uses, text_uses  corpus-wide  the share of the collection that is used, and the most used item, for the manifest
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from schemas.ids import placements
from schemas.vectors import CAPS, NEIGHBOURS
from transforms.core.stage import Input, SummaryStage
from transforms.core.task import Task
from transforms.retrieval.base import OfImages, OfTexts, RetrievalStage, collection_of
from transforms.retrieval.search import MILLION
from transforms.retrieval.settings import RetrievalParams

Wanted = tuple[np.ndarray, np.ndarray, np.ndarray]


class _Caps(RetrievalStage, SummaryStage[RetrievalParams]):
    """For each item that is a candidate of more than `max_uses` queries above the floor, writes the last query that may use it.

    Queries are ordered by score, then placement, so the choice depends on neither partitions nor the order of work.
    """

    internal = True
    writes = {"caps": CAPS}
    neighbours: ClassVar[str]

    @classmethod
    def applies(cls, params: RetrievalParams) -> bool:
        """Only if uses are limited."""
        own = getattr(params.retrieval, cls.lists)
        return own is not None and own.max_uses is not None

    @property
    def reads(self) -> Sequence[Input]:
        """The candidates of all queries."""
        return (Input(self.neighbours, "neighbours", "corpus"),)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The limit, and the score below which candidates do not count."""
        return {"max_uses": self.own.max_uses, "floor": self.own.floor}

    def summarise(self, task: Task) -> Wanted:
        """Positions, scores and queries' placements of a partition's candidates: per item, the first `max_uses` + 1."""
        found = _EMPTY
        with task.open(self.neighbours, "neighbours") as file:
            for batch in file.batches():
                queries = placements(batch["id"].to_pylist())
                owners = np.repeat(queries, batch["positions"].value_lengths().to_numpy())
                positions, scores = (batch[name].flatten().to_numpy() for name in NEIGHBOURS.names[1:])
                high = scores >= round(self.own.floor * MILLION)
                found = self.combine([found, (positions[high], scores[high].astype(np.int64), owners[high])])
        return found

    def combine(self, summaries: Sequence[Wanted]) -> Wanted:
        """The first `max_uses` + 1 per item, ordered by item."""
        assert self.own.max_uses
        positions, scores, queries = (np.concatenate(values) for values in zip(*summaries, strict=True))
        order = np.lexsort((queries, -scores, positions))
        positions = positions[order]
        nth = np.arange(len(positions)) - np.searchsorted(positions, positions)
        kept = order[nth <= self.own.max_uses]
        return positions[nth <= self.own.max_uses], scores[kept], queries[kept]

    def process(self, task: Task, payload: Wanted) -> None:
        """Writes the items with more queries than may use them."""
        assert self.own.max_uses
        positions, scores, queries = payload
        starts = np.searchsorted(positions, positions)
        over = np.arange(len(positions)) - starts == self.own.max_uses
        last = np.flatnonzero(over) - 1
        task.write("caps", pa.table([positions[last], scores[last], queries[last]], schema=CAPS).combine_chunks())
        task.extra = {"max_uses": self.own.max_uses, "items_capped": len(last)}


_EMPTY: Wanted = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))


class ImageCaps(OfImages, _Caps):
    """Of the images alone."""

    name = OfImages.caps


class TextCaps(OfTexts, _Caps):
    """Of the sentences of the text collections."""

    name = OfTexts.caps


class _Uses(RetrievalStage, SummaryStage[RetrievalParams]):
    """Counts how often each item is in a list; writes figures to the manifest only."""

    internal = True
    writes: ClassVar[Mapping[str, pa.Schema]] = {}
    vectors: ClassVar[str]
    matches: ClassVar[str]

    @property
    def reads(self) -> Sequence[Input]:
        """All lists, and the collection."""
        return Input(self.matches, "matches", "corpus"), Input(self.vectors, "vectors", "corpus")

    @property
    def settings(self) -> Mapping[str, Any]:
        """None besides its inputs."""
        return {}

    def summarise(self, task: Task) -> tuple[np.ndarray, np.ndarray]:
        """The items in a partition's lists, as one number for partition and row, ascending, and the number of uses of each."""
        with task.open(self.matches, "matches") as file:
            found = [
                batch["partition"].to_numpy().astype(np.int64) << 40 | batch["row"].to_numpy() for batch in file.batches() if batch.num_rows
            ]
        items, uses = np.unique(np.concatenate([*found, np.zeros(0, np.int64)]), return_counts=True)
        return items, uses

    def combine(self, summaries: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """The sums."""
        both, uses = (np.concatenate(values) for values in zip(*summaries, strict=True))
        items, where = np.unique(both, return_inverse=True)
        total = np.zeros(len(items), np.int64)
        np.add.at(total, where, uses)
        return items, total

    def process(self, task: Task, payload: tuple[np.ndarray, np.ndarray]) -> None:
        """Adds the figures to the manifest."""
        items, uses = payload
        size = len(collection_of(task.corpus, self.vectors))
        task.extra = {"collection": size, "used": len(items), "share_used": round(len(items) / size, 6) if size else 0.0}
        if len(items):
            most = int(uses.argmax())  # ties go to the first in the collection's order
            task.extra |= {"most_used": self._id(task, int(items[most])), "most_uses": int(uses[most])}

    def _id(self, task: Task, item: int) -> str:
        partition, row = item >> 40, item & ((1 << 40) - 1)
        held = task.read(self.vectors, "vectors", partition)
        return str(held["id"][int(np.searchsorted(held["row"].to_numpy(), row))].as_py())


class ImageUses(OfImages, _Uses):
    """Of the images alone."""

    name = "image_uses"


class TextUses(OfTexts, _Uses):
    """Of the sentences of the text collections."""

    name = "text_uses"
