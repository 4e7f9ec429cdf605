"""Where everything of a corpus stands.

    CORPUS/
      corpus.json                                    format, partitions, seed, stages, and which stage holds which table
      <stage>/<table>-00003-of-00016.arrow           partition 3 of a table
      <stage>/<artefact>.arrow                       what a corpus-wide stage made
      <stage>/rejects-00003-of-00016.arrow           rows that partition 3 of the stage did not keep
      <stage>/task-00003.json                        the record that commits the files of a task
      <stage>/manifest.json                          the record that commits the stage
      .lock                                          who is at work on it

Nothing else in that folder belongs to the corpus, and nothing else is ever changed or removed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa

from schemas import files
from schemas.errors import CorpusError
from schemas.manifest import StageManifest, TaskRecord, read_manifest, read_record
from schemas.store import TableFile, table_of

FORMAT = 1
WHOLE = -1  # the partition number of a corpus-wide task
INDEX, LOCK, MANIFEST = "corpus.json", ".lock", "manifest.json"
MAX_PARTITIONS = 2**20
_STAGE_NAME = re.compile(r"[a-z][a-z0-9_]*")
_RECORD_NAME = re.compile(r"task(-\d{5,})?\.json")
_TABLE_NAME = re.compile(r"([a-z][a-z0-9_]*?)(-\d{5,}-of-\d{5,})?\.arrow")


@dataclass(frozen=True)
class Corpus:
    """A corpus at a URL, cut in a number of partitions."""

    url: str
    partitions: int

    def folder(self, stage: str) -> str:
        """The folder of a stage."""
        return files.join(self.url, stage)

    def file_name(self, table: str, partition: int) -> str:
        """The name of a table's file in its stage's folder."""
        return f"{table}.arrow" if partition == WHOLE else f"{table}-{partition:05d}-of-{self.partitions:05d}.arrow"

    def table_url(self, stage: str, table: str, partition: int) -> str:
        """Where a partition of a table stands, or an artefact (partition `WHOLE`)."""
        return files.join(self.url, stage, self.file_name(table, partition))

    def open(self, stage: str, table: str, partition: int, schema: pa.Schema | None = None) -> TableFile:
        """Opens a partition of a table; raises as `TableFile` does."""
        return TableFile(self.table_url(stage, table, partition), table, schema)

    def record_url(self, stage: str, partition: int) -> str:
        """Where the record of a task stands."""
        return files.join(self.url, stage, "task.json" if partition == WHOLE else f"task-{partition:05d}.json")

    def record(self, stage: str, partition: int) -> TaskRecord | None:
        """The record of a finished task, None when there is none."""
        return read_record(self.record_url(stage, partition))

    def content(self, stage: str, table: str, partition: int) -> str | None:
        """SHA-256 of a partition of a table, as the record of its task tells, or, when that is lost, the stage's manifest."""
        record = self.record(stage, partition)
        if record is not None:
            return record.content(table)
        manifest = self.manifest(stage)
        name = self.file_name(table, partition)
        return next((file.sha256 for file in manifest.files if file.name == name), None) if manifest else None

    def manifest_url(self, stage: str) -> str:
        """Where the manifest of a stage stands."""
        return files.join(self.url, stage, MANIFEST)

    def manifest(self, stage: str) -> StageManifest | None:
        """The manifest of a finished stage, None when there is none."""
        url = self.manifest_url(stage)
        if not files.is_local(url):
            return read_manifest(url)
        try:
            found = os.stat(files.local_path(url))
        except (FileNotFoundError, NotADirectoryError):
            return None
        # Each task looks at the manifests of what it reads; they grow with the number of partitions.
        return _manifest_at(url, found.st_ino, found.st_mtime_ns, found.st_size)

    def missing_files(self, manifest: StageManifest) -> list[str]:
        """What a stage's manifest promises and its folder lacks or holds in another size; no bytes are read."""
        found = files.listing(self.folder(manifest.stage))
        return [file.name for file in manifest.files if found.get(file.name) != file.bytes]


@lru_cache(maxsize=64)
def _manifest_at(url: str, *stamp: int) -> StageManifest | None:
    return read_manifest(url)


def is_own_name(name: str, tables: Iterable[str]) -> bool:
    """Whether a stage that writes `tables` gives this name to files in its folder; `rejects` goes without saying."""
    if name == MANIFEST or _RECORD_NAME.fullmatch(name):
        return True
    found = _TABLE_NAME.fullmatch(name)
    return found is not None and found[1] in {"rejects", *tables}


def remove_stale(corpus: Corpus, stage: str, tables: Iterable[str], kept: set[str]) -> None:
    """Removes a stage's own files that are not in `kept`, such as those of another number of partitions.

    Own is what bears such a name and holds what the name says: a whole table with that name in it, or a record of this stage.
    """
    folder = corpus.folder(stage)
    names = [name for name in files.listing(folder) if name not in kept and is_own_name(name, tables)]
    files.remove(folder, [name for name in names if _holds_what_it_says(files.join(folder, name), stage)])


def _holds_what_it_says(url: str, stage: str) -> bool:
    name = url.rpartition("/")[2]
    if name == MANIFEST or _RECORD_NAME.fullmatch(name):
        held = read_manifest(url) if name == MANIFEST else read_record(url)
        return held is not None and held.stage == stage
    found = _TABLE_NAME.fullmatch(name)
    return found is not None and table_of(url) == found[1]


def holds_stage(folder: str) -> bool:
    """Whether a folder holds a manifest or a record of the stage that it is named after."""
    stage = folder.rstrip("/").rpartition("/")[2]
    names = [name for name in files.listing(folder) if name == MANIFEST or _RECORD_NAME.fullmatch(name)]
    return any(_holds_what_it_says(files.join(folder, name), stage) for name in sorted(names))


def read_index(url: str) -> dict[str, Any] | None:
    """The content of a corpus' `corpus.json`, None when there is none or it is damaged: a run writes it again.

    Raises CorpusError when it was written in a format that this release does not read.
    """
    index = files.read_json(files.join(url, INDEX))
    if isinstance(index, dict) and {"format", "partitions", "stages"} <= set(index) and index["format"] != FORMAT:
        raise CorpusError(f"{url} is a corpus of format {str(index['format'])[:40]}; this release reads format {FORMAT}")
    return index if _is_index(index) else None


def _is_index(index: Any) -> bool:
    """Whether this is what `write_index` writes. Its names become paths: a stage called `..` would lead out of the corpus."""
    if not isinstance(index, dict) or not isinstance(index.get("stages"), list):
        return False
    partitions = index.get("partitions")
    return (index.get("format") == FORMAT and type(partitions) is int and 1 <= partitions <= MAX_PARTITIONS
            and all(map(_is_index_entry, index["stages"])))


def _is_index_entry(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    names = [entry.get("stage"), *([entry["main"]] if entry.get("main") is not None else [])]
    for key in ("tables", "hashed"):
        if not isinstance(entry.get(key), list):
            return False
        names += entry[key]
    return all(isinstance(name, str) and _STAGE_NAME.fullmatch(name) for name in names)


def open_corpus(url: str) -> tuple[Corpus, dict[str, Any]]:
    """An existing corpus and its index. Raises CorpusError when there is none."""
    index = read_index(url)
    if index is None:
        raise CorpusError(f"there is no corpus at {url} (no whole corpus.json): `cmcl run CONFIG` makes one, or writes it again")
    return Corpus(url, index["partitions"]), index


def write_index(corpus: Corpus, seed: int, stages: list[dict[str, Any]]) -> None:
    """Writes `corpus.json`. `stages`, in the order in which they run, each {"stage", "tables", "main", "hashed"}: its name, its
    tables, the table whose rows answer to the rows that came in (or null), and the tables that the corpus hash covers.
    """
    value = {"format": FORMAT, "partitions": corpus.partitions, "seed": seed, "stages": stages}
    url = files.join(corpus.url, INDEX)
    if files.read_json(url) != value:
        files.write_json(url, value)
