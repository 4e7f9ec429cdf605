"""The layout of a corpus.

    CORPUS/
      corpus.json                                    format, partitions, seed, stages, and which stage holds which table
      <stage>/<table>-00003-of-00016.arrow           partition 3 of a table
      <stage>/<artefact>.arrow                       the output of a corpus-wide stage
      <stage>/rejects-00003-of-00016.arrow           rows that the stage did not keep in partition 3
      <stage>/rows-00003-of-00016.arrow              digests of the partition's input rows, by which a later run reuses their output
      <stage>/before_<table>-00003-of-00016.arrow    what a run in progress has replaced, for a stage that compares the two
      <stage>/task-00003.json                        the record that commits a task's files
      <stage>/manifest.json                          the record that commits the stage
      .lock                                          the run that is working on the corpus
      README.md                                      the dataset card, once `cmcl card` wrote it; the user's sections in it are kept

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
from schemas.row_digests import ROWS_TABLE
from schemas.seals import STRICT, is_sealed, parse_sealed, seal_holds, write_sealed
from schemas.store import FileInfo, TableFile, table_of

FORMAT = 2  # 1: without seals
WHOLE = -1  # the partition number of a corpus-wide task
INDEX, LOCK, MANIFEST, CARD = "corpus.json", ".lock", "manifest.json", "README.md"
BEFORE = "before_"  # begins the name of a table that a run has replaced, while stages that compare the two have not finished
ROOT_FILES = frozenset({INDEX, CARD})  # written atomically, so through temporary files
CARD_BEGIN, CARD_END = "<!-- written by cmcl card -->", "<!-- end of cmcl card -->"  # lines around what `cmcl card` rewrites
MAX_PARTITIONS = 2**20
_RECORD_NAME = re.compile(r"task(-\d{5,})?\.json")
_TABLE_NAME = re.compile(r"([a-z][a-z0-9_]*?)(-\d{5,}-of-\d{5,})?\.arrow")

_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]  # becomes a path, so it must not be `..` or the like


@dataclass(frozen=True)
class StageEntry:
    """A stage's entry in `corpus.json`.

    main: the table whose rows correspond to the input rows, if any. hashed: the tables that the corpus hash covers.
    corpus_wide: one task for the whole corpus. manifest: the seal of the stage's manifest; None while the stage is being built.
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
    """The content of `corpus.json`; `stages` are in the order in which they run."""

    __pydantic_config__ = STRICT

    format: int
    partitions: Annotated[int, Field(ge=1, le=MAX_PARTITIONS)]
    seed: int
    stages: list[StageEntry]
    seal: str = ""


@dataclass(frozen=True)
class Corpus:
    """A corpus at a URL, divided into partitions."""

    url: str
    partitions: int

    def folder(self, stage: str) -> str:
        """The folder of a stage."""
        return files.join(self.url, stage)

    def file_name(self, table: str, partition: int) -> str:
        """The name of a table's file in its stage's folder."""
        return f"{table}.arrow" if partition == WHOLE else f"{table}-{partition:05d}-of-{self.partitions:05d}.arrow"

    def table_url(self, stage: str, table: str, partition: int) -> str:
        """The URL of a partition of a table, or of an artefact (partition `WHOLE`)."""
        return files.join(self.url, stage, self.file_name(table, partition))

    def open(self, stage: str, table: str, partition: int, schema: pa.Schema | None = None) -> TableFile:
        """Opens a partition of a table; its bytes must match the hash in the stage's manifest. Raises as `TableFile` does."""
        return TableFile(self.table_url(stage, table, partition), table, schema, self.content(stage, table, partition))

    def record_url(self, stage: str, partition: int) -> str:
        """The URL of a task's record."""
        return files.join(self.url, stage, "task.json" if partition == WHOLE else f"task-{partition:05d}.json")

    def record(self, stage: str, partition: int) -> TaskRecord | None:
        """The record of a finished task; None when it is missing or damaged."""
        return read_record(self.record_url(stage, partition))

    def content(self, stage: str, table: str, partition: int) -> str | None:
        """SHA-256 of a partition of a table, from the stage's manifest or, while there is none, from its task's record."""
        manifest = self._manifest_and_files(stage)
        if manifest is not None:
            file = manifest[1].get(self.file_name(table, partition))
            return file.sha256 if file else None
        record = self.record(stage, partition)
        return record.content(table) if record else None

    def manifest_url(self, stage: str) -> str:
        """The URL of a stage's manifest."""
        return files.join(self.url, stage, MANIFEST)

    def manifest(self, stage: str) -> StageManifest | None:
        """The manifest of a finished stage; None when it is missing or damaged."""
        found = self._manifest_and_files(stage)
        return found[0] if found else None

    def _manifest_and_files(self, stage: str) -> tuple[StageManifest, dict[str, FileInfo]] | None:
        """The manifest and its files by name. Cached, because every task needs its inputs' manifests, and they grow with the partitions."""
        url = self.manifest_url(stage)
        try:
            stamp = files.version_stamp(url)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _manifest_at(url, stamp) if stamp else _manifest_at.__wrapped__(url, stamp)

    def missing_files(self, manifest: StageManifest) -> list[str]:
        """Names of files in a manifest that are missing from the stage's folder or have another size; their content is not read."""
        found = files.listing(self.folder(manifest.stage))
        return [file.name for file in manifest.files if found.get(file.name) != file.bytes]


@lru_cache(maxsize=64)
def _manifest_at(url: str, stamp: object) -> tuple[StageManifest, dict[str, FileInfo]] | None:
    manifest = read_manifest(url)
    return (manifest, {file.name: file for file in manifest.files}) if manifest else None


def is_own_name(name: str, tables: Iterable[str]) -> bool:
    """Whether this is the name of a file that a stage writing `tables` (and `rejects`) has in its folder."""
    if name == MANIFEST or _RECORD_NAME.fullmatch(name):
        return True
    found = _TABLE_NAME.fullmatch(name.removeprefix(BEFORE))
    return found is not None and found[1] in {"rejects", ROWS_TABLE, *tables}


def is_card(url: str) -> bool:
    """Whether a file is a dataset card that `cmcl card` wrote: UTF-8, with exactly one of each marker line, in order."""
    with files.open_read(url) as file:
        try:
            lines = file.read(4 << 20).decode().split("\n")
        except UnicodeDecodeError:
            return False
    at = [[number for number, line in enumerate(lines) if line == mark] for mark in (CARD_BEGIN, CARD_END)]
    return [len(found) for found in at] == [1, 1] and 0 < at[0][0] < at[1][0]


def remove_stale(corpus: Corpus, stage: str, tables: Iterable[str], kept: set[str]) -> None:
    """Removes a stage's own files that are not in `kept`, such as those of another number of partitions (see `is_own_file`)."""
    folder = corpus.folder(stage)
    files.remove(folder, [name for name in files.listing(folder) if name not in kept and is_own_file(corpus, stage, tables, name)])


def is_own_file(corpus: Corpus, stage: str, tables: Iterable[str], name: str) -> bool:
    """Whether a file in a stage's folder was written by that stage: its name fits, and it contains that table or a record of that stage."""
    return is_own_name(name, tables) and _content_fits_name(files.join(corpus.folder(stage), name), stage)


def _content_fits_name(url: str, stage: str) -> bool:
    name = url.rpartition("/")[2]
    if name == MANIFEST or _RECORD_NAME.fullmatch(name):
        held = files.read_json(url)  # of any release, sealed or not: this is about ownership, not integrity
        return isinstance(held, dict) and held.get("stage") == stage and {"counts", "files"} <= set(held)
    found = _TABLE_NAME.fullmatch(name.removeprefix(BEFORE))
    return found is not None and table_of(url) == found[1]


def holds_stage(folder: str) -> bool:
    """Whether a folder contains a manifest or a record of the stage that it is named after."""
    stage = folder.rstrip("/").rpartition("/")[2]
    names = [name for name in files.listing(folder) if name == MANIFEST or _RECORD_NAME.fullmatch(name)]
    return any(_content_fits_name(files.join(folder, name), stage) for name in sorted(names))


_INDEX = TypeAdapter(Index)


def load_index(url: str) -> Index:
    """The content of a corpus's `corpus.json`.

    Raises CorpusError when it is missing, damaged, or in a format that this release does not read.
    """
    path = files.join(url, INDEX)
    try:
        with files.open_read(path) as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise CorpusError(f"no corpus at {url} (corpus.json not found): `cmcl run CONFIG` builds or restores it") from None
    except IsADirectoryError:
        raise CorpusError(f"{path} is a folder, not a file: move it away, and run `cmcl run CONFIG`") from None
    _refuse_other_formats(data, url)
    return parse_sealed(data, path, _INDEX, "`cmcl run CONFIG` writes it again")


def _refuse_other_formats(data: bytes, url: str) -> None:
    """Raises CorpusError for an index of another format, unless its seal is wrong, which is reported first."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    known = value.get("format") if isinstance(value, dict) else None
    if type(known) is not int or known == FORMAT or (is_sealed(data) and not seal_holds(data)):
        return
    if known == 1:
        raise CorpusError(f"{url} was built by an earlier release (format 1, without seals): `cmcl run CONFIG` rebuilds it")
    raise FormatError(f"{url} is a corpus of format {known}; this release reads format {FORMAT}")


def read_index(url: str) -> Index | None:
    """The content of `corpus.json`; None when a run must write it: it is missing, damaged, or from an earlier release.

    Raises FormatError when it has a format that this release does not know.
    """
    try:
        return load_index(url)
    except FormatError:
        raise
    except CorpusError:
        return None


def open_corpus(url: str) -> tuple[Corpus, Index]:
    """An existing corpus and its index. Raises CorpusError when its `corpus.json` is missing or damaged."""
    index = load_index(url)
    return Corpus(url, index.partitions), index


def write_index(corpus: Corpus, seed: int, stages: list[StageEntry]) -> None:
    """Writes `corpus.json`, unless it is already up to date. `stages`: in the order in which they run."""
    index = Index(FORMAT, corpus.partitions, seed, stages)
    known = read_index(corpus.url)
    if known is None or replace(known, seal="") != index:
        write_sealed(files.join(corpus.url, INDEX), asdict(index))
