"""A stage of a corpus: a name, input and output tables, settings, and a pure function of one partition.

Stages do not depend on Beam. `transforms/core/beam.py` runs any stage on any runner, decides what can be reused, and records counts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, get_args

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from schemas import files
from schemas.checked import check, holds, was_checked
from schemas.corpus import WHOLE, Corpus, StageEntry
from schemas.manifest import Counts, TaskRecord, fingerprint
from schemas.rejects import TRANSIENT
from schemas.tables import name_of, version_of
from transforms.core.instructions import held
from transforms.core.params import fingerprinted
from transforms.core.rows import RowReuse
from transforms.core.task import Task


@dataclass(frozen=True)
class Input:
    """A table that a stage reads.

    stage: the name of the stage that writes it; `EVERY`: all earlier stages that write it and augment the same rows.
    scope: "partition": the partition that is being written; "corpus": all partitions (or a corpus-wide artefact), so a change in any of
    them makes every partition stale.
    optional: only read if the corpus has it.
    columns: those that the output of a row depends on (see `Stage.rows_by`); None: all.
    compared: with "corpus" and `Stage.rows_by`: a change reaches only some groups, which `Stage.reached` names.
    """

    stage: str
    table: str
    scope: Literal["partition", "corpus"] = "partition"
    optional: bool = False
    columns: tuple[str, ...] | None = None
    compared: bool = False


_FLOATS = frozenset({"ctranslate2", "torch"})  # packages whose results depend on the CPU's instructions, unless these are restricted
EVERY = "*"
P = TypeVar("P", bound=BaseModel)


@dataclass(frozen=True)
class Stage(ABC, Generic[P]):
    """One processing step of a corpus.

    `class Name(Stage[Settings])` declares the stage's name, inputs and outputs as class attributes; whatever depends on the settings is
    a property. Stages are pickled and sent to workers, so they hold no models: an engine is loaded in `process`, once per worker process.
    `__post_init__` checks the settings beyond their types, and raises ValueError or FileNotFoundError.

    params: the settings. Increment `revision` whenever the code changes the output.
    resolved: the inputs that this corpus has; set by `behind`.
    """

    name: ClassVar[str]
    params_type: ClassVar[type[BaseModel]]  # as in `Stage[Settings]`
    revision: ClassVar[int] = 1
    depends_on: ClassVar[Collection[str] | None] = None  # settings that the output depends on; None: all that are fingerprinted
    augments: ClassVar[str] = "pairs"  # the ingest stage whose rows this one adds to; without it, the stage does not apply
    main_table: ClassVar[str | None] = None  # the table whose rows correspond to rows_in; None: the stage makes new rows
    internal: ClassVar[bool] = False  # its tables only serve other stages, may depend on the partitioning, and are not hashed
    corpus_wide: ClassVar[bool] = False  # one task for the whole corpus, whose payload is a combined summary
    packages: ClassVar[tuple[str, ...]] = ()  # distributions that it requires; the manifest records their versions
    extra: ClassVar[str | None] = None  # the extra of this project that installs them
    # Columns that divide input rows into groups: a row's output depends only on the rows of its group, the stage's identity, the seed and
    # corpus-wide inputs. A run then reuses the rows of unchanged groups (`transforms/core/rows.py`). Empty: it depends on the whole
    # partition, which is rebuilt when one of its rows changes.
    rows_by: ClassVar[tuple[str, ...]] = ()
    rows_counted: ClassVar[tuple[str, ...]] = ()  # with `rows_by`: the input tables whose rows are the rows in; empty: the first
    set_aside: ClassVar[bool] = False  # its tables are an input that a later stage compares
    reads_earlier: ClassVar[bool] = False  # corpus-wide: its task may copy rows of its own earlier tables (`Task.earlier`)
    # With `rows_by`: by table and column that contains row numbers of an input, that input's stage and table.
    row_numbers: ClassVar[Mapping[tuple[str, str], tuple[str, str]]] = {}

    params: P
    compression: str | None = field(default=None, kw_only=True)  # of record batches: None (memory-mapped reads), "lz4", "zstd"
    resolved: tuple[Input, ...] | None = field(default=None, kw_only=True)

    def __init_subclass__(cls, **options: Any) -> None:
        """Sets `params_type` from the type argument."""
        super().__init_subclass__(**options)
        for base in cls.__dict__.get("__orig_bases__", ()):
            for argument in get_args(base):
                if isinstance(argument, type):
                    cls.params_type = argument

    def __post_init__(self) -> None:  # noqa: B027 - optional
        """Checks the settings beyond their types. Raises ValueError or FileNotFoundError, naming what is missing or wrong."""

    @classmethod
    def applies(cls, params: P) -> bool:
        """Whether the settings enable this stage; one configuration key may cover several stages."""
        return True

    @property
    def reads(self) -> Sequence[Input]:
        """The tables of earlier stages that the stage may read."""
        return ()

    @property
    @abstractmethod
    def writes(self) -> Mapping[str, pa.Schema]:
        """The tables that it writes, with their schemas; `rejects` is implied."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that the output depends on, JSON-serialisable."""
        return fingerprinted(self.params, self.depends_on)

    @property
    def inputs(self) -> Sequence[Input]:
        """The inputs in this corpus; before `behind` has resolved them, the inputs in every corpus."""
        return [source for source in self.reads if not source.optional] if self.resolved is None else self.resolved

    def has(self, stage: str) -> bool:
        """Whether it reads a table of `stage` in this corpus."""
        return any(source.stage == stage for source in self.inputs)

    def wants(self, source: Input, stage: Stage[Any]) -> bool:
        """Whether it uses an optional input, given the stage that writes it."""
        return True

    def behind(self, stages: Sequence[Stage[Any]]) -> Self:
        """The stage with its optional inputs resolved to those that `stages`, which run before it, write.

        Raises ValueError, naming the input, when `stages` do not write an input that it requires.
        """
        found: list[Input] = []
        for source in self.reads:
            writers = [
                stage
                for stage in stages
                if source.table in stage.writes
                and (stage.name == source.stage or (source.stage == EVERY and stage.augments == self.augments))
            ]
            if not writers and not source.optional:
                raise ValueError(f"the stage {self.name} reads {source.table} of the stage {source.stage}, which must come before it")
            found += [
                replace(source, stage=stage.name, optional=False) for stage in writers if not source.optional or self.wants(source, stage)
            ]
        return self if found == list(self.inputs) else replace(self, resolved=tuple(found))

    @abstractmethod
    def process(self, task: Task, payload: Any) -> None:
        """Builds one partition; reads and writes through `task`. `payload`: the result of a combine or shuffle, else None."""

    def conclude(self, counts: Counts, extras: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The `extra` of the stage's manifest, such as a measured quality, from its counts and its tasks' `extras`."""
        return {name: value for extra in extras for name, value in extra.items()}

    def failure(self, extra: Mapping[str, Any]) -> str | None:
        """Why the stage has failed although all its tasks are done; None: it has not failed. `extra`: that of its manifest."""
        return None

    @property
    def sources(self) -> Mapping[str, Any]:
        """JSON-serialisable stamps of what the stage reads from outside the corpus; part of its fingerprint, but not of tasks' keys."""
        return {}

    @property
    def resources(self) -> Mapping[str, str]:
        """Beam resource hints for the stage's tasks (`min_ram`, `accelerator`, `cpu_count`); used on Dataflow."""
        return {}

    @property
    def identity(self) -> dict[str, Any]:
        """The part that the fingerprint and the tasks' keys have in common."""
        native = {} if held() or not _FLOATS.intersection(self.packages) else {"portable": False}
        return native | {
            "stage": self.name,
            "revision": self.revision,
            "settings": dict(self.settings),
            "compression": self.compression,
            "reads": [f"{source.stage}/{source.table}" for source in self.inputs],
            "schemas": {table: version_of(schema) for table, schema in self.writes.items()},
        }

    def key(self, corpus: Corpus, partition: int, seed: int, payload_digest: str = "") -> str:
        """A task's key: a hash of `identity` and the content of everything it reads. Raises KeyError when an input is missing."""
        reads = {}
        for source in self.inputs:
            if source.scope == "partition" and partition != WHOLE:
                content = corpus.content(source.stage, source.table, partition)
                if content is None:
                    raise KeyError(f"{self.name} requires partition {partition} of {source.stage}, which is missing")
                reads[f"{source.stage}/{source.table}"] = content
            else:
                manifest = corpus.manifest(source.stage)
                if manifest is None:
                    raise KeyError(f"{self.name} requires {source.stage}, which is missing")
                reads[f"{source.stage}/{source.table}"] = manifest.contents[source.table]
        return fingerprint([self.identity, seed, corpus.partitions, partition, reads, payload_digest])

    def reached(self, reuse: RowReuse, before: Corpus) -> np.ndarray:
        """Which groups a change of compared inputs reaches, bool [groups]. `before`: the corpus as it was for the earlier task."""
        raise NotImplementedError(f"stage {self.name} declares compared inputs, but not what their changes reach")

    def basis(self, corpus: Corpus, seed: int) -> str:
        """A hash of all that the output of a row depends on, except its group's rows: `identity` and what is corpus-wide.

        Of compared inputs, how they are made; of none, for a stage that reads its own earlier tables. Raises KeyError when an input is
        missing.
        """
        wide = {}
        for source in self.inputs:
            if source.scope == "corpus" and not self.reads_earlier:
                manifest = corpus.manifest(source.stage)
                if manifest is None:
                    raise KeyError(f"{self.name} requires {source.stage}, which is missing")
                made = {name: value for name, value in manifest.ingredients.items() if name not in ("inputs", "sources")}
                wide[f"{source.stage}/{source.table}"] = made if source.compared else manifest.contents[source.table]
        return fingerprint([self.identity, seed, corpus.partitions, wide, list(self.rows_by)])

    def check_inputs(self, corpus: Corpus, partition: int) -> None:
        """Raises CorpusError when a local file that a task reads has changed since this process opened it."""
        for source in self.inputs:
            own = source.scope == "partition" and partition != WHOLE
            for one in [partition] if own else [WHOLE, *range(corpus.partitions)]:
                url = corpus.table_url(source.stage, source.table, one)
                sha256 = corpus.content(source.stage, source.table, one) if was_checked(url) else None
                if sha256:
                    check(url, sha256)

    def reusable_record(self, corpus: Corpus, partition: int, key: str) -> TaskRecord | None:
        """The task's record if it finished with this key, had no transient rejects, and its files are intact; otherwise None."""
        record = corpus.record(self.name, partition)
        if record is None or record.key != key or (record.stage, record.partition) != (self.name, partition):
            return None
        if TRANSIENT & record.counts.reasons.keys():
            return None
        whole = all(holds(files.join(corpus.folder(self.name), file.name), file.bytes, file.sha256) for file in record.files)
        return record if whole else None


class SummaryStage(Stage[P]):
    """A corpus-wide stage: Beam combines small summaries of all partitions, and one task turns the result into artefacts.

    `process` is called once, with the combined summary as payload. `combine` must be associative and commutative.
    """

    corpus_wide: ClassVar[bool] = True

    @abstractmethod
    def summarise(self, task: Task) -> Any:
        """The summary of one partition: small, consisting of plain values, numpy arrays or Arrow tables."""

    @abstractmethod
    def combine(self, summaries: Sequence[Any]) -> Any:
        """Merges one or more summaries into one. It may modify the first in place, but must not modify the others."""


def index_entry(stage: Stage[Any], manifest: str | None = None) -> StageEntry:
    """A stage's entry in `corpus.json`; `manifest`: the seal of its manifest."""
    tables = [name_of(schema) for schema in stage.writes.values()]
    return StageEntry(stage.name, tables, stage.main_table, [] if stage.internal else tables, stage.corpus_wide, manifest)
