"""Reads whatever a corpus holds, finished or not, of this release's schemas or others'; what cannot be read is noted once and left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from schemas import checked
from schemas.corpus import WHOLE, Corpus, Index, StageEntry
from schemas.errors import CmclError
from schemas.manifest import StageManifest


@dataclass
class StageView:
    """A stage as the report shows it. state: current, stale, failed or missing, as far as the corpus alone tells; why: a sentence each.

    done: tasks recorded, where the manifest is missing. reads: the stages that it read.
    """

    entry: StageEntry
    manifest: StageManifest | None
    state: str
    why: list[str] = field(default_factory=list)
    done: int = 0
    reads: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.entry.stage


def stage_views(corpus: Corpus, index: Index) -> list[StageView]:
    """The stages of `corpus.json`, in the order in which they run."""
    views: list[StageView] = []
    manifests = {entry.stage: _own_manifest(corpus, entry) for entry in index.stages}
    for entry in index.stages:
        manifest = manifests[entry.stage]
        if manifest is None:
            views.append(_unfinished(corpus, entry))
            continue
        inputs = manifest.ingredients.get("inputs")
        inputs = inputs if isinstance(inputs, dict) else {}
        view = StageView(entry, manifest, "current", reads=[name for name in inputs if name in manifests])
        for name, made_from in inputs.items():
            read = manifests.get(name)
            if name in manifests and (read is None or read.fingerprint != made_from):
                view.why.append(f"it was built from another version of {name}" if read else f"it reads {name}, which is missing")
        if missing := corpus.missing_files(manifest):
            view.why.append(f"{len(missing)} of its files are missing or have the wrong size, first {missing[0]}")
        view.state = "stale" if view.why else "current"
        if manifest.failed:
            view.state = "failed"
            view.why.insert(0, manifest.failed)
        views.append(view)
    return views


def _own_manifest(corpus: Corpus, entry: StageEntry) -> StageManifest | None:
    manifest = corpus.manifest(entry.stage)
    return manifest if manifest and entry.manifest in (None, manifest.seal) else None


def _unfinished(corpus: Corpus, entry: StageEntry) -> StageView:
    parts = [WHOLE] if entry.corpus_wide else range(corpus.partitions)
    done = sum(corpus.record(entry.stage, partition) is not None for partition in parts)
    if corpus.manifest(entry.stage):
        why = "its manifest is not the one that corpus.json names: `cmcl run` rebuilds it"
    elif done:
        why = f"it is not finished: {done:,} of {len(parts):,} tasks are complete"
    else:
        why = "it was not built yet, or its manifest is damaged"
    return StageView(entry, None, "missing", [why], done)


class Reader:
    """Reads tables partition by partition. troubles: a sentence for each table that could not be read in full."""

    def __init__(self, corpus: Corpus, views: Sequence[StageView]):
        self.corpus = corpus
        self.views = {view.name: view for view in views}
        self.troubles: dict[tuple[str, str], str] = {}

    def holds(self, stage: str, table: str) -> bool:
        """Whether a finished stage has written a table."""
        view = self.views.get(stage)
        return bool(view and view.manifest and any(file.table == table for file in view.manifest.files))

    def schema(self, stage: str, table: str) -> pa.Schema | None:
        """A table's schema, of the first partition that can be read; None if there is none."""
        entry = self.views[stage].entry
        for partition in [WHOLE] if entry.corpus_wide else range(self.corpus.partitions):
            try:
                with self._open(stage, table, partition) as source:
                    return pa.ipc.open_file(source).schema
            except (CmclError, OSError, pa.ArrowException):
                continue
        return None

    def batches(self, stage: str, table: str, partition: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The record batches of one partition, with the given columns, those that it has; ends early where the file is damaged."""
        if not self.holds(stage, table):
            return
        try:
            with self._open(stage, table, partition) as source:
                schema = pa.ipc.open_file(source).schema
                kept = [name for name in schema.names if columns is None or name in columns]
                options = pa.ipc.IpcReadOptions(included_fields=[schema.get_field_index(name) for name in kept])
                file = pa.ipc.open_file(source, options=options)
                for number in range(file.num_record_batches):
                    batch = file.get_batch(number)
                    batch.validate(full=True)
                    yield batch
        except (CmclError, OSError, pa.ArrowException) as error:
            self.troubles.setdefault((stage, table), f"the table {table} of the stage {stage} could not be read in full: {error}")

    def _open(self, stage: str, table: str, partition: int) -> pa.NativeFile:
        sha256 = self.corpus.content(stage, table, partition)
        url = self.corpus.table_url(stage, table, partition)
        if sha256 is None:
            raise FileNotFoundError(f"{self.corpus.file_name(table, partition)} is in no manifest")
        return checked.opened(url, sha256)
