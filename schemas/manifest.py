"""A corpus's metadata: one record per finished task, one manifest per finished stage, and the fingerprints they are based on.

Two hashes decide whether finished work can be reused:

- a stage's *fingerprint* is known before anything runs: it covers settings, engine, schema versions, seed, and the fingerprints of the
  stages that it reads. If it is unchanged and the files are present, the stage is skipped altogether.
- a task's *key* is known when the task is due: it covers the same, but with the content of the files that it reads in place of
  fingerprints. So new rows rerun only the partitions they fall into, and a change that does not alter a stage's output stops there.
"""

from __future__ import annotations

import json
import platform
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import TypeAdapter

from schemas.errors import CorpusError
from schemas.row_digests import ROWS_TABLE
from schemas.seals import STRICT, read_sealed
from schemas.store import FileInfo


def fingerprint(value: Any) -> str:
    """A hash (32 hex digits) of a JSON-serialisable value, independent of the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()


@cache
def library_versions(packages: tuple[str, ...] = ()) -> dict[str, str]:
    """Versions of Python, of the libraries that all stages use, and of those of `packages` that are installed."""
    found = {"python": platform.python_version(), "platform": sys.platform}
    for name in ("apache-beam", "pyarrow", "numpy", *packages):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@dataclass
class Counts:
    """Row counts of a task or stage. rows_in = rows_out of the main table + rejected + excluded + merged."""

    __pydantic_config__ = STRICT

    rows_in: int = 0
    rows_out: dict[str, int] = field(default_factory=dict)  # by table
    rejected: int = 0
    excluded: int = 0
    merged: int = 0
    dropped: int = 0  # candidates refused by guards, which are not input rows
    reasons: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, int | float] = field(default_factory=dict)  # the stage's other counts; summed
    engine_ms: int = 0

    def too_many_rejected(self, allowed: float) -> str | None:
        """The error text if the rejected share of the rows exceeds `allowed`; None otherwise."""
        if not self.rows_in or self.rejected / self.rows_in <= allowed:
            return None
        return (
            f"{self.rejected} of {self.rows_in} rows were rejected ({self.rejected / self.rows_in:.1%}), "
            f"more than max_rejected allows ({allowed:.1%})"
        )

    def add(self, other: Counts) -> None:
        """Adds another task's counts to these."""
        for name in ("rows_in", "rejected", "excluded", "merged", "dropped", "engine_ms"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("rows_out", "reasons", "numbers"):
            total = Counter(getattr(self, name))
            for key, value in getattr(other, name).items():
                total[key] += value
            setattr(self, name, dict(sorted(total.items())))


@dataclass
class TaskRecord:
    """One finished task: its partition (-1: a corpus-wide artefact), key, files and counts."""

    __pydantic_config__ = STRICT

    stage: str
    partition: int
    key: str
    files: list[FileInfo]
    counts: Counts
    wall_ms: int
    extra: dict[str, Any] = field(default_factory=dict)  # what the task contributes to its stage's manifest
    basis: str = ""  # hash of everything that all of its rows depend on; "": its rows cannot be reused one by one
    made: int = 0  # rows in that it processed, in `wall_ms`; the others were copied from an earlier task
    state: str = ""  # hash of the inputs that the stage compares row by row; "": it has none
    seal: str = ""  # of the record as written

    def content(self, table: str) -> str:
        """SHA-256 of the file of one of its tables. Raises KeyError when it wrote no such table."""
        for file in self.files:
            if file.table == table:
                return file.sha256
        raise KeyError(f"task {self.partition} of {self.stage} wrote no {table}")

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the same fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TaskRecord:
        """The record that `to_json` wrote. Raises TypeError or KeyError when fields are missing or unknown."""
        value = dict(value)
        value["files"] = [FileInfo(**file) for file in value["files"]]
        value["counts"] = Counts(**value["counts"])
        return cls(**value)


@dataclass
class StageManifest:
    """One finished stage: its inputs and settings, its files and counts, and the time it took."""

    __pydantic_config__ = STRICT

    stage: str
    fingerprint: str
    ingredients: dict[str, Any]  # the input of the fingerprint's hash, so that changes can be named
    partitions: int
    seed: int
    counts: Counts
    files: list[FileInfo]
    contents: dict[str, str]  # by table: a hash over its files
    records: dict[str, str]  # by partition ("-1": a corpus-wide task): the seal of the task's record
    versions: dict[str, str]
    wall_s: float  # sum over tasks
    ran: int  # tasks that this run executed; the others were reused
    finished: str  # UTC, ISO 8601
    extra: dict[str, Any] = field(default_factory=dict)
    failed: str | None = None
    made: int = 0  # rows in that this run processed; the others were reused
    timed: int = 0  # rows in that were processed in `wall_s`, by this run and by those whose tasks it reused
    seal: str = ""  # of the manifest as written

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the same fields."""
        return asdict(self)


def table_contents(records: list[TaskRecord]) -> dict[str, str]:
    """By table, a hash over the files of all tasks, in partition order."""
    digests: dict[str, list[str]] = {}
    for record in sorted(records, key=lambda record: record.partition):
        for file in record.files:
            if file.table == ROWS_TABLE:  # serves the stage's own next run
                continue
            digests.setdefault(file.table, []).append(file.sha256)
    return {table: fingerprint(sums) for table, sums in sorted(digests.items())}


_MANIFEST, _RECORD = TypeAdapter(StageManifest), TypeAdapter(TaskRecord)
REPAIR = "run `cmcl verify CORPUS --repair`, then `cmcl run`, to rebuild it"


def load_manifest(url: str) -> StageManifest:
    """The manifest at `url`. Raises FileNotFoundError when it is missing, CorpusError when it is damaged."""
    return read_sealed(url, _MANIFEST, REPAIR)


def load_record(url: str) -> TaskRecord:
    """The task record at `url`. Raises as `load_manifest` does."""
    return read_sealed(url, _RECORD, REPAIR)


def read_manifest(url: str) -> StageManifest | None:
    """The manifest at `url`; None when it is missing or damaged: a run writes it again."""
    try:
        return load_manifest(url)
    except (FileNotFoundError, CorpusError):
        return None


def read_record(url: str) -> TaskRecord | None:
    """The task record at `url`; None when it is missing or damaged: a run repeats the task."""
    try:
        return load_record(url)
    except (FileNotFoundError, CorpusError):
        return None
