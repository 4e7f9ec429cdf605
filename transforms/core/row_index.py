"""The groups of a task's input rows, and their digests: what decides whether a group's output can be copied (`transforms/core/rows.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.corpus import Corpus
from schemas.corpus_hash import is_layout
from schemas.row_digests import combined, run_digests

IDS = ("pair_id", "query_id", "id")  # columns by which a table's rows are found, if it lacks those of `rows_by`


class CannotMerge(Exception):  # noqa: N818 - not an error: the task is then repeated as a whole
    """Rows of an earlier run cannot be combined with new ones."""


@dataclass
class RowIndex:
    """The groups of a task's input rows, in the corpus's order.

    keys: their ids. digests: of all their input rows. of: the group of any id. rows_in: rows that count as input, per group.
    rows: by input table, the group of each row, int64 [n]. loose: a row's digest leaves out columns that may be part of rejects' details.
    """

    keys: list[str]
    digests: list[bytes]
    of: dict[str, int]
    rows_in: np.ndarray
    rows: dict[tuple[str, str], np.ndarray]
    loose: bool
    by: tuple[str, ...]
    partition: int

    def groups_of(self, ids: pa.Array) -> np.ndarray:
        """The group of each of n ids, int64 [n]; -1: none."""
        starts = _starts(ids)
        found = np.array([self.of.get(one, -1) for one in ids.take(pa.array(starts)).to_pylist()], np.int64)
        return np.repeat(found, np.diff(np.append(starts, len(ids))))

    def group_of(self, row_id: str) -> int:
        """The group of an id. Raises ValueError, naming it, if it is in none of the inputs."""
        if row_id not in self.of:
            raise ValueError(f"{row_id!r} was counted or refused, but none of the stage's inputs has a row with this id")
        return self.of[row_id]


def id_column(schema: pa.Schema, by: tuple[str, ...]) -> str:
    """The column by which the rows of a table are found. Raises CannotMerge if it has none."""
    for name in (*by, *IDS):
        if name in schema.names:
            return name
    raise CannotMerge(f"a table without ids: {', '.join(schema.names)}")


def _starts(ids: pa.Array) -> np.ndarray:
    """Where each run of equal ids begins, int64 [runs]; ids are grouped, so this is far cheaper than looking up each."""
    if not len(ids):
        return np.zeros(0, np.int64)
    return np.concatenate([[0], np.flatnonzero(pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)) + 1])


class _Groups:
    """Collects keys and digests, table by table."""

    def __init__(self, by: tuple[str, ...]):
        self.by, self.of = by, dict[str, int]()
        self.keys: list[str] = []
        self.parts: list[list[bytes]] = []

    def add(self, batches: Iterable[pa.RecordBatch], name: str, chosen: Sequence[str], mark: bytes, table: str) -> np.ndarray:
        """Adds a table, whose rows are found by column `name`, over columns `chosen`; returns the group of each row, int64 [n].

        mark: bytes that tell its digests from other tables'. Raises CannotMerge if rows belong to no known group.
        """
        groups = [np.zeros(0, np.int64)]
        for batch, own, starts in _whole_runs(self._numbered(batches, name, table)):
            groups.append(own)
            for group, digest in zip(own[starts].tolist(), run_digests(batch.select(chosen), starts), strict=True):
                self.parts[group] += (mark, digest)
        return np.concatenate(groups)

    def _numbered(self, batches: Iterable[pa.RecordBatch], name: str, table: str) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
        for batch in batches:
            starts = _starts(batch[name])
            found = batch[name].take(pa.array(starts)).to_pylist()
            if name in self.by:
                for key in found:
                    if key not in self.of:
                        self.of[key] = len(self.keys)
                        self.keys.append(key)
                        self.parts.append([])
            own = np.array([self.of.get(one, -1) for one in found], np.int64)
            if (own < 0).any():
                raise CannotMerge(f"{table} has rows of pairs that no earlier input has")
            own = np.repeat(own, np.diff(np.append(starts, batch.num_rows)))
            if name in self.by and name != "pair_id" and "pair_id" in batch.schema.names:
                self.of.update(zip(batch["pair_id"].to_pylist(), own.tolist(), strict=True))
            yield batch, own


def _whole_runs(batches: Iterable[tuple[pa.RecordBatch, np.ndarray]]) -> Iterator[tuple[pa.RecordBatch, np.ndarray, np.ndarray]]:
    """The same rows in batches that cut no group's run: (batch, groups int64 [n], where runs start int64 [runs])."""
    held: tuple[pa.RecordBatch, np.ndarray] | None = None
    for batch, groups in batches:
        if not len(groups):
            continue
        if held and held[1][-1] == groups[0]:
            head = int(np.flatnonzero(np.append(groups[1:] != groups[:-1], True))[0]) + 1
            held = joined([held[0], batch.slice(0, head)], batch.schema), np.append(held[1], groups[:head])
            batch, groups = batch.slice(head), groups[head:]
            if not len(groups):
                continue
        if held:
            yield *held, _edges(held[1])
        last = int(_edges(groups)[-1])
        if last:
            yield batch.slice(0, last), groups[:last], _edges(groups[:last])
        held = batch.slice(last), groups[last:]
    if held:
        yield *held, _edges(held[1])


def _edges(groups: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.flatnonzero(groups[1:] != groups[:-1]) + 1])


def joined(pieces: Sequence[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    """One batch of the rows of several."""
    columns = [pa.concat_arrays([piece.column(number) for piece in pieces]) for number in range(len(schema))]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def index_rows(stage: Any, corpus: Corpus, partition: int) -> RowIndex:
    """The groups of a partition's input rows. Raises CannotMerge if they cannot be determined."""
    groups = _Groups(stage.rows_by)
    found: dict[tuple[str, str], np.ndarray] = {}
    counted: dict[tuple[str, str], np.ndarray] = {}
    loose = False
    for number, source in enumerate(source for source in stage.inputs if source.scope == "partition"):
        with corpus.open(source.stage, source.table, partition) as file:
            name = id_column(file.schema, stage.rows_by)
            chosen = [one for one in file.schema.names if source.columns is None or one in source.columns]
            loose |= any(is_layout(file.schema.field(one)) for one in file.schema.names if one not in chosen)
            own = groups.add(file.batches(), name, chosen, number.to_bytes(2, "little"), f"{source.stage}/{source.table}")
        found[source.stage, source.table] = own
        if source.table in stage.rows_counted or (not stage.rows_counted and not counted):
            counted[source.stage, source.table] = own
    rows_in = np.zeros(len(groups.keys), np.int64)
    for own in counted.values():
        rows_in += np.bincount(own, minlength=len(groups.keys))
    return RowIndex(groups.keys, [combined(one) for one in groups.parts], groups.of, rows_in, found, loose, stage.rows_by, partition)
