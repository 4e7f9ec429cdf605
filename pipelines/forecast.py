"""Predicts how many rows of each stage a run would make, and how long it would take at the speed of earlier runs.

The sources are read and cleaned, but no image is opened. The actual numbers are smaller if rows turn out to be rejected, or corpus-wide
tables to be unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.plan import StageState
from schemas.corpus import Corpus
from schemas.ids import partition_of, placements
from schemas.manifest import StageManifest
from transforms.core.frozen import Frozen
from transforms.core.stage import Stage
from transforms.ingest.stages import Ingest


@dataclass(frozen=True)
class Forecast:
    """The work of one stage. rows: input rows to process, of `of` in all (None: unknown until it runs). seconds: their time, summed over
    workers (None: unknown, since the stage never ran).
    """

    stage: str
    rows: int | None
    of: int | None
    seconds: float | None


@dataclass(frozen=True)
class _Change:
    """The changes of an ingestion's rows, as hashes of ids, int64."""

    new: np.ndarray  # of new and changed rows
    groups: np.ndarray  # for every row of the sources, of its image (or text)
    touched: np.ndarray  # of images (or texts) with a row that was added or removed
    partitions: int


def forecast(corpus: Corpus, states: Sequence[StageState], base: Corpus | None = None) -> list[Forecast]:
    """The work that a run would do, by stage. base: a corpus whose times are used for stages that have no manifest in this one."""
    changes = {
        state.stage.name: _change(corpus, state.stage)
        for state in states
        if isinstance(state.stage, Ingest) and state.must_run and corpus.record(state.stage.name, 0)
    }
    reach: dict[str, str] = {}
    found = []
    for state in states:
        reach[state.stage.name] = _reach(state, reach, changes)
        rows, of = _rows(state, reach[state.stage.name], changes)
        timed = state.manifest or (base.manifest(state.stage.name) if base else None)
        found.append(Forecast(state.stage.name, rows, of, _seconds(state.stage, timed, rows)))
    return found


def _reach(state: StageState, reach: Mapping[str, str], changes: Mapping[str, _Change]) -> str:
    """How far a change reaches into a stage: none, rows or all."""
    stage = state.stage
    if not state.must_run:
        return "none"
    if isinstance(stage, Ingest):
        return "rows" if stage.name in changes else "all"
    if isinstance(stage, Frozen):
        return "none"
    if state.manifest is None or state.manifest.failed or _own(state.manifest.ingredients) != _own(state.ingredients):
        return "all"
    inputs = [(reach[source.stage], source.scope) for source in stage.inputs]
    if any(own == "all" or (own != "none" and (scope == "corpus" or stage.corpus_wide)) for own, scope in inputs):
        return "all"
    return "rows" if any(own == "rows" for own, _ in inputs) or not state.why else "none"


def _own(ingredients: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in ingredients.items() if name not in ("inputs", "sources")}


def _rows(state: StageState, reach: str, changes: Mapping[str, _Change]) -> tuple[int | None, int | None]:
    stage, known = state.stage, state.manifest.counts.rows_in if state.manifest else None
    change = changes.get(stage.augments if not isinstance(stage, Ingest) else stage.name)
    images = any(source.table in ("images", "regions") for source in stage.inputs[:1])
    now = known if change is None else len(np.unique(change.groups)) if images else len(change.groups)
    if reach == "none":
        return 0, now
    if stage.corpus_wide or reach == "all" or change is None:
        return (None if stage.corpus_wide else now), now
    if isinstance(stage, Ingest) or stage.rows_by == ("pair_id",):
        return len(change.new), now
    if stage.rows_by:
        return len(change.touched) if images else int(np.isin(change.groups, change.touched).sum()), now
    homes = partition_of(change.groups, change.partitions)
    return int(np.isin(homes, np.unique(partition_of(change.touched, change.partitions))).sum()), now


def _seconds(stage: Stage, timed: StageManifest | None, rows: int | None) -> float | None:
    if timed is None or (rows and not timed.timed):
        return None
    if rows is None:  # once for the whole corpus
        return timed.wall_s
    return timed.wall_s * rows / timed.timed if rows else 0.0


def _change(corpus: Corpus, stage: Ingest) -> _Change:
    """Compares the sources' rows with those of the corpus."""
    groups, rows = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for number, split in stage.splits():
        for batch, placed in stage.read(number, split):
            own, kept = stage.row_keys(batch)
            groups.append(placed[kept])
            rows.append(own)
    now, first = np.unique(np.concatenate(rows), return_index=True)
    group = np.concatenate(groups)[first]
    table, group_id, row_id = stage.keyed_by
    before, old_groups = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for partition in range(corpus.partitions):
        with corpus.open(stage.name, table, partition) as file:
            held = file.read(list(dict.fromkeys((group_id, row_id))))
            before.append(placements(held[row_id].to_pylist()))
            old_groups.append(placements(held[group_id].to_pylist()))
    old, old_group = np.concatenate(before), np.concatenate(old_groups)
    new = ~np.isin(now, old)
    touched = np.union1d(group[new], old_group[~np.isin(old, now)])
    return _Change(now[new], group, touched, corpus.partitions)
