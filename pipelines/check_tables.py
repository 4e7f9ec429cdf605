"""Checks a corpus's tables: order, ids, references and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.check_files import Finding
from pipelines.check_matches import MatchChecks
from pipelines.check_rewrites import Captions, graph_faults, rewrite_faults
from schemas import ids
from schemas.corpus import WHOLE, Corpus, Index, StageEntry
from schemas.errors import CmclError
from schemas.rejects import Outcome, Reason, RejectLog
from transforms.core.params import NoParams
from transforms.core.stage import Input
from transforms.core.task import Task
from transforms.examples.join import Join


def table_faults(corpus: Corpus, index: Index, damaged: set[tuple[str, int]]) -> Iterator[Finding]:
    """Faults in table contents, in partitions that are not `damaged`. Memory: 16 bytes per pair, and one partition of a few tables."""
    whole = any(entry.stage == "pairs" for entry in index.stages) and not any(stage == "pairs" for stage, _ in damaged)
    captions = Captions(corpus, corpus.partitions) if whole else None  # without all pairs, origins cannot be checked
    for entry in index.stages:
        for partition in [WHOLE] if entry.corpus_wide else range(corpus.partitions):
            if (entry.stage, partition) not in damaged:
                for text in _reject_faults(corpus, entry.stage, partition):
                    yield Finding(entry.stage, partition, f"{entry.stage}/{corpus.file_name('rejects', partition)}: {text}")
    matches = MatchChecks(corpus)
    for partition in range(corpus.partitions):
        sound = [entry for entry in index.stages if (entry.stage, partition) not in damaged and not entry.corpus_wide]
        for entry in sound:
            try:
                found = matches.faults(entry.stage, partition) if "matches" in entry.tables else ()
                for text in (*_partition_faults(corpus, entry, partition, sound, captions), *found):
                    yield Finding(entry.stage, partition, f"{entry.stage}/{partition:05d}: {text}")
            except (CmclError, FileNotFoundError, ValueError) as error:
                yield Finding(entry.stage, partition, f"{entry.stage}/{partition:05d}: {error}")


def _partition_faults(
    corpus: Corpus, entry: StageEntry, partition: int, sound: Sequence[StageEntry], captions: Captions | None
) -> Iterator[str]:
    stage, tables = entry.stage, set(entry.tables)
    held = {other.stage for other in sound}
    if "images" in tables:
        yield from _row_faults("images", _read(corpus, stage, "images", partition)["image_id"], corpus, partition)
    if "texts" in tables:
        yield from _text_faults(_read(corpus, stage, "texts", partition), corpus, partition)
    if "regions" in tables:
        with corpus.open(stage, "regions", partition) as file:
            named = pa.chunked_array([batch["image_id"] for batch in file.batches()], pa.string())
        yield from _row_faults("regions", named, corpus, partition)
        images = [_read(corpus, other.stage, "images", partition)["image_id"] for other in sound if "images" in other.tables]
        if {"pairs", "images"} & held and (strangers := _strangers(named, images)):
            yield f"{strangers} regions refer to an image that is not in the partition"
    if "pairs" not in held:
        return
    pairs = _read(corpus, "pairs", "pairs", partition)
    if stage == "pairs":
        yield from _pair_faults(pairs, _read(corpus, "pairs", "images", partition), corpus, partition)
    if "graphs" in tables:
        graphs = _read(corpus, stage, "graphs", partition)
        yield from _order_faults("graphs", graphs["pair_id"], pairs["pair_id"], strictly=True)
        yield from graph_faults(graphs, pairs)
    if "rewrites" in tables:
        rewrites = _read(corpus, stage, "rewrites", partition)
        yield from _order_faults("rewrites", rewrites["pair_id"], pairs["pair_id"])
        yield from rewrite_faults(rewrites, pairs, captions)
    if stage == "examples":
        yield from _example_faults(corpus, partition, pairs, sound)


def _reject_faults(corpus: Corpus, stage: str, partition: int) -> Iterator[str]:
    """Checks rejects against their task's counts. Of dropped candidates, a stage counts all but may log only some."""
    record = corpus.record(stage, partition)
    if record is None:
        return
    rejects = _read(corpus, stage, "rejects", partition)
    rows = Counter(rejects["reason"].cast(pa.string()).to_pylist())
    counted = record.counts.reasons
    for reason in sorted({*rows, *counted}):
        if reason not in set(Reason):
            yield f"unknown reason {reason!r}"
            continue
        count = counted.get(reason, 0)
        if rows[reason] > count or (rows[reason] < count and Reason(reason).outcome is not Outcome.DROPPED):
            yield f"{rows[reason]} rows have the reason {reason}, but the record counts {count}"
    log = RejectLog(stage)
    log.counts.update({reason: count for reason, count in counted.items() if reason in set(Reason)})
    sums = log.outcomes()
    recorded = {Outcome.REJECTED: record.counts.rejected, Outcome.EXCLUDED: record.counts.excluded, Outcome.DROPPED: record.counts.dropped}
    if any(sums[outcome] != count for outcome, count in recorded.items()) or sums[Outcome.MERGED] > record.counts.merged:
        yield "its counts of rejected, excluded, merged and dropped rows are not the sums over reasons"
    if set(rejects["stage"].to_pylist()) - {stage}:
        yield "contains rejects of another stage"


def _read(corpus: Corpus, stage: str, table: str, partition: int) -> pa.Table:
    with corpus.open(stage, table, partition) as file:
        return file.read()


def _row_faults(what: str, row_ids: pa.ChunkedArray, corpus: Corpus, partition: int) -> Iterator[str]:
    """Rows that belong to another partition, are not sorted by (placement, id), or are duplicated."""
    names = row_ids.to_pylist()
    placed = ids.placements(names)
    if len(placed) and (ids.partition_of(placed, corpus.partitions) != partition).any():
        yield f"contains {what} of another partition"
    keys = list(zip(placed.tolist(), names, strict=True))
    if any(one >= other for one, other in zip(keys, keys[1:], strict=False)):
        yield f"its {what} are out of order or duplicated"


def _text_faults(texts: pa.Table, corpus: Corpus, partition: int) -> Iterator[str]:
    yield from _row_faults("texts", texts["text_id"], corpus, partition)
    wrong = sum(ids.text_id(row["source"], row["text"]) != row["text_id"] for row in texts.to_pylist())
    if wrong:
        yield f"{wrong} text ids do not match their content"


def _strangers(named: pa.ChunkedArray, known: Sequence[pa.ChunkedArray]) -> int:
    """The number of ids that are in none of the columns."""
    everyone = pa.concat_arrays([chunk for column in known for chunk in column.chunks] or [pa.array([], pa.string())])
    return int(pc.sum(pc.invert(pc.is_in(named, value_set=everyone))).as_py() or 0)


def _pair_faults(pairs: pa.Table, images: pa.Table, corpus: Corpus, partition: int) -> Iterator[str]:
    if orphans := _strangers(pairs["image_id"], [images["image_id"]]):
        yield f"{orphans} pairs refer to an image that is not in the partition"
    names = pairs["image_id"].to_pylist()
    placed = ids.placements(names)
    if len(placed) and (ids.partition_of(placed, corpus.partitions) != partition).any():
        yield "contains pairs of another partition"
    keys = list(zip(placed.tolist(), names, pairs["pair_id"].to_pylist(), strict=True))
    if any(one > other for one, other in zip(keys, keys[1:], strict=False)):
        yield "its pairs are out of order"
    wrong = sum(ids.pair_id(row["image_id"], row["caption"]) != row["pair_id"] for row in pairs.to_pylist())
    if wrong:
        yield f"{wrong} pair ids do not match their content"
    if pc.count_distinct(pairs["pair_id"]).as_py() != pairs.num_rows:
        yield "a pair id is duplicated"


def _order_faults(what: str, named: pa.ChunkedArray, pair_ids: pa.ChunkedArray, strictly: bool = False) -> Iterator[str]:
    """Rows whose pair is not in the partition, or that are not in the order of its pairs."""
    rows = pc.index_in(named, value_set=pair_ids.combine_chunks())
    if rows.null_count:
        yield f"{rows.null_count} {what} refer to a pair that is not in the partition"
    elif len(named) and (np.diff(rows.to_numpy()) < int(strictly)).any():
        yield f"its {what} are not in the order of their pairs"


class _Compared(Task):
    """A task that compares its output with the stored table instead of writing it."""

    def __init__(self, corpus: Corpus, stage: Join, partition: int):
        super().__init__(corpus, stage, partition, 0)
        self._stored = _read(corpus, stage.name, "examples", partition)
        self._at = 0
        self.same = True

    def write(self, table: str, rows: pa.RecordBatch | pa.Table, row_ids: pa.Array | None = None) -> None:
        stored = self._stored.slice(self._at, rows.num_rows)
        made = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
        self.same &= stored.equals(made)
        self._at += rows.num_rows


def _example_faults(corpus: Corpus, partition: int, pairs: pa.Table, sound: Sequence[StageEntry]) -> Iterator[str]:
    """Checks examples by joining their inputs again."""
    if not _read(corpus, "examples", "examples", partition)["pair_id"].equals(pairs["pair_id"]):
        yield "its pairs are not the partition's pairs"
        return
    inputs = _joined(corpus)
    if not {source.stage for source in inputs} <= {entry.stage for entry in sound}:
        return  # an input is damaged or missing
    join = Join(NoParams(), resolved=inputs)
    task = _Compared(corpus, join, partition)
    join.process(task, None)
    if not task.same:
        yield "its examples are not the join of its pairs, images, rewrites, regions and matches"


def _joined(corpus: Corpus) -> tuple[Input, ...]:
    """The inputs of the examples' join, according to their manifest."""
    manifest = corpus.manifest("examples")
    reads = manifest.ingredients.get("reads") if manifest else None
    named = [name.partition("/") for name in reads if isinstance(name, str)] if isinstance(reads, list) else []
    return tuple(Input(stage, table) for stage, _, table in named)
