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

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Annotated

import pyarrow as pa
from pydantic import Field, TypeAdapter

from schemas import files
from schemas.errors import CorpusError, FormatError
from schemas.manifest import StageManifest, TaskRecord, read_manifest, read_record
from schemas.seals import STRICT, is_sealed, parse_sealed, seal_holds, write_sealed
from schemas.store import FileInfo, TableFile, table_of

FORMAT = 2  # 1: without seals
WHOLE = -1  # the partition number of a corpus-wide task
INDEX, LOCK, MANIFEST = "corpus.json", ".lock", "manifest.json"
MAX_PARTITIONS = 2**20
_RECORD_NAME = re.compile(r"task(-\d{5,})?\.json")
_TABLE_NAME = re.compile(r"([a-z][a-z0-9_]*?)(-\d{5,}-of-\d{5,})?\.arrow")

_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]  # becomes a path: one called `..` would lead out of the corpus


@dataclass(frozen=True)
class StageEntry:
    """What `corpus.json` says of a stage.

    main: the table whose rows answer to the rows that came in; None: it has none. hashed: the tables that the corpus hash covers.
    corpus_wide: one task for the whole corpus. manifest: the seal of the stage's manifest; None while the stage is being made.
    """

    __pydantic_config__ = STRICT

    stage: _Name
    tables: list[_Name]
    main: _Name | None
    hashed: list[_Name]
    corpus_wide: bool
    manifest: str | None = None


@dataclass(frozen=True)
class Index:
    """The content of `corpus.json`; `stages` in the order in which they run."""

    __pydantic_config__ = STRICT

    format: int
    partitions: Annotated[int, Field(ge=1, le=MAX_PARTITIONS)]
    seed: int
    stages: list[StageEntry]
    seal: str = ""


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
        """Opens a partition of a table, whose bytes must be those that the stage's manifest names; raises as `TableFile` does."""
        return TableFile(self.table_url(stage, table, partition), table, schema, self.content(stage, table, partition))

    def record_url(self, stage: str, partition: int) -> str:
        """Where the record of a task stands."""
        return files.join(self.url, stage, "task.json" if partition == WHOLE else f"task-{partition:05d}.json")

    def record(self, stage: str, partition: int) -> TaskRecord | None:
        """The record of a finished task, None when there is none."""
        return read_record(self.record_url(stage, partition))

    def content(self, stage: str, table: str, partition: int) -> str | None:
        """SHA-256 of a partition of a table, as the stage's manifest tells, or, while there is none, the record of its task."""
        manifest = self._manifest_and_files(stage)
        if manifest is not None:
            file = manifest[1].get(self.file_name(table, partition))
            return file.sha256 if file else None
        record = self.record(stage, partition)
        return record.content(table) if record else None

    def manifest_url(self, stage: str) -> str:
        """Where the manifest of a stage stands."""
        return files.join(self.url, stage, MANIFEST)

    def manifest(self, stage: str) -> StageManifest | None:
        """The manifest of a finished stage, None when there is none, or a damaged one."""
        found = self._manifest_and_files(stage)
        return found[0] if found else None

    def _manifest_and_files(self, stage: str) -> tuple[StageManifest, dict[str, FileInfo]] | None:
        """The manifest and its files by name. Each task looks at those of what it reads; they grow with the number of partitions."""
        url = self.manifest_url(stage)
        try:
            stamp = files.version_stamp(url)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _manifest_at(url, stamp) if stamp else _manifest_at.__wrapped__(url, stamp)

    def missing_files(self, manifest: StageManifest) -> list[str]:
        """What a stage's manifest promises and its folder lacks or holds in another size; no bytes are read."""
        found = files.listing(self.folder(manifest.stage))
        return [file.name for file in manifest.files if found.get(file.name) != file.bytes]


@lru_cache(maxsize=64)
def _manifest_at(url: str, stamp: object) -> tuple[StageManifest, dict[str, FileInfo]] | None:
    manifest = read_manifest(url)
    return (manifest, {file.name: file for file in manifest.files}) if manifest else None


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
    files.remove(folder, [name for name in files.listing(folder) if name not in kept and is_own_file(corpus, stage, tables, name)])


def is_own_file(corpus: Corpus, stage: str, tables: Iterable[str], name: str) -> bool:
    """Whether a file in a stage's folder is one that such a stage wrote, by its name and by what is in it."""
    return is_own_name(name, tables) and _holds_what_it_says(files.join(corpus.folder(stage), name), stage)


def _holds_what_it_says(url: str, stage: str) -> bool:
    name = url.rpartition("/")[2]
    if name == MANIFEST or _RECORD_NAME.fullmatch(name):
        held = files.read_json(url)  # of any release, and sealed or not: this tells whose it is, not whether it is sound
        return isinstance(held, dict) and held.get("stage") == stage and {"counts", "files"} <= set(held)
    found = _TABLE_NAME.fullmatch(name)
    return found is not None and table_of(url) == found[1]


def holds_stage(folder: str) -> bool:
    """Whether a folder holds a manifest or a record of the stage that it is named after."""
    stage = folder.rstrip("/").rpartition("/")[2]
    names = [name for name in files.listing(folder) if name == MANIFEST or _RECORD_NAME.fullmatch(name)]
    return any(_holds_what_it_says(files.join(folder, name), stage) for name in sorted(names))


_INDEX = TypeAdapter(Index)


def load_index(url: str) -> Index:
    """The content of a corpus' `corpus.json`.

    Raises CorpusError when there is none, it is damaged, or was written in a format that this release does not read.
    """
    place = files.join(url, INDEX)
    try:
        with files.open_read(place) as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise CorpusError(f"there is no corpus at {url} (no corpus.json): `cmcl run CONFIG` makes one, or writes it again") from None
    except IsADirectoryError:
        raise CorpusError(f"{place} is a folder, where a file should be: move it away, and run `cmcl run CONFIG`") from None
    _refuse_other_formats(data, url)
    return parse_sealed(data, place, _INDEX, "`cmcl run CONFIG` writes it again")


def _refuse_other_formats(data: bytes, url: str) -> None:
    """Raises CorpusError for a document without seals that names a format; a sealed one is judged by its seal first."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    known = value.get("format") if isinstance(value, dict) else None
    if type(known) is not int or known == FORMAT or (is_sealed(data) and not seal_holds(data)):
        return
    if known == 1:
        raise CorpusError(f"{url} was made by an earlier release (format 1, without seals): `cmcl run CONFIG` makes it again")
    raise FormatError(f"{url} is a corpus of format {known}; this release reads format {FORMAT}")


def read_index(url: str) -> Index | None:
    """The content of `corpus.json`, None when a run must write it: there is none, it is damaged, or of an earlier release.

    Raises CorpusError when it is of a format that this release does not know.
    """
    try:
        return load_index(url)
    except FormatError:
        raise
    except CorpusError:
        return None


def open_corpus(url: str) -> tuple[Corpus, Index]:
    """An existing corpus and its index. Raises CorpusError when there is none, or its `corpus.json` is damaged."""
    index = load_index(url)
    return Corpus(url, index.partitions), index


def write_index(corpus: Corpus, seed: int, stages: list[StageEntry]) -> None:
    """Writes `corpus.json`, unless it says this already. `stages`: in the order in which they run."""
    index = Index(FORMAT, corpus.partitions, seed, stages)
    known = read_index(corpus.url)
    if known is None or replace(known, seal="") != index:
        write_sealed(files.join(corpus.url, INDEX), asdict(index))
