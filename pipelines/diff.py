"""Compares two corpora: settings, sources, versions and counts from their manifests, then the rows of every table.

Tables whose files are identical according to the manifests are not read. Two corpora are equal when their corpus hashes are, so layout
columns, internal tables and the number of partitions are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.diff_rows import Piece, TableReader, identity, matched, out_of_order, plain_type, same_values, stretches, taken
from pipelines.diff_tally import TableDiff, Tally
from schemas.corpus import WHOLE, Corpus, Index, StageEntry
from schemas.corpus_hash import hash_table, is_layout
from schemas.errors import CmclError
from schemas.manifest import StageManifest
from schemas.tables import VERSION_KEY


@dataclass(frozen=True)
class Difference:
    """One value that differs: its dotted key, and the value on each side (None: absent)."""

    key: str
    a: Any
    b: Any


@dataclass
class StageDiff:
    """One stage. only: the side ("a" or "b") that has it, if the other lacks it. made_of: settings, engines, sources, schemas, revision.
    reasons: number of rejects by reason.
    """

    stage: str
    only: str | None = None
    made_of: list[Difference] = field(default_factory=list)
    versions: list[Difference] = field(default_factory=list)
    counts: list[Difference] = field(default_factory=list)
    reasons: list[Difference] = field(default_factory=list)
    tables: list[TableDiff] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        """Whether its part of the corpus hash differs."""
        return self.only is not None or bool(self.reasons) or any(table.differs for table in self.tables)


@dataclass
class CorpusDiff:
    """The result. troubles: one sentence for each thing that could not be compared."""

    a: str
    b: str
    cut: list[Difference]  # partitions, seed
    stages: list[StageDiff]
    troubles: list[str]

    @property
    def status(self) -> int:
        """0: equal, 1: different, 2: something could not be compared."""
        return 2 if self.troubles else int(any(stage.differs for stage in self.stages))


@dataclass(frozen=True)
class _Side:
    name: str
    corpus: Corpus
    index: Index

    def entry(self, stage: str) -> StageEntry | None:
        return next((entry for entry in self.index.stages if entry.stage == stage), None)


def diff(a: tuple[Corpus, Index], b: tuple[Corpus, Index], examples: int = 10, seed: int = 0) -> CorpusDiff:
    """Compares two corpora; what cannot be read is listed in `troubles`, and everything else is compared.

    examples: the number of added, removed and changed rows kept per table, sampled with `seed`, whatever the number of partitions.
    """
    sides = _Side("a", *a), _Side("b", *b)
    cut = differences({"partitions": a[1].partitions, "seed": a[1].seed}, {"partitions": b[1].partitions, "seed": b[1].seed})
    found = CorpusDiff(a[0].url, b[0].url, cut, [], [])
    names = [entry.stage for entry in a[1].stages]
    for stage in [*names, *(entry.stage for entry in b[1].stages if entry.stage not in names)]:
        found.stages.append(_stage(sides, stage, found.troubles, examples, seed))
    return found


def differences(one: Any, other: Any, key: str = "") -> list[Difference]:
    """Where two JSON-like values differ, sorted by key; lists of equal length are compared item by item."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        names = sorted({*one, *other})
        parts = [(str(name), one.get(name), other.get(name)) for name in names]
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        parts = [(str(at), *values) for at, values in enumerate(zip(one, other, strict=True))]
    else:
        return [] if one == other else [Difference(key, one, other)]
    return [found for name, here, there in parts for found in differences(here, there, f"{key}.{name}" if key else name)]


def _stage(sides: tuple[_Side, _Side], stage: str, troubles: list[str], examples: int, seed: int) -> StageDiff:
    found = StageDiff(stage)
    entries = [side.entry(stage) for side in sides]
    if None in entries:
        found.only = sides[entries.index(None) ^ 1].name
        return found
    manifests = [_manifest(side, stage, entry, troubles) for side, entry in zip(sides, entries, strict=True)]
    one, other = manifests
    if one is None or other is None:
        return found
    found.made_of = differences(_made_of(one), _made_of(other))
    found.versions = differences(one.versions, other.versions)
    first, second = entries
    if first and second and (first.hashed or second.hashed):  # counts of other stages may depend on the number of partitions
        found.counts = differences(_counted(one), _counted(other))
        found.reasons = differences(one.counts.reasons, other.counts.reasons)
        for table in dict.fromkeys([*first.hashed, *second.hashed]):
            found.tables.append(_table(sides, (first, second), (one, other), table, troubles, examples, seed))
    return found


def _made_of(manifest: StageManifest) -> Mapping[str, Any]:
    own = {key: value for key, value in manifest.ingredients.items() if key not in ("inputs", "seed", "partitions")}
    return {**own, "failed": manifest.failed}


def _counted(manifest: StageManifest) -> Mapping[str, Any]:
    return {key: value for key, value in vars(manifest.counts).items() if key not in ("engine_ms", "reasons")}


def _manifest(side: _Side, stage: str, entry: StageEntry | None, troubles: list[str]) -> StageManifest | None:
    manifest = side.corpus.manifest(stage)
    if manifest is None:
        troubles.append(f"{stage} of {side.corpus.url} is not finished, or its manifest is damaged: `cmcl run` builds it")
    elif entry and entry.manifest not in (None, manifest.seal):
        troubles.append(f"{stage} of {side.corpus.url} has a manifest that its corpus.json does not name: `cmcl run` rebuilds it")
        return None
    return manifest


def _table(
    sides: tuple[_Side, _Side],
    entries: tuple[StageEntry, StageEntry],
    manifests: tuple[StageManifest, StageManifest],
    table: str,
    troubles: list[str],
    examples: int,
    seed: int,
) -> TableDiff:
    stage = entries[0].stage
    found = TableDiff(table, (manifests[0].counts.rows_out.get(table, 0), manifests[1].counts.rows_out.get(table, 0)))
    lacking = [side.name for side, entry in zip(sides, entries, strict=True) if table not in entry.hashed]
    if lacking or entries[0].corpus_wide != entries[1].corpus_wide:
        found.differs = True
        found.notes.append(f"not in {lacking[0]}" if lacking else "corpus-wide on one side only")
    elif manifests[0].contents.get(table) != manifests[1].contents.get(table) or table not in manifests[0].contents:
        try:
            _compare(found, (sides[0].corpus, sides[1].corpus), stage, entries[0].corpus_wide, examples, seed)
        except (CmclError, OSError, ValueError, pa.ArrowException) as error:
            troubles.append(f"{stage}/{table} could not be compared: {error}")
    return found


def _compare(found: TableDiff, corpora: tuple[Corpus, Corpus], stage: str, corpus_wide: bool, examples: int, seed: int) -> None:
    readers = [TableReader(corpus, stage, found.table) for corpus in corpora]
    schemas = [reader.schema(WHOLE if corpus_wide else 0) for reader in readers]
    columns = _common(found, schemas[0], schemas[1])
    keys = identity(found.table, pa.schema([schemas[0].field(name) for name in columns]))
    found.read = True
    if not keys:
        hashes = [hash_table(corpus, stage, found.table, corpus_wide) for corpus in corpora]
        found.differs |= hashes[0] != hashes[1]
        found.notes.append("its rows have no ids, so only its hash was compared")
        return
    plain = pa.schema([pa.field(name, plain_type(schemas[0].field(name).type)) for name in columns])
    tally = Tally(plain, keys, examples, seed)
    for left, right in _streams(corpora, readers, stage, found.table, corpus_wide, columns):
        for one, other in stretches(left, right, plain.empty_table()):
            _stretch(tally, one, other, columns, keys)
    tally.fill(found)
    found.differs |= bool(found.added or found.removed or found.changed or found.reordered)


def _common(found: TableDiff, one: pa.Schema, other: pa.Schema) -> list[str]:
    """The columns that both sides have, without layout columns; the others are noted as differences."""
    versions = [(schema.metadata or {}).get(VERSION_KEY, b"none").decode(errors="replace") for schema in (one, other)]
    if versions[0] != versions[1]:
        found.differs = True
        found.notes.append(f"schema version {versions[0]} in a, {versions[1]} in b: their common columns are compared")
    held = [{field.name: field for field in schema if not is_layout(field)} for schema in (one, other)]
    for name in sorted({*held[0], *held[1]}):
        types = [str(plain_type(fields[name].type)) if name in fields else None for fields in held]
        if types[0] != types[1]:
            found.differs = True
            found.notes.append(f"column {name}: {types[0] or 'not'} in a, {types[1] or 'not'} in b")
            held[0].pop(name, None)
    return list(held[0])


def _streams(
    corpora: tuple[Corpus, Corpus], readers: list[TableReader], stage: str, table: str, corpus_wide: bool, columns: list[str]
) -> Iterator[tuple[Iterator[Piece], Iterator[Piece]]]:
    """The streams to merge: differing partitions one by one if both sides have the same number, else the whole table at once."""
    parts = [[WHOLE] if corpus_wide else list(range(corpus.partitions)) for corpus in corpora]
    if parts[0] != parts[1]:
        yield readers[0].pieces(parts[0], columns), readers[1].pieces(parts[1], columns)
        return
    for partition in parts[0]:
        sums = [corpus.content(stage, table, partition) for corpus in corpora]
        if sums[0] is None or sums[0] != sums[1]:
            yield readers[0].pieces([partition], columns), readers[1].pieces([partition], columns)


def _stretch(tally: Tally, one: pa.Table, other: pa.Table, columns: list[str], keys: tuple[str, ...]) -> None:
    if one.equals(other):  # False for equal NaNs, which the comparison by column settles
        return
    at, there = matched(one, other, keys)
    tally.reordered += out_of_order(there)
    tally.alone("removed", one, _others(one.num_rows, at))
    tally.alone("added", other, _others(other.num_rows, there))
    same = {name: same_values(taken(one[name], at), taken(other[name], there)) for name in columns if name not in keys}
    changed = ~np.logical_and.reduce(list(same.values())) if same else np.zeros(len(at), bool)
    if changed.any():
        for name, values in same.items():
            tally.column(name, int((~values).sum()))
        rows = np.flatnonzero(changed)
        tally.both(one, other, at[rows], there[rows], {name: ~values[rows] for name, values in same.items()})


def _others(count: int, rows: np.ndarray) -> np.ndarray:
    kept = np.ones(count, bool)
    kept[rows] = False
    return np.flatnonzero(kept)
