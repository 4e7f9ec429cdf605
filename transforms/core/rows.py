"""Reuse of rows: a task copies unchanged rows from the files of an earlier run, and makes only the others.

A stage that names columns in `rows_by` promises that a row's output depends only on the input rows with the same value in that column
(its group), on the stage's identity, the seed, and what is corpus-wide. Its tasks write, beside their tables, the `rows` table: a digest of
each group's input, and the counts of its output. A later task with the same basis processes the groups whose digest has changed, and copies
the others' rows; the resulting files are those of a task that processes everything.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas import files
from schemas.corpus import Corpus
from schemas.corpus_hash import is_layout
from schemas.errors import CorpusError, SchemaError
from schemas.manifest import TaskRecord
from schemas.rejects import TRANSIENT
from schemas.row_digests import ROWS, ROWS_TABLE, combined, row_digests, rows_table
from schemas.store import TableFile, TableWriter
from schemas.tables import BATCH_ROWS
from transforms.core.compared import earlier, state_of

_IDS = ("pair_id", "query_id", "id")  # columns by which a table's rows are found, if it lacks those of `rows_by`
DEPENDENT = "dependent_on_batch"  # suffix of counts of rows whose result depends on the other rows in their batch


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

    def groups_of(self, batch: pa.RecordBatch | pa.Table) -> np.ndarray:
        """The group of each row, int64 [n]; -1: none. Raises CannotMerge if the table has no column of ids."""
        name = _id_column(batch.schema, self.by)
        return np.array([self.of.get(one, -1) for one in batch[name].to_pylist()], np.int64)

    def group_of(self, row_id: str) -> int:
        """The group of an id. Raises ValueError, naming it, if it is in none of the inputs."""
        if row_id not in self.of:
            raise ValueError(f"{row_id!r} was counted or refused, but none of the stage's inputs has a row with this id")
        return self.of[row_id]


def _id_column(schema: pa.Schema, by: tuple[str, ...]) -> str:
    for name in (*by, *_IDS):
        if name in schema.names:
            return name
    raise CannotMerge(f"a table without ids: {', '.join(schema.names)}")


def index_rows(stage: Any, corpus: Corpus, partition: int) -> RowIndex:
    """The groups of a partition's input rows. Raises CannotMerge if they cannot be determined."""
    of: dict[str, int] = {}
    keys: list[str] = []
    parts: list[list[bytes]] = []
    found: dict[tuple[str, str], np.ndarray] = {}
    counted: dict[tuple[str, str], np.ndarray] = {}
    loose = False
    for number, source in enumerate(source for source in stage.inputs if source.scope == "partition"):
        with corpus.open(source.stage, source.table, partition) as file:
            name = _id_column(file.schema, stage.rows_by)
            chosen = [one for one in file.schema.names if source.columns is None or one in source.columns]
            loose |= any(is_layout(file.schema.field(one)) for one in file.schema.names if one not in chosen)
            groups: list[int] = []
            for batch in file.batches():
                row_ids = batch[name].to_pylist()
                if name in stage.rows_by:
                    for key in row_ids:
                        if key not in of:
                            of[key] = len(keys)
                            keys.append(key)
                            parts.append([])
                    if name != "pair_id" and "pair_id" in batch.schema.names:
                        of.update(zip(batch["pair_id"].to_pylist(), [of[key] for key in row_ids], strict=True))
                own = [of.get(row_id, -1) for row_id in row_ids]
                if -1 in own:
                    raise CannotMerge(f"{source.stage}/{source.table} has rows of pairs that no earlier input has")
                mark = number.to_bytes(2, "little")
                for group, digest in zip(own, row_digests(batch.select(chosen)), strict=True):
                    parts[group] += (mark, digest)
                groups += own
            found[source.stage, source.table] = np.array(groups, np.int64)
            if source.table in stage.rows_counted or (not stage.rows_counted and not counted):
                counted[source.stage, source.table] = found[source.stage, source.table]
    rows_in = np.zeros(len(keys), np.int64)
    for groups_ in counted.values():
        rows_in += np.bincount(groups_, minlength=len(keys))
    return RowIndex(keys, [combined(own) for own in parts], of, rows_in, found, loose, stage.rows_by, partition)


@dataclass
class RowReuse:
    """The groups of a task's rows that are copied from an earlier task, and the counts of every group.

    kept: which groups are copied, bool [groups]; `counts` has their counts, and the task adds those of the others.
    """

    index: RowIndex
    corpus: Corpus
    stage: str
    earlier: TaskRecord | None = None
    home: Corpus | None = None  # the corpus with the earlier task
    kept: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    counts: list[Counter[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not len(self.kept):
            self.kept = np.zeros(len(self.index.keys), bool)
        if not self.counts:
            self.counts = [Counter() for _ in self.index.keys]

    @property
    def made(self) -> int:
        """Input rows that the task processes."""
        return int(self.index.rows_in[~self.kept].sum())

    def narrowed(self, file: TableFile, stage: str, table: str) -> TableFile:
        """An input table without the rows of kept groups."""
        groups = self.index.rows.get((stage, table))
        return file if groups is None or not self.kept.any() else ChosenRows(file, ~self.kept[groups])

    def old(self, table: str) -> TableFile:
        """The earlier task's file of a table; its bytes are checked."""
        assert self.earlier and self.home
        for one in self.earlier.files:
            if one.table == table:
                return TableFile(files.join(self.home.folder(self.stage), one.name), table, sha256=one.sha256)
        raise CannotMerge(f"the earlier task wrote no {table}")

    def old_schema(self, table: str, declared: pa.Schema) -> pa.Schema:
        """The schema of the earlier task's table if rows of it are kept; else the declared one."""
        if not self.kept.any():
            return declared
        with self.old(table) as file:
            groups = (self._keeps(self.index.groups_of(batch)).any() for batch in file.batches())
            return file.schema if any(groups) else declared

    def id_column(self, schema: pa.Schema) -> str:
        """The column of a table by which its rows are found. Raises CannotMerge if there is none."""
        return _id_column(schema, self.index.by)

    def kept_rejects(self) -> list[pa.RecordBatch]:
        """The earlier task's rejects of kept groups."""
        if not self.kept.any():
            return []
        with self.old("rejects") as file:
            return [batch.filter(pa.array(self._keeps(self.index.groups_of(batch)))) for batch in file.batches()]

    def _keeps(self, groups: np.ndarray) -> np.ndarray:
        return np.asarray((groups >= 0) & self.kept[groups]) if len(self.kept) else np.zeros(len(groups), bool)

    def kept_runs(self, table: str, numbered: Mapping[str, pa.Array]) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
        """The earlier task's rows of kept groups, batch by batch, with their groups, ascending.

        numbered: by column that contains row numbers of an input, that input's ids, row by row: the numbers are recomputed.
        """
        last = -1
        with self.old(table) as file:
            for batch in file.batches():
                groups = self.index.groups_of(batch)
                keep = self._keeps(groups)
                groups = groups[keep]
                if not len(groups):
                    continue
                if groups[0] < last or (np.diff(groups) < 0).any():
                    raise CannotMerge(f"{table} is not in the order of the inputs")
                last = int(groups[-1])
                batch = _renumbered(batch, numbered, self.index.by)
                for start, end in _runs(keep):
                    yield groups[: end - start], batch.slice(start, end - start)
                    groups = groups[end - start :]

    def count(self, names: Mapping[str, Mapping[str, int]]) -> None:
        """Adds counts of rows of new groups, by name and row id."""
        for name, by_id in names.items():
            for row_id, number in by_id.items():
                self.counts[self.index.group_of(row_id)][name] += number

    def count_rejects(self, rejects: pa.Table) -> None:
        """Adds the new rejects."""
        if rejects.num_rows:
            plain = pa.table({"id": rejects["id"], "reason": rejects["reason"].cast(pa.string())})
            for row in plain.group_by(["id", "reason"]).aggregate([([], "count_all")]).to_pylist():
                self.counts[self.index.group_of(row["id"])][f"reasons.{row['reason']}"] += row["count_all"]

    def totals(self) -> dict[str, int]:
        """The sums of all counts, by name."""
        total: defaultdict[str, int] = defaultdict(int)
        for own in self.counts:
            for name, number in own.items():
                total[name] += number
        return dict(total)

    def table(self) -> pa.RecordBatch:
        """The `rows` table of this task."""
        for own, kept, rows in zip(self.counts, self.kept.tolist(), self.index.rows_in.tolist(), strict=True):
            if not kept:
                own["rows_in"] = rows
        return rows_table(self.index.keys, self.index.digests, self.counts)


def reuse_of(stage: Any, corpus: Corpus, partition: int, basis: str, base: Corpus | None = None) -> RowReuse:
    """The rows that a task can keep from its earlier run in this corpus, or else in the base.

    Raises CannotMerge if its input rows cannot be grouped.
    """
    reuse = RowReuse(index_rows(stage, corpus, partition), corpus, stage.name)
    for home in (corpus, base):
        record = home.record(stage.name, partition) if home else None
        if record is None or record.basis != basis or (record.stage, record.partition) != (stage.name, partition):
            continue
        if any(name.endswith(DEPENDENT) and number for name, number in record.counts.numbers.items()):
            continue
        reuse.earlier, reuse.home = record, home
        try:
            known = _known(reuse)
            for one in record.files:
                reuse.old(one.table).close()
        except (CorpusError, SchemaError, FileNotFoundError, CannotMerge):
            reuse.earlier = reuse.home = None
            continue
        for number, (key, digest) in enumerate(zip(reuse.index.keys, reuse.index.digests, strict=True)):
            reuse.kept[number] = key in known and known[key][0] == digest and not _again(known[key][1], reuse.index.loose)
        _unreached(stage, reuse, record)
        for number in np.flatnonzero(reuse.kept).tolist():
            reuse.counts[number] = Counter(known[reuse.index.keys[number]][1])
        break
    return reuse


def _unreached(stage: Any, reuse: RowReuse, record: TaskRecord) -> None:
    """Keeps only the groups that changes of compared inputs do not reach."""
    assert reuse.home
    if reuse.kept.any() and record.state != state_of(stage, reuse.corpus):
        before = earlier(stage, reuse.home, record.state)
        reuse.kept &= ~stage.reached(reuse, before) if before else False


def _known(reuse: RowReuse) -> dict[str, tuple[bytes, dict[str, int]]]:
    with reuse.old(ROWS_TABLE) as file:
        if not file.schema.equals(ROWS):
            raise CannotMerge("its rows have another schema")
        held = file.read().to_pylist()
    return {row["group"]: (row["digest"], {one["name"]: one["number"] for one in row["counts"]}) for row in held}


def _again(counts: Mapping[str, int], loose: bool) -> bool:
    """Whether a group is made again despite the same input: an image was unreachable, or rejects may name columns not in the digest."""
    refused = [name for name in counts if name.startswith("reasons.")]
    return bool(refused) and (loose or any(f"reasons.{reason}" in counts for reason in TRANSIENT))


class ChosenRows(TableFile):
    """Some rows of a table file, in batches of the usual size."""

    def __init__(self, whole: TableFile, chosen: np.ndarray):
        self._whole = whole
        self.url, self.schema, self._source, self._reader = whole.url, whole.schema, whole._source, whole._reader
        self._rows = list(_runs(chosen))
        self._size = BATCH_ROWS.get(whole.schema.metadata[b"cmcl.table"].decode(), 2**31)
        self._many = int(chosen.sum())
        self.num_batches = -(-self._many // self._size)
        ends = np.cumsum([whole.batch(number).num_rows for number in range(whole.num_batches)])
        self._firsts = [0, *ends.tolist()]

    def batch(self, index: int) -> pa.RecordBatch:
        """The record batch at `index` of the chosen rows."""
        start, end = index * self._size, min((index + 1) * self._size, self._many)
        pieces: list[pa.RecordBatch] = []
        passed = 0
        for first, last in self._rows:
            low, high = max(first, first + start - passed), min(last, first + end - passed)
            if low < high:
                pieces += self._pieces(low, high)
            passed += last - first
        return _joined(pieces, self.schema)

    def _pieces(self, low: int, high: int) -> Iterator[pa.RecordBatch]:
        number = int(np.searchsorted(self._firsts, low, side="right")) - 1
        while low < high:
            end = min(high, self._firsts[number + 1])
            if end > low:
                yield self._whole.batch(number).slice(low - self._firsts[number], end - low)
            low, number = end, number + 1

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The chosen rows, or some of their columns."""
        table = self._whole.read(columns)
        parts = [table.slice(first, last - first) for first, last in self._rows]
        return pa.concat_tables(parts) if parts else table.slice(0, 0)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self._many


class MergingWriter:
    """Writes new rows to a table, and the kept rows of the earlier file between them, in the order of the groups."""

    def __init__(self, writer: TableWriter, reuse: RowReuse, table: str, numbered: Mapping[str, pa.Array], schema: pa.Schema):
        if not reuse.old_schema(table, schema).equals(schema, check_metadata=True):
            raise CannotMerge(f"the schema of {table} has changed")
        self._writer = writer
        self._reuse = reuse
        self._numbered = numbered
        self._old = reuse.kept_runs(table, numbered)
        self._next = next(self._old, None)
        self._last = -1

    def write(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Appends new rows, after the kept ones that come before them."""
        for batch in rows.to_batches() if isinstance(rows, pa.Table) else [rows]:
            groups = self._reuse.index.groups_of(batch)
            if not len(groups):
                continue
            if groups[0] < max(self._last, 0) or (np.diff(groups) < 0).any():
                raise CannotMerge("new rows are not in the order of the inputs")
            batch = _renumbered(batch, self._numbered, self._reuse.index.by)  # the stage numbered the rows that it was given
            starts = np.concatenate([[0], np.flatnonzero(np.diff(groups)) + 1, [len(groups)]])
            for start, end in zip(starts.tolist(), starts[1:].tolist(), strict=False):
                self._flush(int(groups[start]))
                self._writer.write(batch.slice(start, end - start))
            self._last = int(groups[-1])

    def _flush(self, limit: int) -> None:
        """Writes the kept rows of groups below `limit`."""
        while self._next is not None:
            groups, batch = self._next
            many = int(np.searchsorted(groups, limit))
            if many:
                self._writer.write(batch.slice(0, many))
            if many < len(groups):
                self._next = groups[many:], batch.slice(many)
                return
            self._next = next(self._old, None)

    def finish(self) -> None:
        """Writes the kept rows that are left."""
        self._flush(len(self._reuse.index.keys))


def _runs(chosen: np.ndarray) -> Iterator[tuple[int, int]]:
    """Start and end of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8)))
    return zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _joined(pieces: Sequence[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    columns = [pa.concat_arrays([piece.column(number) for piece in pieces]) for number in range(len(schema))]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _renumbered(batch: pa.RecordBatch, numbered: Mapping[str, pa.Array], by: tuple[str, ...]) -> pa.RecordBatch:
    for name, row_ids in numbered.items():
        at = batch.schema.get_field_index(name)
        found = pc.index_in(batch[_id_column(batch.schema, by)], value_set=row_ids).cast(pa.int64())
        batch = batch.set_column(at, batch.schema.field(at), found)
    return batch
