"""Chooses the pairs that the gallery shows: all, or a seeded sample that has every outcome in it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.report.reading import Reader
from schemas.ids import placements

EACH = 50  # pairs of each outcome that a sample has at least, as far as there are


@dataclass
class Chosen:
    """The pairs in the gallery, in the order of the corpus, numbered from 0.

    total: pairs in the corpus. starts: by partition, the number of its first pair. rows: by partition, the rows of its `pairs`, int64.
    outcomes: how many pairs of the corpus have each outcome, by description; empty when nothing was sampled.
    """

    ids: list[str]
    captions: list[str]
    images: list[int]  # of each pair, the number of its image
    image_ids: list[str]
    sources: list[str]
    total: int
    starts: list[int]
    rows: list[np.ndarray]
    outcomes: dict[str, int]

    @property
    def sampled(self) -> bool:
        """Whether pairs were left out."""
        return len(self.ids) < self.total


def choose(reader: Reader, most: int, seed: int) -> Chosen:
    """All pairs, or `most` of them at random and, of each outcome (what stages wrote and refused), at least 50."""
    counts = [sum(len(batch) for batch in reader.batches("pairs", "pairs", part, ["pair_id"])) for part in range(reader.corpus.partitions)]
    total = sum(counts)
    rows, outcomes = _sampled(reader, most, seed) if total > most else ([np.arange(count) for count in counts], {})
    found = Chosen([], [], [], [], [], total, [], rows, outcomes)
    numbers: dict[str, int] = {}
    for partition, kept in enumerate(rows):
        found.starts.append(len(found.ids))
        at = 0
        for batch in reader.batches("pairs", "pairs", partition, ["pair_id", "image_id", "caption", "source"]):
            own = kept[(kept >= at) & (kept < at + len(batch))] - at
            at += len(batch)
            part = batch.take(pa.array(own))
            found.ids += part["pair_id"].to_pylist()
            found.captions += part["caption"].to_pylist()
            found.sources += part["source"].to_pylist()
            for image in part["image_id"].to_pylist():
                found.images.append(numbers.setdefault(image, len(numbers)))
    found.image_ids = list(numbers)
    return found


def _sampled(reader: Reader, most: int, seed: int) -> tuple[list[np.ndarray], dict[str, int]]:
    """Rows by partition; memory is that of one partition's pairs and of the sample."""
    best = _Lowest(most)
    by_outcome: dict[int, _Lowest] = {}
    tables = [(view.name, table) for view in reader.views.values() for table in ("rewrites", "matches", "rejects")]
    tables = [one for one in tables if reader.holds(*one)]
    totals: Counter[int] = Counter()
    for partition in range(reader.corpus.partitions):
        pair_ids, images = _ids_of(reader, partition)
        outcomes = _outcomes(reader, tables, partition, pair_ids, images)
        priorities = _priorities(pair_ids, seed)
        best.add(priorities, partition, np.arange(len(priorities)))
        for outcome in np.unique(outcomes).tolist():
            rows = np.flatnonzero(outcomes == outcome)
            totals[outcome] += len(rows)
            by_outcome.setdefault(outcome, _Lowest(EACH)).add(priorities[rows], partition, rows)
    held = np.unique(np.concatenate([best.rows, *(kept.rows for kept in by_outcome.values())]), axis=0)
    said = {_describe(outcome, tables): count for outcome, count in sorted(totals.items(), key=lambda one: (-one[1], one[0]))}
    return [held[held[:, 0] == partition, 1] for partition in range(reader.corpus.partitions)], said


class _Lowest:
    """The rows with the lowest priorities so far: int64 [n, 2], partition and row."""

    def __init__(self, most: int):
        self._most = most
        self._priorities = np.zeros(0, np.int64)
        self.rows = np.zeros((0, 2), np.int64)

    def add(self, priorities: np.ndarray, partition: int, rows: np.ndarray) -> None:
        both = np.concatenate([self._priorities, priorities])
        held = np.concatenate([self.rows, np.stack([np.full(len(rows), partition), rows], 1)])
        kept = np.argsort(both, kind="stable")[: self._most]
        self._priorities, self.rows = both[kept], held[kept]


def _priorities(pair_ids: pa.Array, seed: int) -> np.ndarray:
    return placements(f"report {seed} {one}" for one in pair_ids.to_pylist())


def _ids_of(reader: Reader, partition: int) -> tuple[pa.Array, pa.Array]:
    batches = list(reader.batches("pairs", "pairs", partition, ["pair_id", "image_id"]))
    if not batches:
        return pa.array([], pa.string()), pa.array([], pa.string())
    table = pa.Table.from_batches(batches)
    return pa.concat_arrays(table["pair_id"].chunks), pa.concat_arrays(table["image_id"].chunks)


def _outcomes(reader: Reader, tables: list[tuple[str, str]], partition: int, pair_ids: pa.Array, images: pa.Array) -> np.ndarray:
    """A bit for each table: whether it has a row about the pair or its image, int64 [n]."""
    found = np.zeros(len(pair_ids), np.int64)
    for bit, (stage, table) in enumerate(tables[:62]):
        key = {"rewrites": "pair_id", "matches": "query_id", "rejects": "id"}[table]
        named: set[str] = set()
        for batch in reader.batches(stage, table, partition, [key]):
            named.update(pc.unique(batch[key]).to_pylist())
        if named:
            known = pa.array(sorted(named), pa.string())
            hit = pc.or_(pc.is_in(pair_ids, value_set=known), pc.is_in(images, value_set=known)).to_numpy(zero_copy_only=False)
            found |= hit.astype(np.int64) << bit
    return found


def _describe(outcome: int, tables: list[tuple[str, str]]) -> str:
    words = {"rewrites": "rewrites by", "matches": "matches by", "rejects": "refusals by"}
    held = [f"{words[table]} {stage}" for bit, (stage, table) in enumerate(tables) if outcome >> bit & 1]
    return ", ".join(held) or "nothing written about it"
