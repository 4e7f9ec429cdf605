"""Counts the differences between two tables, stretch by stretch, and keeps a seeded sample of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.ids import counter_rng
from schemas.text import quoted

_GROUPS = ("source", "polarity", "level", "kind", "modality", "why")  # columns with few values, by which differences are counted
_SHOWN = 300  # characters of a value


@dataclass
class TableDiff:
    """One table. rows: their number on each side. read: its rows were compared; if not, its files are identical or `notes` say why.

    added, removed, changed: rows only in b, only in a, and in both with different values. reordered: rows in both, in another order.
    columns: changed rows by column. groups: by label column (kind, why, source and so on) and value, the numbers above.
    scores: by name, how many changed rows have another score, the mean shift (b - a) and the largest. examples: a seeded sample.
    """

    table: str
    rows: tuple[int, int]
    read: bool = False
    differs: bool = False
    added: int = 0
    removed: int = 0
    changed: int = 0
    reordered: int = 0
    columns: dict[str, int] = field(default_factory=dict)
    groups: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Tally:
    """The differences between two tables of one decoded schema, whose rows are identified by the columns `keys`."""

    def __init__(self, schema: pa.Schema, keys: Sequence[str], examples: int, seed: int):
        self._schema, self._keys = schema, keys
        self._groups = [name for name in _GROUPS if name in schema.names and pa.types.is_string(schema.field(name).type)]
        self._counts: Counter[str] = Counter()
        self._columns: Counter[str] = Counter()
        self._by: dict[str, dict[str, Counter[str]]] = {name: defaultdict(Counter) for name in self._groups}
        self._shifts: dict[str, _Shift] = defaultdict(_Shift)
        self._samples = {what: _Sample(examples, seed, what) for what in ("added", "removed", "changed")}
        self.reordered = 0

    def alone(self, what: str, table: pa.Table, rows: np.ndarray) -> None:
        """Records added or removed rows."""
        if len(rows):
            found = table.take(pa.array(rows))
            self._count(what, found)
            for priority, row in self._samples[what].chosen(len(rows)):
                self._samples[what].add(priority, _shown(found.slice(row, 1).to_pylist()[0]))

    def column(self, name: str, rows: int) -> None:
        """Records in how many rows a column differs."""
        if rows:
            self._columns[name] += rows

    def both(self, one: pa.Table, other: pa.Table, at: np.ndarray, there: np.ndarray, changed: Mapping[str, np.ndarray]) -> None:
        """Records changed rows: `at` on one side, `there` on the other; `changed`: by column, bool [n], whether it differs."""
        here, beyond = one.take(pa.array(at)), other.take(pa.array(there))
        self._count("changed", here)
        self._note_scores(here, beyond)
        for priority, row in self._samples["changed"].chosen(len(at)):
            names = [name for name, differs in changed.items() if differs[row]]
            before, after = (side.slice(row, 1).to_pylist()[0] for side in (here, beyond))
            shown = {name: dict(zip("ab", map(_value, _apart(before[name], after[name])), strict=True)) for name in names}
            self._samples["changed"].add(priority, {**_shown({name: before[name] for name in self._keys}), **shown})

    def _count(self, what: str, rows: pa.Table) -> None:
        self._counts[what] += rows.num_rows
        for name in self._groups:
            for value, count in zip(*(part.to_pylist() for part in pc.value_counts(rows[name].combine_chunks()).flatten()), strict=True):
                self._by[name][quoted(value)][what] += count

    def _note_scores(self, one: pa.Table, other: pa.Table) -> None:
        for column in self._schema:
            if pa.types.is_floating(column.type) and column.type != pa.float16():
                values = (side[column.name].to_numpy().astype(np.float64) for side in (one, other))
                self._shifts[column.name].add(*values)
            elif column.name == "scores":
                for name, before, after in _named_scores(one["scores"], other["scores"]):
                    self._shifts[quoted(name)].add(before, after)

    def fill(self, found: TableDiff) -> None:
        """Writes the totals into a table's result."""
        found.added, found.removed, found.changed = (self._counts[what] for what in ("added", "removed", "changed"))
        found.reordered = self.reordered
        found.columns = dict(sorted(self._columns.items()))
        found.groups = {name: {value: dict(counts) for value, counts in sorted(by.items())} for name, by in self._by.items() if by}
        found.scores = {name: shift.summary() for name, shift in sorted(self._shifts.items()) if shift.rows}
        found.examples = {what: sample.rows() for what, sample in self._samples.items() if sample.rows()}


class _Shift:
    """The shift of one score, over the rows where it changed."""

    def __init__(self) -> None:
        self.rows, self._sum, self._largest = 0, 0.0, 0.0

    def add(self, before: np.ndarray, after: np.ndarray) -> None:
        moved = (after - before)[np.isfinite(after - before) & (after != before)]
        if len(moved):
            self.rows += len(moved)
            self._sum += float(moved.sum())
            self._largest = max(self._largest, float(moved[np.abs(moved).argmax()]), key=abs)

    def summary(self) -> dict[str, float]:
        return {"rows": self.rows, "mean": self._sum / self.rows, "largest": self._largest}


class _Sample:
    """The rows with the lowest random priorities, drawn in row order, so the sample does not depend on how the stream is cut."""

    def __init__(self, size: int, seed: int, what: str):
        self._size = size
        self._random = counter_rng(seed, "diff", what)
        self._held: list[tuple[float, int, dict[str, Any]]] = []
        self._added = 0

    def chosen(self, count: int) -> list[tuple[float, int]]:
        """Priority and index of those of the next `count` rows that may enter the sample."""
        priorities = self._random.random(count)
        limit = self._held[-1][0] if len(self._held) == self._size and self._size else np.inf
        order = np.argsort(priorities, kind="stable")[: self._size]
        return [(float(priorities[row]), int(row)) for row in np.sort(order) if priorities[row] < limit]

    def add(self, priority: float, row: dict[str, Any]) -> None:
        self._added += 1
        self._held = sorted([*self._held, (priority, self._added, row)], key=lambda held: held[:2])[: self._size]

    def rows(self) -> list[dict[str, Any]]:
        return [row for _, _, row in sorted(self._held, key=lambda held: held[1])]


def _named_scores(one: pa.ChunkedArray, other: pa.ChunkedArray) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """By score name, its values in the rows that have it on both sides, float64 [m]."""
    flat = []
    for column in (one, other):
        array = column.combine_chunks()
        owners = np.repeat(np.arange(len(array)), pc.list_value_length(array).fill_null(0).to_numpy())
        values = array.flatten()
        flat.append((owners, values.field(0).to_numpy(zero_copy_only=False), values.field(1).to_numpy(zero_copy_only=False)))
    found = []
    for name in sorted({str(name) for _, names, _ in flat for name in set(names)}):
        rows = [(owners[names == name], values[names == name]) for owners, names, values in flat]
        _, at, there = np.intersect1d(rows[0][0], rows[1][0], return_indices=True)
        found.append((name, rows[0][1][at].astype(np.float64), rows[1][1][there].astype(np.float64)))
    return found


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(value) for name, value in row.items()}


def _value(value: Any) -> Any:
    """A value that is safe to print: numbers as they are, everything else as quoted text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and np.isfinite(value):
        return float(_in_words(value))
    return quoted(value.hex() if isinstance(value, bytes) else _in_words(_cut(value)), _SHOWN)


def _in_words(value: Any) -> str:
    """Lists and structures as words: `cosine 0.508; own 0.558`. A float32 has the digits that it needs."""
    if isinstance(value, float):
        with np.errstate(over="ignore"):
            short = np.float32(value)
        return str(short) if float(short) == value else str(value)
    if isinstance(value, dict):
        if value.keys() == {"name", "value"}:
            return f"{value['name']} {_in_words(value['value'])}"
        return ", ".join(f"{name} {_in_words(part)}" for name, part in value.items() if part is not None)
    if isinstance(value, list):
        return ("; " if any(isinstance(part, dict | list) for part in value) else ", ").join(map(_in_words, value)) or "nothing"
    return str(value)


def _cut(value: Any) -> Any:
    """Truncates lists before they are turned into text: feature vectors are long."""
    if isinstance(value, list):
        return [_cut(part) for part in value[:20]]
    return {name: _cut(part) for name, part in value.items()} if isinstance(value, dict) else value


def _apart(one: Any, other: Any) -> tuple[Any, Any]:
    """Two lists without their common head and tail; other values as they are."""
    if not isinstance(one, list) or not isinstance(other, list):
        return one, other
    start = next((at for at, (here, there) in enumerate(zip(one, other, strict=False)) if here != there), min(len(one), len(other)))
    end = 0
    while end < min(len(one), len(other)) - start and one[-1 - end] == other[-1 - end]:
        end += 1
    return one[start : len(one) - end], other[start : len(other) - end]
