"""Execution of a stage on one partition: inputs, outputs, and counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import pyarrow as pa

from schemas.corpus import Corpus
from schemas.manifest import Counts
from schemas.rejects import Outcome, RejectLog
from schemas.store import FileInfo, TableFile, TableWriter
from schemas.tables import REJECTS, check_schema

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

    def process(self, task: Task, payload: Any) -> None: ...  # noqa: D102


class Task:
    """Runs a stage on one partition: gives access to its inputs, writes its outputs, and counts rows."""

    def __init__(self, corpus: Corpus, stage: Worker, partition: int, seed: int):
        self.corpus = corpus
        self.stage = stage
        self.partition = partition
        self.seed = seed
        self.counts = Counts()
        self.rejects = RejectLog(stage.name)
        self.extra: dict[str, Any] = {}
        self._writers: dict[str, TableWriter] = {}
        self._engine_s = 0.0

    def open(self, stage: str, table: str, partition: int | None = None) -> TableFile:
        """Opens a table of an earlier stage; by default this task's own partition."""
        return self.corpus.open(stage, table, self.partition if partition is None else partition)

    def read(self, stage: str, table: str, partition: int | None = None) -> pa.Table:
        """A whole partition of a small table, as views of a memory map when local."""
        with self.open(stage, table, partition) as file:
            return file.read()

    def write(self, table: str, rows: pa.RecordBatch | pa.Table) -> None:
        """Appends rows to a table that the stage declares in `writes`.

        The file gets the schema of the first rows, whose metadata may extend the declared schema's (widths, number of documents).
        Raises KeyError for undeclared tables, SchemaError for other columns, InterruptedError once the run is interrupted.
        """
        self.check_cancelled()
        if table not in self._writers:
            self._open(table, rows.schema)
        self._writers[table].write(rows)

    def check_cancelled(self) -> None:
        """Raises InterruptedError once the run is interrupted; call it where the next write may take long."""
        if _cancelled.is_set():
            raise InterruptedError("the run was interrupted")

    def _open(self, table: str, schema: pa.Schema) -> None:
        declared = REJECTS if table == "rejects" else self.stage.writes[table]
        check_schema(schema, table, f"stage {self.stage.name}", declared)
        writer = TableWriter(self.corpus.table_url(self.stage.name, table, self.partition), schema, compression=self.stage.compression)
        writer.__enter__()
        self._writers[table] = writer

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
            self.stage.process(self, payload)
            self.write("rejects", self.rejects.table())
            for table, schema in self.stage.writes.items():
                if table not in self._writers:
                    self._open(table, schema)
        except BaseException as failure:
            error = failure
            raise
        finally:
            for writer in self._writers.values():
                writer.__exit__(type(error) if error else None, error, None)
        infos = [writer.info for writer in self._writers.values() if writer.info]
        self._finish_counts(infos)
        return infos

    def _finish_counts(self, infos: list[FileInfo]) -> None:
        counts = self.counts
        counts.rows_out = {info.table: info.rows for info in infos if info.table != "rejects"}
        outcomes = self.rejects.outcomes()
        counts.rejected, counts.excluded, counts.dropped = (
            outcomes[kind] for kind in (Outcome.REJECTED, Outcome.EXCLUDED, Outcome.DROPPED)
        )
        counts.merged += outcomes[Outcome.MERGED]  # in addition to those that the stage counted without logging a row
        counts.reasons = dict(sorted(self.rejects.counts.items()))
        counts.engine_ms = round(self._engine_s * 1000)
