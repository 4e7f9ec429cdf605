"""Execution of a stage on one partition: inputs, outputs, and counts."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import pyarrow as pa

from schemas.corpus import Corpus
from schemas.manifest import Counts
from schemas.rejects import Outcome, Reason, RejectLog
from schemas.row_digests import ROWS, ROWS_TABLE
from schemas.store import FileInfo, TableFile, TableWriter
from schemas.tables import REJECTS, check_schema
from transforms.core.row_index import CannotMerge, id_column
from transforms.core.rows import DEPENDENT, MergingWriter, RowReuse

_cancelled = threading.Event()


def cancel_tasks() -> None:
    """Makes every task of this process stop at its next check, until `allow_tasks` is called."""
    _cancelled.set()


def allow_tasks() -> None:
    """Lets the tasks of this process run again."""
    _cancelled.clear()


def tasks_cancelled() -> bool:
    """Whether `cancel_tasks` is in effect."""
    return _cancelled.is_set()


class Worker(Protocol):
    """The interface that a task requires of its stage; see `transforms.core.stage.Stage`."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def writes(self) -> Mapping[str, pa.Schema]: ...  # noqa: D102

    @property
    def compression(self) -> str | None: ...  # noqa: D102

    @property
    def row_numbers(self) -> Mapping[tuple[str, str], tuple[str, str]]: ...  # noqa: D102

    def process(self, task: Task, payload: Any) -> None: ...  # noqa: D102


class Task:
    """Runs a stage on one partition: gives access to its inputs, writes its outputs, and counts rows.

    reuse: the rows that it keeps from an earlier run, if the stage declares `rows_by` (`transforms/core/rows.py`).
    earlier: its tables of an earlier run, made with the same identity and seed, if the stage declares `reads_earlier`; else none.
    """

    def __init__(
        self,
        corpus: Corpus,
        stage: Worker,
        partition: int,
        seed: int,
        reuse: RowReuse | None = None,
        earlier: Mapping[str, pa.Table] | None = None,
    ):
        self.corpus = corpus
        self.stage = stage
        self.partition = partition
        self.seed = seed
        self.counts = Counts()
        self.rejects = RejectLog(stage.name)
        self.extra: dict[str, Any] = {}
        self.reuse = reuse
        self.earlier = earlier or {}
        self._writers: dict[str, TableWriter] = {}
        self._merging: dict[str, MergingWriter] = {}
        self._by_row: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._engine_s = 0.0

    def open(self, stage: str, table: str, partition: int | None = None) -> TableFile:
        """Opens a table of an earlier stage; by default this task's own partition."""
        if partition is None and self.reuse:
            return self.reuse.narrowed(self.corpus.open(stage, table, self.partition), stage, table)
        return self.corpus.open(stage, table, self.partition if partition is None else partition)

    def read(self, stage: str, table: str, partition: int | None = None) -> pa.Table:
        """A whole partition of a small table, as views of a memory map when local."""
        with self.open(stage, table, partition) as file:
            return file.read()

    def write(self, table: str, rows: pa.RecordBatch | pa.Table, row_ids: pa.Array | None = None) -> None:
        """Appends rows to a table that the stage declares in `writes`.

        row_ids: for a stage that declares `rows_by`, the id of each row's group if the table has no column of ids.
        The file gets the schema of the first rows, whose metadata may extend the declared schema's (widths, number of documents).
        Raises KeyError for undeclared tables, SchemaError for other columns, InterruptedError once the run is interrupted.
        """
        self.check_cancelled()
        if table not in self._writers:
            self._open(table, rows.schema)
        groups = self.reuse.index.groups_of(row_ids) if self.reuse and row_ids is not None else None
        if table in self._merging:
            self._merging[table].write(rows, groups)
        else:
            self._writers[table].write(rows)
        if self.reuse and groups is not None:
            self.reuse.count_rows(table, groups)

    def count(self, name: str, row_ids: Sequence[str], numbers: Sequence[int] | None = None) -> None:
        """Adds to one of the stage's own counts (`Counts.numbers`): for each row 1, or its number; zeros count as well.

        row_ids: ids of input rows. A stage that declares `rows_by` must count in this way only, so that the counts of reused rows are
        known.
        """
        own = self._by_row[f"numbers.{name}"]
        for row_id, number in zip(row_ids, [1] * len(row_ids) if numbers is None else numbers, strict=True):
            own[row_id] += int(number)

    def count_refused(self, row_ids: Sequence[str], reasons: Sequence[Reason], numbers: Sequence[int] | None = None) -> None:
        """Counts candidates that were refused, one per id or as many as given, without writing them to the rejects."""
        for row_id, reason, number in zip(row_ids, reasons, [1] * len(row_ids) if numbers is None else numbers, strict=True):
            self._by_row[f"reasons.{reason.value}"][row_id] += int(number)

    def check_cancelled(self) -> None:
        """Raises InterruptedError once the run is interrupted; call it where the next write may take long."""
        if _cancelled.is_set():
            raise InterruptedError("the run was interrupted")

    def _open(self, table: str, schema: pa.Schema) -> None:
        declared = {"rejects": REJECTS, ROWS_TABLE: ROWS}.get(table) or self.stage.writes[table]
        check_schema(schema, table, f"stage {self.stage.name}", declared)
        writer = TableWriter(self.corpus.table_url(self.stage.name, table, self.partition), schema, compression=self.stage.compression)
        writer.__enter__()
        self._writers[table] = writer
        if self.reuse and self.reuse.kept.any() and declared not in (REJECTS, ROWS):
            self._merging[table] = MergingWriter(writer, self.reuse, table, self._numbered(table), schema)

    def _numbered(self, table: str) -> dict[str, pa.Array]:
        """By column of a table that contains row numbers of an input: that input's ids, row by row."""
        found: dict[str, pa.Array] = {}
        for (own, column), (stage, source) in self.stage.row_numbers.items():
            if own == table and self.reuse:
                with self.corpus.open(stage, source, self.partition) as file:
                    found[column] = file.read([id_column(file.schema, self.reuse.index.by)])[0].combine_chunks()
        return found

    @contextmanager
    def engine(self) -> Iterator[None]:
        """Adds the block's duration to the time in the engine (model, matrix product, decoder)."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._engine_s += time.perf_counter() - start

    def run(self, payload: Any = None) -> list[FileInfo]:
        """Runs the stage on this partition and commits its files; on an exception, none of them appears."""
        error: BaseException | None = None
        try:
            if self.reuse is None or not self.reuse.kept.all() or not len(self.reuse.kept):
                self.stage.process(self, payload)
            for table, schema in self.stage.writes.items():
                if table not in self._writers:
                    self._open(table, self.reuse.old_schema(table, schema) if self.reuse else schema)
            for merging in self._merging.values():
                merging.finish()
            self._count_rows()
            self.write("rejects", self.rejects.table())
            if self.reuse:
                self.write(ROWS_TABLE, self.reuse.table())
        except BaseException as failure:
            error = failure
            raise
        finally:
            for writer in self._writers.values():
                writer.__exit__(type(error) if error else None, error, None)
        tables = (*self.stage.writes, "rejects", ROWS_TABLE)  # in this order, whichever was written first
        infos = [self._writers[table].info for table in tables if table in self._writers]
        found = [info for info in infos if info]
        self._finish_counts(found)
        return found

    def _count_rows(self) -> None:
        """Adds the counts by row to the totals; with reuse, also the counts and rejects of the reused rows."""
        if self.reuse is None:
            for name, by_id in self._by_row.items():
                kind, _, what = name.partition(".")
                book: dict[str, Any] = self.rejects.counts if kind == "reasons" else self.counts.numbers
                book[what] = book.get(what, 0) + sum(by_id.values())
            return
        reuse = self.reuse
        if self.counts.numbers or self.counts.merged or self.counts.rows_in != reuse.made:
            raise ValueError(
                f"stage {self.stage.name} declares rows_by, but counted {self.counts.rows_in} of {reuse.made} rows in, and "
                f"{', '.join(self.counts.numbers) or 'nothing'} without row ids: see docs/add-a-stage.md"
            )
        reuse.count(self._by_row)
        reuse.count_rejects(self.rejects.table())
        totals = reuse.totals()
        if reuse.kept.any() and any(name.endswith(DEPENDENT) and number for name, number in totals.items()):
            raise CannotMerge("results depend on the other rows in their batch")
        self.counts.rows_in = int(reuse.index.rows_in.sum())
        self.counts.numbers = {name.removeprefix("numbers."): number for name, number in totals.items() if name.startswith("numbers.")}
        self.rejects.take_over(
            reuse.kept_rejects(),
            {name.removeprefix("reasons."): number for name, number in totals.items() if name.startswith("reasons.")},
        )
        self.extra = {**(reuse.earlier.extra if reuse.earlier and reuse.kept.any() else {}), **self.extra}

    def _finish_counts(self, infos: list[FileInfo]) -> None:
        counts = self.counts
        counts.rows_out = {info.table: info.rows for info in infos if info.table not in ("rejects", ROWS_TABLE)}
        outcomes = self.rejects.outcomes()
        counts.rejected, counts.excluded, counts.dropped = (
            outcomes[kind] for kind in (Outcome.REJECTED, Outcome.EXCLUDED, Outcome.DROPPED)
        )
        counts.merged += outcomes[Outcome.MERGED]  # in addition to those that the stage counted without logging a row
        counts.reasons = dict(sorted(self.rejects.counts.items()))
        counts.engine_ms = round(self._engine_s * 1000)
