"""What a stage of a corpus is: a name, what it reads and writes, its settings, and a pure function over one partition.

A stage knows nothing of Beam. `transforms/core/beam.py` runs any stage on any runner, decides what stands, and keeps the books.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pyarrow as pa

from schemas import files
from schemas.corpus import WHOLE, Corpus
from schemas.manifest import Counts, TaskRecord, fingerprint
from schemas.rejects import RejectLog
from schemas.store import FileInfo, TableFile, TableWriter
from schemas.tables import REJECTS, check_schema, name_of, version_of

cancelled = threading.Event()  # set in this process when a run is interrupted


@dataclass(frozen=True)
class Input:
    """A table that a stage reads.

    scope: "partition" reads the same partition as it writes; "corpus" reads all partitions (or a corpus-wide artefact), so that a
    change in any of them makes every partition stale.
    """

    stage: str
    table: str
    scope: Literal["partition", "corpus"] = "partition"


class Task:
    """One partition of one stage at work: what to read, where to write, and the books of what went in and out."""

    def __init__(self, corpus: Corpus, stage: Stage, partition: int, seed: int):
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
        """Opens a table of an earlier stage; by default the partition that this task makes."""
        return self.corpus.open(stage, table, self.partition if partition is None else partition)

    def read(self, stage: str, table: str, partition: int | None = None) -> pa.Table:
        """A whole partition of a small table, as views of its memory map when local."""
        with self.open(stage, table, partition) as file:
            return file.read()

    def write(self, table: str, rows: pa.RecordBatch | pa.Table) -> None:
        """Appends rows to a table that the stage says it writes.

        The file takes the schema of the first rows, whose metadata may say more than the declared one (widths, number of documents).
        Raises KeyError for other tables, SchemaError for other columns, InterruptedError once the run is interrupted.
        """
        if cancelled.is_set():
            raise InterruptedError("the run was interrupted")
        if table not in self._writers:
            self._open(table, rows.schema)
        self._writers[table].write(rows)

    def _open(self, table: str, schema: pa.Schema) -> None:
        declared = REJECTS if table == "rejects" else self.stage.writes[table]
        check_schema(schema, table, f"stage {self.stage.name}", declared)
        writer = TableWriter(self.corpus.table_url(self.stage.name, table, self.partition), schema, compression=self.stage.compression)
        writer.__enter__()
        self._writers[table] = writer

    @contextmanager
    def engine(self) -> Iterator[None]:
        """Counts the time of the block as time in the engine (model, matrix product, decoder)."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._engine_s += time.perf_counter() - start

    def run(self, payload: Any = None) -> list[FileInfo]:
        """Runs the stage on this partition and commits its files; on an exception none appears."""
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
        self._close_books(infos)
        return infos

    def _close_books(self, infos: list[FileInfo]) -> None:
        counts = self.counts
        counts.rows_out = {info.table: info.rows for info in infos if info.table != "rejects"}
        counts.rejected, counts.excluded, counts.dropped = self.rejects.shares()
        counts.reasons = dict(sorted(self.rejects.counts.items()))
        counts.engine_ms = round(self._engine_s * 1000)


@dataclass(frozen=True)
class Stage(ABC):
    """One capability applied to a corpus.

    Subclasses are frozen dataclasses whose fields are their settings; they travel to workers, so they hold no model: an engine is
    loaded in `process`, once a worker process.

    `settings` must name everything that the output depends on and that is neither input nor code; raise `revision` when the code
    changes the output.
    """

    name: ClassVar[str]
    revision: ClassVar[int] = 1
    main_table: ClassVar[str | None] = None  # the table whose rows answer to rows_in; None: the stage makes new rows
    internal: ClassVar[bool] = False  # its tables serve other stages, may depend on how the corpus is cut, and are not hashed
    corpus_wide: ClassVar[bool] = False  # one task for the whole corpus, fed by a combine

    compression: str | None = field(default=None, kw_only=True)  # of record batches: None (memory-mapped reads), "lz4", "zstd"

    @property
    @abstractmethod
    def inputs(self) -> Sequence[Input]:
        """What the stage reads of earlier stages."""

    @property
    @abstractmethod
    def writes(self) -> Mapping[str, pa.Schema]:
        """The tables that it writes, with their schemas. `rejects` goes without saying."""

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """JSON-able settings that the output depends on."""

    @abstractmethod
    def process(self, task: Task, payload: Any) -> None:
        """Makes one partition: reads and writes through `task`. `payload` is what a combine or a shuffle brought, else None."""

    def conclude(self, counts: Counts) -> dict[str, Any]:
        """What the stage's manifest says beside the counts of all its tasks, such as a measured quality."""
        return {}

    @property
    def sources(self) -> Mapping[str, Any]:
        """What the stage reads from outside of the corpus, as JSON-able stamps; only fingerprints hold it, keys do not."""
        return {}

    @property
    def resources(self) -> Mapping[str, str]:
        """Beam resource hints of the stage's tasks, by Beam's names (`min_ram`, `accelerator`, `cpu_count`); heeded on Dataflow."""
        return {}

    @property
    def identity(self) -> dict[str, Any]:
        """What fingerprint and keys have in common."""
        return {
            "stage": self.name, "revision": self.revision, "settings": dict(self.settings), "compression": self.compression,
            "schemas": {table: version_of(schema) for table, schema in self.writes.items()},
        }

    def key(self, corpus: Corpus, partition: int, seed: int, payload_digest: str = "") -> str:
        """The key of a task: `identity` and the content of everything that it reads. Raises KeyError when an input is missing."""
        reads = {}
        for source in self.inputs:
            if source.scope == "partition" and partition != WHOLE:
                content = corpus.content(source.stage, source.table, partition)
                if content is None:
                    raise KeyError(f"{self.name} needs partition {partition} of {source.stage}, which is not there")
                reads[f"{source.stage}/{source.table}"] = content
            else:
                manifest = corpus.manifest(source.stage)
                if manifest is None:
                    raise KeyError(f"{self.name} needs {source.stage}, which is not there")
                reads[f"{source.stage}/{source.table}"] = manifest.contents[source.table]
        return fingerprint([self.identity, seed, corpus.partitions, partition, reads, payload_digest])

    def standing(self, corpus: Corpus, partition: int, key: str) -> TaskRecord | None:
        """The record of this task when it has been done under this key and its files are there, else None."""
        record = corpus.record(self.name, partition)
        if record is None or record.key != key:
            return None
        whole = all(files.size_of(files.join(corpus.folder(self.name), file.name)) == file.bytes for file in record.files)
        return record if whole else None


class SummaryStage(Stage):
    """A corpus-wide stage: a small summary of each partition, combined by Beam, finished by one task that writes artefacts.

    `process` is called once, with the combined summary as payload. `combine` must be associative and commutative.
    """

    corpus_wide: ClassVar[bool] = True

    @abstractmethod
    def summarise(self, task: Task) -> Any:
        """The summary of one partition: small, and made of plain values, numpy arrays or Arrow tables."""

    @abstractmethod
    def combine(self, summaries: Sequence[Any]) -> Any:
        """One summary out of one or more."""


def index_entry(stage: Stage) -> dict[str, Any]:
    """What `corpus.json` says of a stage."""
    tables = [name_of(schema) for schema in stage.writes.values()]
    return {"stage": stage.name, "tables": tables, "main": stage.main_table, "hashed": [] if stage.internal else tables}
