"""Corpus-wide inputs that a stage compares row by row: what they were when a task last ran.

A run replaces the tables of a stage before those of its readers. So a stage whose tables are compared sets the old ones aside; they stay
until the readers have finished, whatever happens in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa

from schemas import files
from schemas.corpus import BEFORE, Corpus
from schemas.manifest import TaskRecord, fingerprint
from schemas.store import TableFile


@dataclass(frozen=True)
class Before(Corpus):
    """A corpus in which tables that were set aside stand in for those that replaced them; held: their stages, names and SHA-256."""

    held: tuple[tuple[str, str, str], ...] = ()

    def open(self, stage: str, table: str, partition: int, schema: pa.Schema | None = None) -> TableFile:
        """Opens a partition of a table, set aside or not. Raises as `TableFile` does."""
        name = BEFORE + self.file_name(table, partition)
        for of, found, sha256 in self.held:
            if (of, found) == (stage, name):
                return TableFile(files.join(self.folder(stage), name), table, schema, sha256)
        return super().open(stage, table, partition, schema)

    def content(self, stage: str, table: str, partition: int) -> str | None:
        """SHA-256 of a partition of a table, set aside or not."""
        found = {(of, name): sha256 for of, name, sha256 in self.held}
        return found.get((stage, BEFORE + self.file_name(table, partition))) or super().content(stage, table, partition)


def state_of(stage: Any, corpus: Corpus) -> str:
    """A hash of the compared inputs' tables, "" without such inputs."""
    found = {}
    for source in stage.inputs:
        if source.compared:
            manifest = None if isinstance(corpus, Before) else corpus.manifest(source.stage)
            sums = [] if manifest else [corpus.content(source.stage, source.table, partition) for partition in range(corpus.partitions)]
            found[f"{source.stage}/{source.table}"] = manifest.contents[source.table] if manifest else fingerprint(sums)
    return fingerprint(found) if found else ""


def earlier(stage: Any, home: Corpus, state: str) -> Corpus | None:
    """The corpus as it was when its compared inputs had this state; None: some are gone."""
    if state_of(stage, home) == state:
        return home
    held = []
    for source in (source for source in stage.inputs if source.compared):
        names = list(_set_aside(home, source.stage, source.table))
        urls = [files.join(home.folder(source.stage), name) for name in names]
        stamps = [files.version_stamp(url) for url in urls]
        sums = [_sha256(url, stamp) if stamp else files.sha256_of(url) for url, stamp in zip(urls, stamps, strict=True)]
        held += [(source.stage, name, own) for name, own in zip(names, sums, strict=True)]
    before = Before(home.url, home.partitions, tuple(held))
    return before if held and state_of(stage, before) == state else None


@lru_cache(maxsize=4096)
def _sha256(url: str, stamp: object) -> str:
    """The hash of a file; every task asks for those of all partitions."""
    return files.sha256_of(url)


def set_aside(stage: Any, corpus: Corpus, record: TaskRecord | None) -> None:
    """Keeps the tables of a task that is about to be repeated, unless older ones are kept already."""
    folder = corpus.folder(stage.name)
    for file in record.files if record else ():
        url, aside = files.join(folder, file.name), files.join(folder, BEFORE + file.name)
        if file.table in stage.writes and files.size_of(url) == file.bytes and files.size_of(aside) is None:
            files.copy(url, aside)


def clear(stage: Any, corpus: Corpus) -> None:
    """Removes what was set aside of a stage's compared inputs."""
    for source in stage.inputs:
        if source.compared:
            files.remove(corpus.folder(source.stage), list(_set_aside(corpus, source.stage, source.table)))


def _set_aside(corpus: Corpus, stage: str, table: str) -> Iterator[str]:
    names = {BEFORE + corpus.file_name(table, partition) for partition in range(corpus.partitions)}
    yield from sorted(names.intersection(files.listing(corpus.folder(stage))))
