"""What a stage of a corpus is: a name, what it reads and writes, its settings, and a pure function over one partition.

A stage knows nothing of Beam. `transforms/core/beam.py` runs any stage on any runner, decides what stands, and keeps the books.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, get_args

import pyarrow as pa
from pydantic import BaseModel

from schemas import files
from schemas.checked import check, holds, was_checked
from schemas.corpus import WHOLE, Corpus, StageEntry
from schemas.manifest import Counts, TaskRecord, fingerprint
from schemas.rejects import TRANSIENT
from schemas.tables import name_of, version_of
from transforms.core.params import fingerprinted
from transforms.core.task import Task


@dataclass(frozen=True)
class Input:
    """A table that a stage reads.

    stage: the name of the stage that writes it; `EVERY`: each one before this that does and augments the same rows, however many.
    scope: "partition" reads the same partition as it writes; "corpus" reads all partitions (or a corpus-wide artefact), so that a
    change in any of them makes every partition stale.
    optional: read where the corpus has it.
    """

    stage: str
    table: str
    scope: Literal["partition", "corpus"] = "partition"
    optional: bool = False


EVERY = "*"
P = TypeVar("P", bound=BaseModel)


@dataclass(frozen=True)
class Stage(ABC, Generic[P]):
    """One capability applied to a corpus.

    `class Name(Stage[Settings])` says on the class what the stage is called, reads and writes; what depends on the settings is a
    property. Stages travel to workers, so they hold no model: an engine is loaded in `process`, once a worker process. What is wrong
    with the settings beyond their types is found in `__post_init__`, which raises ValueError or FileNotFoundError.

    params: the settings. Raise `revision` when the code changes the output.
    resolved: the inputs that the corpus at hand has; `behind` fills it in.
    """

    name: ClassVar[str]
    params_type: ClassVar[type[BaseModel]]  # as in `Stage[Settings]`
    revision: ClassVar[int] = 1
    depends_on: ClassVar[Collection[str] | None] = None  # settings that the output depends on; None: all that are fingerprinted
    augments: ClassVar[str] = "pairs"  # the stage that takes in what this one adds to; without it there is nothing to do
    main_table: ClassVar[str | None] = None  # the table whose rows answer to rows_in; None: the stage makes new rows
    internal: ClassVar[bool] = False  # its tables serve other stages, may depend on how the corpus is cut, and are not hashed
    corpus_wide: ClassVar[bool] = False  # one task for the whole corpus, fed by a combine
    packages: ClassVar[tuple[str, ...]] = ()  # distributions that it requires; the manifest tells their versions
    extra: ClassVar[str | None] = None  # the extra of this project that installs them

    params: P
    compression: str | None = field(default=None, kw_only=True)  # of record batches: None (memory-mapped reads), "lz4", "zstd"
    resolved: tuple[Input, ...] | None = field(default=None, kw_only=True)

    def __init_subclass__(cls, **options: Any) -> None:
        """Notes the type of the settings."""
        super().__init_subclass__(**options)
        for base in cls.__dict__.get("__orig_bases__", ()):
            for argument in get_args(base):
                if isinstance(argument, type):
                    cls.params_type = argument

    def __post_init__(self) -> None:  # noqa: B027 - optional
        """Raises ValueError or FileNotFoundError, naming what is missing or wrong, when there is more to check than the settings' types."""

    @classmethod
    def applies(cls, params: P) -> bool:
        """Whether the settings ask for this stage; a configuration key may stand for several."""
        return True

    @property
    def reads(self) -> Sequence[Input]:
        """What the stage reads of earlier stages."""
        return ()

    @property
    @abstractmethod
    def writes(self) -> Mapping[str, pa.Schema]:
        """The tables that it writes, with their schemas. `rejects` goes without saying."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the output depends on and that is neither input nor code, JSON-able."""
        return fingerprinted(self.params, self.depends_on)

    @property
    def inputs(self) -> Sequence[Input]:
        """What it reads in the corpus at hand; until that is known, what it reads in every corpus."""
        return [source for source in self.reads if not source.optional] if self.resolved is None else self.resolved

    def has(self, stage: str) -> bool:
        """Whether a stage is among those that it reads in the corpus at hand."""
        return any(source.stage == stage for source in self.inputs)

    def wants(self, source: Input, stage: Stage[Any]) -> bool:
        """Whether an optional input is of use, as the stage that writes it makes it."""
        return True

    def behind(self, stages: Sequence[Stage[Any]]) -> Self:
        """The stage with its optional inputs settled: those that `stages`, which run before, write.

        Raises ValueError, naming it, when they lack an input that it requires.
        """
        found: list[Input] = []
        for source in self.reads:
            writers = [stage for stage in stages if source.table in stage.writes and (
                stage.name == source.stage or (source.stage == EVERY and stage.augments == self.augments))]
            if not writers and not source.optional:
                raise ValueError(f"the stage {self.name} reads {source.table} of the stage {source.stage}, which does not come before it")
            found += [replace(source, stage=stage.name, optional=False) for stage in writers
                      if not source.optional or self.wants(source, stage)]
        return self if found == list(self.inputs) else replace(self, resolved=tuple(found))

    @abstractmethod
    def process(self, task: Task, payload: Any) -> None:
        """Makes one partition: reads and writes through `task`. `payload` is what a combine or a shuffle brought, else None."""

    def conclude(self, counts: Counts, extras: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What the stage's manifest says beside the counts of all its tasks, such as a measured quality. `extras`: those of its tasks."""
        return {name: value for extra in extras for name, value in extra.items()}

    def failure(self, extra: Mapping[str, Any]) -> str | None:
        """Why a stage whose tasks are all done has failed all the same; None: it has not. `extra`: what its manifest says."""
        return None

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
            "reads": [f"{source.stage}/{source.table}" for source in self.inputs],
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
        """The record of this task when it has been done under this key, for good, and its files hold what it wrote, else None."""
        record = corpus.record(self.name, partition)
        if record is None or record.key != key or (record.stage, record.partition) != (self.name, partition):
            return None
        if TRANSIENT & record.counts.reasons.keys():
            return None
        whole = all(holds(files.join(corpus.folder(self.name), file.name), file.bytes, file.sha256) for file in record.files)
        return record if whole else None


class SummaryStage(Stage[P]):
    """A corpus-wide stage: a small summary of each partition, combined by Beam, finished by one task that writes artefacts.

    `process` is called once, with the combined summary as payload. `combine` must be associative and commutative.
    """

    corpus_wide: ClassVar[bool] = True

    @abstractmethod
    def summarise(self, task: Task) -> Any:
        """The summary of one partition: small, and made of plain values, numpy arrays or Arrow tables."""

    @abstractmethod
    def combine(self, summaries: Sequence[Any]) -> Any:
        """One summary out of one or more. It may change the first one in place, which is then its own, and must not change the others."""


def index_entry(stage: Stage[Any], manifest: str | None = None) -> StageEntry:
    """What `corpus.json` says of a stage; `manifest`: the seal of its manifest."""
    tables = [name_of(schema) for schema in stage.writes.values()]
    return StageEntry(stage.name, tables, stage.main_table, [] if stage.internal else tables, stage.corpus_wide, manifest)
