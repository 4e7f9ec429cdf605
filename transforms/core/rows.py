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
from schemas.errors import CorpusError, SchemaError
from schemas.manifest import TaskRecord
from schemas.rejects import TRANSIENT
from schemas.row_digests import ROWS, ROWS_TABLE, rows_table
from schemas.store import TableFile, TableWriter
from schemas.tables import BATCH_ROWS
from transforms.core.compared import earlier, state_of
from transforms.core.row_index import IDS, CannotMerge, RowIndex, id_column, index_rows, joined

ROWS_OF = "rows."  # prefix of counts of rows in a table without ids
DEPENDENT = "dependent_on_batch"  # suffix of counts of rows whose result depends on the other rows in their batch


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
    before: Corpus | None = None  # the corpus as it was for the earlier task, if compared inputs have changed since
    kept: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    counts: list[Counter[str]] = field(default_factory=list)
    _counted: dict[str, np.ndarray] = field(default_factory=dict)  # by table without ids: the group of each row of the earlier file
    _last: dict[str, int] = field(default_factory=dict)  # by table without ids: the last group that was written
    _unordered: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if not len(self.kept):
            self.kept = np.zeros(len(self.index.keys), bool)
        if not self.counts:
            self.counts = [Counter() for _ in self.index.keys]

    @property
    def made(self) -> int:
        """Input rows that the task processes."""
        return int(self.index.rows_in[~self.kept].sum())

    def know(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Finds the groups of the earlier task's rows in tables without ids. counts: of its groups, in its order."""
        of = np.array([self.index.of.get(key, -1) for key in counts], np.int64)
        for name in {name for own in counts.values() for name in own if name.startswith(ROWS_OF)}:
            self._counted[name.removeprefix(ROWS_OF)] = np.repeat(of, [own.get(name, 0) for own in counts.values()])

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
            return file.schema if any(self._keeps(groups).any() for _, groups in self._grouped(file, table)) else declared

    def _grouped(self, file: TableFile, table: str) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
        """The batches of the earlier task's file, with the group of each row."""
        own = self._counted.get(table)
        first = 0
        for batch in file.batches():
            if own is None:
                yield batch, self.index.groups_of(batch[id_column(file.schema, self.index.by)])
            else:
                yield batch, own[first : first + batch.num_rows]
            first += batch.num_rows
        if own is not None and first != len(own):
            raise CannotMerge(f"{table} has other rows than were counted")

    def kept_rejects(self) -> list[pa.RecordBatch]:
        """The earlier task's rejects of kept groups."""
        if not self.kept.any():
            return []
        with self.old("rejects") as file:
            return [batch.filter(pa.array(self._keeps(groups))) for batch, groups in self._grouped(file, "rejects")]

    def _keeps(self, groups: np.ndarray) -> np.ndarray:
        return np.asarray((groups >= 0) & self.kept[groups]) if len(self.kept) else np.zeros(len(groups), bool)

    def kept_runs(self, table: str, numbered: Mapping[str, pa.Array]) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
        """The earlier task's rows of kept groups, batch by batch, with their groups, ascending.

        numbered: by column that contains row numbers of an input, that input's ids, row by row: the numbers are recomputed.
        """
        last = -1
        with self.old(table) as file:
            for batch, every in self._grouped(file, table):
                keep = self._keeps(every)
                groups = every[keep]
                if not len(groups):
                    continue
                if groups[0] < last or (np.diff(groups) < 0).any():
                    raise CannotMerge(f"{table} is not in the order of the inputs")
                last = int(groups[-1])
                batch = self.renumbered(batch, every, numbered)
                for start, end in _runs(keep):
                    yield groups[: end - start], batch.slice(start, end - start)
                    groups = groups[end - start :]

    def renumbered(self, batch: pa.RecordBatch, groups: np.ndarray, numbered: Mapping[str, pa.Array]) -> pa.RecordBatch:
        """The batch with its row numbers of inputs recomputed. groups: int64 [n], of its rows; numbered: as in `kept_runs`."""
        if numbered:
            name = next((one for one in (*self.index.by, *IDS) if one in batch.schema.names), None)
            ids = batch[name] if name else pa.array(self.index.keys, pa.string()).take(pa.array(groups, mask=groups < 0))
        for name, row_ids in numbered.items():
            at = batch.schema.get_field_index(name)
            found = pc.index_in(ids, value_set=row_ids).cast(pa.int64())
            batch = batch.set_column(at, batch.schema.field(at), found)
        return batch

    def count_rows(self, table: str, groups: np.ndarray) -> None:
        """Counts new rows of a table without ids, by group: a later task finds them by these counts, if they are in the groups' order."""
        if len(groups):
            if groups[0] < self._last.get(table, 0) or (np.diff(groups) < 0).any():
                self._unordered.add(table)
            self._last[table] = int(groups[-1])
            for group, many in zip(*np.unique(groups, return_counts=True), strict=True):
                self.counts[group][ROWS_OF + table] += int(many)

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
            for table in self._unordered:
                own.pop(ROWS_OF + table, None)
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
        reuse.know({key: counts for key, (_, counts) in known.items()})
        _unreached(stage, reuse, record)
        for number in np.flatnonzero(reuse.kept).tolist():
            reuse.counts[number] = Counter(known[reuse.index.keys[number]][1])
        break
    return reuse


def earlier_tables(stage: Any, partition: int, basis: str, homes: Sequence[Corpus]) -> dict[str, pa.Table]:
    """The tables of a task with this basis in the first of several corpora that has one; without intact tables, none."""
    for home in homes:
        record = home.record(stage.name, partition)
        if record is None or record.basis != basis or (record.stage, record.partition) != (stage.name, partition):
            continue
        try:
            found = {}
            for one in record.files:
                with TableFile(files.join(home.folder(stage.name), one.name), one.table, sha256=one.sha256) as file:
                    found[one.table] = file.read()
            return found
        except (CorpusError, SchemaError, FileNotFoundError):
            continue
    return {}


def _unreached(stage: Any, reuse: RowReuse, record: TaskRecord) -> None:
    """Keeps only the groups that changes of compared inputs do not reach."""
    assert reuse.home
    if reuse.kept.any() and record.state != state_of(stage, reuse.corpus):
        reuse.before = earlier(stage, reuse.home, record.state)
        reuse.kept &= ~stage.reached(reuse, reuse.before) if reuse.before else False


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
        return joined(pieces, self.schema)

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
        self._written = np.zeros(len(reuse.index.keys), bool)  # groups

    def write(self, rows: pa.RecordBatch | pa.Table, every: np.ndarray | None) -> None:
        """Appends new rows, after the kept ones that come before them. every: int64 [n], their groups; None: by their ids."""
        for batch in rows.to_batches() if isinstance(rows, pa.Table) else [rows]:
            if every is None:
                groups = self._reuse.index.groups_of(batch[id_column(batch.schema, self._reuse.index.by)])
            else:
                groups, every = every[: batch.num_rows], every[batch.num_rows :]
            if not len(groups):
                continue
            if groups[0] < max(self._last, 0) or (np.diff(groups) < 0).any():
                raise CannotMerge("new rows are not in the order of the inputs")
            batch = self._reuse.renumbered(batch, groups, self._numbered)  # the stage numbered the rows that it was given
            starts = np.concatenate([[0], np.flatnonzero(np.diff(groups)) + 1, [len(groups)]])
            for start, end in zip(starts.tolist(), starts[1:].tolist(), strict=False):
                self._flush(int(groups[start]))
                self._writer.write(batch.slice(start, end - start))
            self._last = int(groups[-1])
            self._written[groups] = True

    def _flush(self, limit: int) -> None:
        """Writes the kept rows of groups below `limit`."""
        while self._next is not None:
            groups, batch = self._next
            many = int(np.searchsorted(groups, limit))
            if many:
                self._writer.write(batch.slice(0, many))
                self._written[groups[:many]] = True
            if many < len(groups):
                self._next = groups[many:], batch.slice(many)
                return
            self._next = next(self._old, None)

    def finish(self) -> None:
        """Writes the kept rows that are left. Raises CannotMerge if the inputs disagree about the order of the groups in this table."""
        self._flush(len(self._reuse.index.keys))
        for groups in self._reuse.index.rows.values():
            if (np.diff(groups[self._written[groups]]) < 0).any():
                raise CannotMerge("the inputs have these groups in different orders")


def _runs(chosen: np.ndarray) -> Iterator[tuple[int, int]]:
    """Start and end of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8)))
    return zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
