"""Checks a corpus's files: tables against records, records against manifests, manifests against `corpus.json`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from schemas import files
from schemas.checked import holds
from schemas.corpus import (
    CARD,
    INDEX,
    LOCK,
    MANIFEST,
    ROOT_FILES,
    WHOLE,
    Corpus,
    Index,
    StageEntry,
    holds_stage,
    is_card,
    is_own_file,
    is_own_name,
)
from schemas.errors import CmclError, CorpusError
from schemas.manifest import Counts, StageManifest, TaskRecord, load_manifest, load_record, table_contents
from schemas.row_digests import ROWS_TABLE
from schemas.store import FileInfo


@dataclass(frozen=True)
class Finding:
    """One fault.

    stage: the stage it was found in, "" for the corpus root. partition: the task whose output is affected; None: only the manifest.
    text: a message for users, which names the file. foreign: the file was not written by the corpus, so rebuilding the stage does not
    help.
    """

    stage: str
    partition: int | None
    text: str
    foreign: bool = False


def file_faults(corpus: Corpus, index: Index) -> Iterator[Finding]:
    """All file faults: files that are missing, differ from what was written (bytes, rows, schema), or do not belong."""
    yield from _root_faults(corpus, index)
    for entry in index.stages:
        yield from _Stage(corpus, index, entry).faults()


def _root_faults(corpus: Corpus, index: Index) -> Iterator[Finding]:
    stages = {entry.stage for entry in index.stages}
    for entry in files.entries(corpus.url):
        if entry.kind == "link" and entry.name in stages:
            yield Finding(entry.name, None, f"{entry.name}: the stage's folder is a link", foreign=True)
        elif entry.kind == "folder" and entry.name not in stages:
            if not holds_stage(corpus.folder(entry.name)):  # else a stage that is no longer in the configuration
                yield Finding("", None, f"{entry.name}: not a folder of the corpus", foreign=True)
        elif entry.name == CARD and entry.kind == "file" and is_card(files.join(corpus.url, CARD)):
            continue
        elif entry.kind != "folder" and entry.name not in (INDEX, LOCK):
            own = entry.kind == "file" and files.is_temporary(entry.name, ROOT_FILES.__contains__)
            yield Finding("", None, f"{entry.name}: not a file of the corpus", foreign=not own)


class _Stage:
    """The state of checking one stage."""

    def __init__(self, corpus: Corpus, index: Index, entry: StageEntry):
        self.corpus, self.index, self.entry = corpus, index, entry
        self.name = entry.stage
        self.held = files.entries(corpus.folder(entry.stage))
        self.sizes = {held.name: held.size for held in self.held if held.kind == "file"}
        self.records: list[TaskRecord] = []
        self.manifest: StageManifest | None = None

    def faults(self) -> Iterator[Finding]:
        yield from self._load_manifest()
        partitions = [WHOLE] if self.entry.corpus_wide else range(self.corpus.partitions)
        for partition in partitions:
            yield from self._task_faults(partition)
        if self.manifest is not None:
            for text in self._manifest_faults(self.manifest, len(partitions)):
                yield Finding(self.name, None, f"{self.name}/manifest.json: {text}")
            if self.manifest.failed:
                yield Finding(self.name, None, f"{self.name}: failed: {self.manifest.failed}")
        yield from self._strays(partitions)

    def _load_manifest(self) -> Iterator[Finding]:
        try:
            self.manifest = load_manifest(self.corpus.manifest_url(self.name))
        except FileNotFoundError:
            yield Finding(self.name, None, f"{self.name}: has no manifest: the stage never finished")
        except CorpusError as error:
            yield Finding(self.name, None, str(error))

    def _task_faults(self, partition: int) -> Iterator[Finding]:
        url = self.corpus.record_url(self.name, partition)
        name = url.rpartition("/")[2]
        try:
            record = load_record(url)
        except FileNotFoundError:
            yield Finding(self.name, partition, f"{self.name}/{name}: is missing")
        except CorpusError as error:
            yield Finding(self.name, partition, str(error))
        else:
            self.records.append(record)
            for text in self._record_faults(record, partition):
                yield Finding(self.name, partition, f"{self.name}/{name}: {text}")
        for file in self._files_of(partition):
            for text in self._table_faults(file, partition):
                yield Finding(self.name, partition, f"{self.name}/{file.name}: {text}")

    def _files_of(self, partition: int) -> list[FileInfo]:
        """The recorded files of a task: from its record or, if that is lost, from the manifest."""
        if self.records and self.records[-1].partition == partition:
            return self.records[-1].files
        expected = self._names(partition, own=True)
        return [file for file in self.manifest.files if file.name in expected] if self.manifest else []

    def _names(self, partition: int, own: bool = False) -> dict[str, str]:
        """The names of a task's tables, with the table of each; `own`: with the one by which a run reuses rows, if it has one."""
        tables = [*self.entry.tables, "rejects", *([ROWS_TABLE] if own else [])]
        return {self.corpus.file_name(table, partition): table for table in tables}

    def _record_faults(self, record: TaskRecord, partition: int) -> Iterator[str]:
        if (record.stage, record.partition) != (self.name, partition):
            yield f"is the record of partition {record.partition} of {record.stage}"
        held = {file.name: file.table for file in record.files}
        if held not in (self._names(partition), self._names(partition, own=True)) or len(record.files) != len(held):
            yield f"does not name exactly the tables {', '.join(self._names(partition))}"
        if self.manifest and self.manifest.records.get(str(partition)) != record.seal:
            yield "is not the record that the manifest names"
        rows = {file.table: file.rows for file in record.files if file.table not in ("rejects", ROWS_TABLE)}
        if rows != record.counts.rows_out:
            yield f"its files have {rows} rows, but its counts say {record.counts.rows_out}"
        yield from _imbalance(record.counts, self.entry.main)

    def _table_faults(self, file: FileInfo, partition: int) -> Iterator[str]:
        size = self.sizes.get(file.name)
        url = files.join(self.corpus.folder(self.name), file.name)
        if size is None:
            yield "is missing"
        elif size != file.bytes:
            yield f"has {size} bytes, but its record says {file.bytes}"
        elif not holds(url, file.bytes, file.sha256) or (not files.is_local(url) and files.sha256_of(url) != file.sha256):
            yield "its content is not what was written (SHA-256 differs)"
        else:
            try:
                with self.corpus.open(self.name, file.table, partition) as table:
                    if table.rows != file.rows:
                        yield f"has {table.rows} rows, but its record says {file.rows}"
            except CmclError as error:
                yield str(error)

    def _manifest_faults(self, manifest: StageManifest, tasks: int) -> Iterator[str]:
        if manifest.stage != self.name:
            yield f"is the manifest of {manifest.stage}"
        if (manifest.partitions, manifest.seed) != (self.index.partitions, self.index.seed):
            yield (
                f"is for {manifest.partitions} partitions and seed {manifest.seed}, but corpus.json says {self.index.partitions} and "
                f"{self.index.seed}"
            )
        if self.entry.manifest is None:
            yield "corpus.json does not name it yet: `cmcl run` adds it"
        elif self.entry.manifest != manifest.seal:
            yield "is not the manifest that corpus.json names"
        if set(manifest.contents) != {*self.entry.tables, "rejects"}:
            yield f"lists the tables {', '.join(sorted(manifest.contents))}, but corpus.json says {', '.join(self.entry.tables)}"
        yield from _imbalance(manifest.counts, self.entry.main)
        if len(self.records) < tasks:
            return  # with a record missing, the totals cannot be recomputed
        counts = Counts()
        for record in self.records:
            counts.add(record.counts)
        if manifest.counts != counts:
            yield "its counts are not the sums of its tasks' counts"
        if manifest.files != [file for record in self.records for file in record.files]:
            yield "its files do not match its tasks' files"
        if manifest.contents != table_contents(self.records):
            yield "its content hashes do not match its files"
        if set(manifest.records) != {str(record.partition) for record in self.records} or not 0 <= manifest.ran <= tasks:
            yield "its tasks do not match the stage's tasks"

    def _strays(self, partitions: list[int] | range) -> Iterator[Finding]:
        records = {self.corpus.record_url(self.name, partition).rpartition("/")[2] for partition in partitions}
        known = {name for partition in partitions for name in self._names(partition, own=True)} | records | {MANIFEST}
        for entry in self.held:
            text = f"{self.name}/{entry.name}: not in the manifest"
            if entry.kind == "link" and (entry.name in known or is_own_name(entry.name, [])):
                yield Finding(self.name, None, f"{self.name}/{entry.name}: is a link, not a file", foreign=True)
            elif entry.kind != "file":
                yield Finding(self.name, None, text, foreign=True)
            elif entry.name not in known:
                yield Finding(self.name, None, text, foreign=not self._is_own(entry.name))

    def _is_own(self, name: str) -> bool:
        """Whether a run of the stage removes this file if its manifest does not name it."""
        return is_own_file(self.corpus, self.name, self.entry.tables, name) or files.is_temporary(
            name, partial(is_own_name, tables=self.entry.tables)
        )


def _imbalance(counts: Counts, main: str | None) -> Iterator[str]:
    out = counts.rows_out.get(main, 0) if main else 0
    if main and counts.rows_in != out + counts.rejected + counts.excluded + counts.merged:
        yield (
            f"{counts.rows_in} rows in, but {out} rows out + {counts.rejected} rejected + {counts.excluded} excluded + "
            f"{counts.merged} merged"
        )
