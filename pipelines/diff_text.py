"""Prints the result of `cmcl diff`, as text or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from pipelines.diff import CorpusDiff, Difference, StageDiff
from pipelines.diff_tally import TableDiff
from schemas.text import quoted

_WORDS = ("added", "removed", "changed")
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def as_json(found: CorpusDiff) -> str:
    """The result as JSON: the fields of `CorpusDiff` and the exit status. ASCII only, so nothing in data can move the cursor."""
    said = {"status": found.status, **asdict(found)}
    for stage, made in zip(found.stages, said["stages"], strict=True):
        made["differs"] = stage.differs
    return json.dumps(said, indent=2, default=str)


def as_text(found: CorpusDiff) -> str:
    """The result as text."""
    lines = [f"a: {quoted(found.a, 1000)}", f"b: {quoted(found.b, 1000)}", *(f"  {line}" for line in _lines(found.cut))]
    for stage in found.stages:
        lines += _stage(stage)
    lines += [f"problem: {quoted(text, 1000)}" for text in found.troubles]
    ends = {0: "equal: both corpora have the same content", 1: "different", 2: "not everything could be compared"}
    return "\n".join([*lines, ends[found.status]])


def _lines(differences: list[Difference]) -> Iterator[str]:
    for one in differences:
        yield f"{quoted(one.key)}: {_value(one.a)} -> {_value(one.b)}"


def _value(value: Any) -> str:
    return "nothing" if value is None else f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else quoted(value, 100)


def _stage(stage: StageDiff) -> Iterator[str]:
    if stage.only:
        yield f"{stage.stage}: only in {stage.only}"
        return
    yield f"{stage.stage}: {'different' if stage.differs else 'the same'}"
    for title, held in (("ingredients", stage.made_of), ("versions", stage.versions), ("counts", stage.counts), ("rejects", stage.reasons)):
        for line in _lines(held):
            yield f"  {title} {line}"
    for table in stage.tables:
        if table.differs or table.notes:
            yield from _table(table)


def _table(table: TableDiff) -> Iterator[str]:
    numbers = [f"{getattr(table, word):,} {word}" for word in (*_WORDS, "reordered") if getattr(table, word)]
    yield f"  {table.table}: {table.rows[0]:,} -> {table.rows[1]:,} rows{': ' if numbers else ''}{', '.join(numbers)}"
    for note in table.notes:
        yield f"    {quoted(note, 500)}"
    for name, rows in table.columns.items():
        yield f"    {quoted(name)} differs in {rows:,} rows"
    for name, shift in table.scores.items():
        yield f"    {name} shifts in {shift['rows']:,.0f} rows: mean {shift['mean']:+.4f}, largest {shift['largest']:+.4f}"
    for column, values in table.groups.items():
        for value, counts in values.items():
            yield f"    {column} {value}: {', '.join(f'{counts[word]:,} {word}' for word in _WORDS if counts.get(word))}"
    for word, sample in table.examples.items():
        for row in sample:
            yield f"      {_SIGNS[word]} {_row(row)}"


def _row(row: Mapping[str, Any]) -> str:
    held = {name: value for name, value in row.items() if value is not None}
    parts = (f"{quoted(name)} {_both(value) if isinstance(value, Mapping) else quoted(value, 100)}" for name, value in held.items())
    return "; ".join(parts)


def _both(value: Mapping[str, Any]) -> str:
    return f"{quoted(value['a'], 100)} -> {quoted(value['b'], 100)}"
