"""Runs stages through Beam, which only sees tasks and small summaries, never rows.

A stage becomes: wait for the stages that it reads -> one element per partition -> Reshuffle -> run the task -> gather the records ->
commit the manifest. The worker skips tasks whose record can be reused, so a pipeline with all stages can be killed at any point and
resumed.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsSingleton

from schemas.corpus import BEFORE, MANIFEST, WHOLE, Corpus, remove_stale
from schemas.errors import carried
from schemas.manifest import Counts, StageManifest, TaskRecord, library_versions, table_contents
from schemas.retries import Waiting, use
from schemas.seals import write_sealed
from schemas.store import FileInfo
from transforms.core import compared
from transforms.core.base import take_over
from transforms.core.instructions import hold
from transforms.core.row_index import CannotMerge
from transforms.core.rows import RowReuse, earlier_tables, reuse_of
from transforms.core.stage import Stage, SummaryStage
from transforms.core.task import Task


@dataclass(frozen=True)
class StageFingerprint:
    """A stage's fingerprint (32 hex digits), and the JSON-serialisable ingredients that it is the hash of."""

    digest: str
    ingredients: Mapping[str, Any]


@dataclass(frozen=True)
class TaskResult:
    """A task's record; `ran`: this run executed the task instead of reusing an earlier record."""

    record: TaskRecord
    ran: bool


@dataclass(frozen=True)
class StageResult:
    """A finished stage; not `ok` when an earlier stage failed or it rejected too many rows: its readers then do nothing."""

    stage: str
    ok: bool


@dataclass(frozen=True)
class RunContext:
    """What all tasks of a run have in common."""

    corpus: Corpus
    seed: int
    max_rejected: float  # share of a stage's rows
    fingerprints: Mapping[str, StageFingerprint]  # by stage
    # Beam resource hints by stage. Empty unless the runner honours them: each set of hints requires separate workers.
    resources: dict[str, dict[str, str]] = field(default_factory=dict)
    portable: bool = True  # engines are restricted to the instructions of x86-64-v3
    waiting: Waiting = field(default_factory=Waiting)  # for stores and web servers
    base: Corpus | None = None  # a corpus from which finished tasks and unchanged rows are copied

    def enter(self) -> None:
        """Makes these settings those of this process."""
        hold(self.portable)
        use(self.waiting)

    def hinted(self, stage: Stage, transform: beam.PTransform) -> beam.PTransform:
        """The transform with the resource hints of `stage`, whose tasks it runs."""
        return transform.with_resource_hints(**self.resources.get(stage.name, {}))


def run_task(context: RunContext, stage: Stage, partition: int, payload: Any = None, payload_digest: str = "") -> TaskResult:
    """Executes a task, unless its record can be reused."""
    context.enter()
    corpus = context.corpus
    key = stage.key(corpus, partition, context.seed, payload_digest)
    reusable = _finished(context, stage, partition, key)
    if reusable:
        return TaskResult(reusable, ran=False)
    start = time.perf_counter()
    basis = stage.basis(corpus, context.seed) if stage.reads_earlier or (stage.rows_by and partition != WHOLE) else ""
    state = compared.state_of(stage, corpus) if basis else ""
    if stage.set_aside:
        compared.set_aside(stage, corpus, corpus.record(stage.name, partition))
    task, written = _executed(context, stage, partition, payload, basis)
    stage.check_inputs(corpus, partition)
    made = task.reuse.made if task.reuse else task.counts.rows_in
    wall_ms = round((time.perf_counter() - start) * 1000)
    record = TaskRecord(stage.name, partition, key, written, task.counts, wall_ms, task.extra, basis, made, state)
    record.seal = write_sealed(corpus.record_url(stage.name, partition), record.to_json())
    return TaskResult(record, ran=True)


def _finished(context: RunContext, stage: Stage, partition: int, key: str) -> TaskRecord | None:
    """The record of a task that need not run because it has finished in this corpus or in the base; otherwise None."""
    found = stage.reusable_record(context.corpus, partition, key)
    if found is None and context.base:
        found = take_over(stage, context.corpus, context.base, partition, key)
    return found


def _executed(context: RunContext, stage: Stage, partition: int, payload: Any, basis: str) -> tuple[Task, list[FileInfo]]:
    """Executes a task, reusing rows of an earlier run where possible; returns it with its files."""
    reuse = None
    if stage.reads_earlier:
        held = earlier_tables(stage, partition, basis, [home for home in (context.corpus, context.base) if home])
        task = Task(context.corpus, stage, partition, context.seed, earlier=held)
        return task, task.run(payload)
    if basis:
        try:
            reuse = reuse_of(stage, context.corpus, partition, basis, context.base)
            task = Task(context.corpus, stage, partition, context.seed, reuse)
            return task, task.run(payload)
        except CannotMerge:
            reuse = RowReuse(reuse.index, context.corpus, stage.name) if reuse else None
    task = Task(context.corpus, stage, partition, context.seed, reuse)
    return task, task.run(payload)


class _Task(beam.DoFn):
    """Runs a stage's tasks, and counts rows in, rows out, rows not kept by reason, and milliseconds in the engine."""

    def __init__(self, context: RunContext, stage: Stage):
        self._context = context
        self._stage = stage

    def process(self, element: Any) -> Iterator[TaskResult]:
        partition, payload, digest = element
        with carried():
            result = run_task(self._context, self._stage, partition, payload, digest)
        self._count(result)
        yield result

    def _count(self, result: TaskResult) -> None:
        name = self._stage.name
        Metrics.counter(name, "tasks_done" if result.ran else "tasks_reused").inc()
        if not result.ran:
            return
        record, counts = result.record, result.record.counts
        Metrics.counter(name, "rows_in").inc(counts.rows_in)
        Metrics.counter(name, "rows_made").inc(record.made)
        Metrics.counter(name, "engine_ms").inc(counts.engine_ms)
        Metrics.counter(name, "wall_ms").inc(record.wall_ms)
        for table, rows in counts.rows_out.items():
            Metrics.counter(name, f"rows_out.{table}").inc(rows)
        for reason, rows in counts.reasons.items():
            Metrics.counter(name, f"not_kept.{reason}").inc(rows)


class _Combine(beam.CombineFn):
    """Combines the summaries of a SummaryStage."""

    def __init__(self, stage: SummaryStage):
        self._stage = stage

    def create_accumulator(self) -> Any:
        return None

    def add_input(self, accumulator: Any, element: Any) -> Any:
        return element if accumulator is None else self._stage.combine([accumulator, element])

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        held = [accumulator for accumulator in accumulators if accumulator is not None]
        return self._stage.combine(held) if held else None

    def extract_output(self, accumulator: Any) -> Any:
        return accumulator


class _Summarise(beam.DoFn):
    """Summarises one partition for a SummaryStage."""

    def __init__(self, context: RunContext, stage: SummaryStage):
        self._context = context
        self._stage = stage

    def process(self, partition: int) -> Iterator[Any]:
        context, stage = self._context, self._stage
        context.enter()
        with carried():
            key = stage.key(context.corpus, WHOLE, context.seed)
            if _finished(context, stage, WHOLE, key):
                return  # the artefact is up to date
            summary = stage.summarise(Task(context.corpus, stage, partition, context.seed))
            stage.check_inputs(context.corpus, WHOLE)
        yield summary


@carried()
def commit(context: RunContext, stage: Stage, results: Sequence[TaskResult]) -> StageResult:
    """Writes a stage's manifest when all its tasks are done, and removes files that it no longer names.

    The result is not ok when an earlier stage failed (no results), or when more rows were rejected than the limit allows: stages that
    read this one then do nothing, and the driver raises RejectLimitError.
    """
    if not results:
        return StageResult(stage.name, ok=False)
    context.enter()
    records = sorted((result.record for result in results), key=lambda record: record.partition)
    counts = Counts()
    for record in records:
        counts.add(record.counts)
    extra = stage.conclude(counts, [record.extra for record in records])
    failed = counts.too_many_rejected(context.max_rejected) or stage.failure(extra)
    known = context.fingerprints[stage.name]
    manifest = StageManifest(
        stage=stage.name,
        fingerprint=known.digest,
        ingredients=dict(known.ingredients),
        partitions=context.corpus.partitions,
        seed=context.seed,
        counts=counts,
        files=[file for record in records for file in record.files],
        contents=table_contents(records),
        records={str(record.partition): record.seal for record in records},
        versions=library_versions(stage.packages),
        wall_s=round(sum(record.wall_ms for record in records) / 1000, 3),
        ran=sum(result.ran for result in results),
        made=sum(result.record.made for result in results if result.ran),
        timed=sum(record.made for record in records),
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        extra=extra,
        failed=failed,
    )
    compared.clear(stage, context.corpus)
    write_sealed(context.corpus.manifest_url(stage.name), manifest.to_json())
    kept = {file.name for file in manifest.files} | {MANIFEST}
    kept |= {BEFORE + name for name in kept} if stage.set_aside else set()
    kept |= {context.corpus.record_url(stage.name, record.partition).rpartition("/")[2] for record in records}
    remove_stale(context.corpus, stage.name, stage.writes, kept)
    return StageResult(stage.name, ok=failed is None)


class RunStage(beam.PTransform):
    """Runs one stage; its output is a single StageResult, emitted after the manifest has been written.

    Args:
        context: what all tasks of the run have in common.
        stage: the stage.
        after: the outputs of the RunStage transforms of the stages that it reads.
    """

    def __init__(self, context: RunContext, stage: Stage, after: Sequence[beam.PCollection]):
        super().__init__(label=stage.name)
        self._context = context
        self._stage = stage
        self._after = after

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        """Builds the stage's transforms."""
        context, stage = self._context, self._stage
        partitions = context.corpus.partitions
        waits = [AsSingleton(done) for done in self._after]
        start = begin | "Start" >> beam.Create([None])
        if isinstance(stage, SummaryStage):
            summaries = (
                start
                | "Partitions" >> beam.FlatMap(lambda _, *done: range(partitions) if _all_ok(done) else (), *waits)
                | "Spread" >> beam.Reshuffle()
                | "Summarise" >> context.hinted(stage, beam.ParDo(_Summarise(context, stage)))
                | "Combine" >> beam.CombineGlobally(_Combine(stage))
            )
            tasks = summaries | "Task" >> beam.FlatMap(lambda summary, *done: [(WHOLE, summary, "")] if _all_ok(done) else [], *waits)
        else:
            own = [WHOLE] if stage.corpus_wide else range(partitions)
            tasks = (
                start
                | "Partitions" >> beam.FlatMap(lambda _, *done: [(p, None, "") for p in own] if _all_ok(done) else [], *waits)
                | "Spread" >> beam.Reshuffle()
            )
        return finish(tasks, context, stage)


def finish(tasks: beam.PCollection, context: RunContext, stage: Stage) -> beam.PCollection:
    """Runs tasks, given as (partition, payload, digest of the payload), and commits the stage."""
    return (
        tasks
        | "Run" >> context.hinted(stage, beam.ParDo(_Task(context, stage)))
        | "Gather" >> beam.combiners.ToList()
        | "Commit" >> beam.Map(lambda results: commit(context, stage, results))
    )


def _all_ok(done: Sequence[StageResult]) -> bool:
    return all(upstream.ok for upstream in done)
