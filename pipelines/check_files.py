"""Checks the files of a corpus against what vouches for them: tables by records, records by manifests, manifests by `corpus.json`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from schemas import files
from schemas.checked import holds
from schemas.corpus import INDEX, LOCK, MANIFEST, WHOLE, Corpus, Index, StageEntry, holds_stage, is_own_file, is_own_name
from schemas.errors import CmclError, CorpusError
from schemas.manifest import Counts, StageManifest, TaskRecord, load_manifest, load_record, table_contents
from schemas.store import FileInfo


@dataclass(frozen=True)
class Finding:
    """One fault.

    stage: where it lies, "" for the root of the corpus. partition: the task whose work it spoils; None: the manifest alone.
    text: a sentence for people, which names the file. foreign: it is something that the corpus did not write, which making the stage
    again would not change.
    """

    stage: str
    partition: int | None
    text: str
    foreign: bool = False


def file_faults(corpus: Corpus, index: Index) -> Iterator[Finding]:
    """Every fault of files: each is there, with the bytes, rows and schema that were written, and nothing else is."""
    yield from _root_faults(corpus, index)
    for entry in index.stages:
        yield from _Stage(corpus, index, entry).faults()


def _root_faults(corpus: Corpus, index: Index) -> Iterator[Finding]:
    stages = {entry.stage for entry in index.stages}
    for entry in files.entries(corpus.url):
        if entry.kind == "link" and entry.name in stages:
            yield Finding(entry.name, None, f"{entry.name}: its folder is a link", foreign=True)
        elif entry.kind == "folder" and entry.name not in stages:
            if not holds_stage(corpus.folder(entry.name)):  # else a stage that the configuration has no more
                yield Finding("", None, f"{entry.name}: not a folder of the corpus", foreign=True)
        elif entry.kind != "folder" and entry.name not in (INDEX, LOCK):
            own = entry.kind == "file" and files.is_temporary(entry.name, INDEX.__eq__)
            yield Finding("", None, f"{entry.name}: not a file of the corpus", foreign=not own)


class _Stage:
    """One stage under examination."""

    def __init__(self, corpus: Corpus, index: Index, entry: StageEntry):
        self.corpus, self.index, self.entry = corpus, index, entry
        self.name = entry.stage
        self.held = files.entries(corpus.folder(entry.stage))
        self.sizes = {held.name: held.size for held in self.held if held.kind == "file"}
        self.records: list[TaskRecord] = []
        self.manifest: StageManifest | None = None

    def faults(self) -> Iterator[Finding]:
        yield from self._manifest_at_hand()
        partitions = [WHOLE] if self.entry.corpus_wide else range(self.corpus.partitions)
        for partition in partitions:
            yield from self._task_faults(partition)
        if self.manifest is not None:
            for text in self._manifest_faults(self.manifest, len(partitions)):
                yield Finding(self.name, None, f"{self.name}/manifest.json: {text}")
            if self.manifest.failed:
                yield Finding(self.name, None, f"{self.name}: failed: {self.manifest.failed}")
        yield from self._strays(partitions)

    def _manifest_at_hand(self) -> Iterator[Finding]:
        try:
            self.manifest = load_manifest(self.corpus.manifest_url(self.name))
        except FileNotFoundError:
            yield Finding(self.name, None, f"{self.name}: no manifest: the stage never finished")
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
        """What vouches for a task's tables: its record, or, when that is lost, the manifest."""
        if self.records and self.records[-1].partition == partition:
            return self.records[-1].files
        expected = self._names(partition)
        return [file for file in self.manifest.files if file.name in expected] if self.manifest else []

    def _names(self, partition: int) -> dict[str, str]:
        """The names of a task's tables, with the table of each."""
        return {self.corpus.file_name(table, partition): table for table in [*self.entry.tables, "rejects"]}

    def _record_faults(self, record: TaskRecord, partition: int) -> Iterator[str]:
        if (record.stage, record.partition) != (self.name, partition):
            yield f"is the record of partition {record.partition} of {record.stage}"
        if {file.name: file.table for file in record.files} != self._names(partition) or len(record.files) != len(self._names(partition)):
            yield f"names other tables than {', '.join(self._names(partition))}"
        if self.manifest and self.manifest.records.get(str(partition)) != record.seal:
            yield "is not the record that the manifest names"
        rows = {file.table: file.rows for file in record.files if file.table != "rejects"}
        if rows != record.counts.rows_out:
            yield f"its files have {rows} rows, but it counts {record.counts.rows_out}"
        yield from _imbalance(record.counts, self.entry.main)

    def _table_faults(self, file: FileInfo, partition: int) -> Iterator[str]:
        size = self.sizes.get(file.name)
        url = files.join(self.corpus.folder(self.name), file.name)
        if size is None:
            yield "is missing"
        elif size != file.bytes:
            yield f"has {size} bytes, its record says {file.bytes}"
        elif not holds(url, file.bytes, file.sha256) or (not files.is_local(url) and files.sha256_of(url) != file.sha256):
            yield "its bytes are not those that were written (SHA-256 differs)"
        else:
            try:
                with self.corpus.open(self.name, file.table, partition) as table:
                    if table.rows != file.rows:
                        yield f"holds {table.rows} rows, its record says {file.rows}"
            except CmclError as error:
                yield str(error)

    def _manifest_faults(self, manifest: StageManifest, tasks: int) -> Iterator[str]:
        if manifest.stage != self.name:
            yield f"is the manifest of {manifest.stage}"
        if (manifest.partitions, manifest.seed) != (self.index.partitions, self.index.seed):
            yield (f"is of {manifest.partitions} partitions and seed {manifest.seed}, corpus.json of {self.index.partitions} and "
                   f"{self.index.seed}")
        if self.entry.manifest is None:
            yield "corpus.json does not name it yet: `cmcl run` does"
        elif self.entry.manifest != manifest.seal:
            yield "is not the manifest that corpus.json names"
        if set(manifest.contents) != {*self.entry.tables, "rejects"}:
            yield f"is of the tables {', '.join(sorted(manifest.contents))}; corpus.json says {', '.join(self.entry.tables)}"
        yield from _imbalance(manifest.counts, self.entry.main)
        if len(self.records) < tasks:
            return  # what it sums up cannot be summed up again
        counts = Counts()
        for record in self.records:
            counts.add(record.counts)
        if manifest.counts != counts:
            yield "its counts are not the sum of its tasks'"
        if manifest.files != [file for record in self.records for file in record.files]:
            yield "its files are not those of its tasks"
        if manifest.contents != table_contents(self.records):
            yield "its contents are not those of its files"
        if set(manifest.records) != {str(record.partition) for record in self.records} or not 0 <= manifest.ran <= tasks:
            yield "its tasks are not those of the stage"

    def _strays(self, partitions: list[int] | range) -> Iterator[Finding]:
        records = {self.corpus.record_url(self.name, partition).rpartition("/")[2] for partition in partitions}
        known = {name for partition in partitions for name in self._names(partition)} | records | {MANIFEST}
        for entry in self.held:
            text = f"{self.name}/{entry.name}: not in the manifest"
            if entry.kind == "link" and (entry.name in known or is_own_name(entry.name, [])):
                yield Finding(self.name, None, f"{self.name}/{entry.name}: is a link, where the corpus has a file", foreign=True)
            elif entry.kind != "file":
                yield Finding(self.name, None, text, foreign=True)
            elif entry.name not in known:
                yield Finding(self.name, None, text, foreign=not self._is_own(entry.name))

    def _is_own(self, name: str) -> bool:
        """Whether a run of the stage clears a file away that its manifest does not name."""
        return is_own_file(self.corpus, self.name, self.entry.tables, name) or files.is_temporary(
            name, partial(is_own_name, tables=self.entry.tables))


def _imbalance(counts: Counts, main: str | None) -> Iterator[str]:
    out = counts.rows_out.get(main, 0) if main else 0
    if main and counts.rows_in != out + counts.rejected + counts.excluded + counts.merged:
        yield (f"{counts.rows_in} rows in, but {out} out + {counts.rejected} rejected + {counts.excluded} excluded + "
               f"{counts.merged} merged")
