"""The final join: partition p of every table becomes shard p of `examples`, the trainer's input.

Map-only: everything that is known of a pair lies in the same partition of its table, so no row moves between partitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import BATCH_ROWS, EXAMPLES
from transforms.core.params import NoParams
from transforms.core.stage import EVERY, Input, Stage
from transforms.core.task import Task

_NEGATIVES = EXAMPLES.field("negatives").type
_POSITIVES = EXAMPLES.field("positives").type
_MATCHED = EXAMPLES.field("matches_image").type


class Join(Stage[NoParams]):
    """Writes `examples`: each pair with its image's location, positives, negatives and matches.

    Joins all stages that write `rewrites`; an example's lists follow the order in which those stages run.
    """

    name = "examples"
    main_table = "examples"
    rows_by = ("image_id",)
    reads = (
        Input("pairs", "pairs"),
        Input("pairs", "images"),
        Input(EVERY, "rewrites", optional=True, columns=("pair_id", "text", "polarity", "level", "kind", "scores", "truth")),
        Input("regions", "regions", optional=True, columns=("image_id",)),
        Input(EVERY, "matches", optional=True),
    )
    writes = {"examples": EXAMPLES}

    @property
    def row_numbers(self) -> Mapping[tuple[str, str], tuple[str, str]]:  # type: ignore[override]
        """The rows of the regions, where there are any."""
        return {("examples", "region_row"): ("regions", "regions")} if self.has("regions") else {}

    def process(self, task: Task, payload: Any) -> None:
        """Joins one partition, a batch of pairs at a time."""
        images = task.read("pairs", "images")
        region_ids = _region_ids(task) if self.has("regions") else None
        cursors = [RewriteCursor(task, source.stage) for source in self.inputs if source.table == "rewrites"]
        matches = [QueryMatches(task.read(source.stage, "matches")) for source in self.inputs if source.table == "matches"]
        with task.open("pairs", "pairs") as file:
            for batch in file.batches():
                for start in range(0, batch.num_rows, BATCH_ROWS["examples"]):
                    pairs = batch.slice(start, BATCH_ROWS["examples"])
                    task.counts.rows_in += pairs.num_rows
                    task.write(
                        "examples", join_batch(pairs, images, [cursor.take(pairs["pair_id"]) for cursor in cursors], region_ids, matches)
                    )
        for cursor in cursors:
            cursor.finish()


class RewriteCursor:
    """Reads a partition's rewrites, whose rows are in the order of its pairs, holding only a few batches at a time."""

    def __init__(self, task: Task, stage: str):
        self._file = task.open(stage, "rewrites")
        self._next = 0
        self._held: pa.Table | None = None

    def take(self, pair_ids: pa.Array) -> pa.Table:
        """The rewrites of these pairs, which must follow those of the previous call.

        Raises ValueError if the file turns out to be in another order.
        """
        wanted = pair_ids.combine_chunks() if isinstance(pair_ids, pa.ChunkedArray) else pair_ids
        while self._next < self._file.num_batches and (
            self._held is None or not self._held.num_rows or pc.is_in(self._held["pair_id"][-1], value_set=wanted).as_py()
        ):
            batch = pa.Table.from_batches([self._file.batch(self._next)])
            self._held = batch if self._held is None else pa.concat_tables([self._held, batch])
            self._next += 1
        if self._held is None:
            return self._file.schema.empty_table()
        inside = pc.is_in(self._held["pair_id"], value_set=wanted).to_numpy()
        count = int(inside.sum())
        if not inside[:count].all():
            raise ValueError(f"{self._file.url} is not in the order of its pairs, or contains rewrites of other pairs")
        taken, self._held = self._held.slice(0, count), self._held.slice(count)
        return taken

    def finish(self) -> None:
        """Raises ValueError if any rewrite was not taken."""
        if self._next < self._file.num_batches or (self._held is not None and self._held.num_rows):
            raise ValueError(f"{self._file.url} is not in the order of its pairs, or contains rewrites of other pairs")


class QueryMatches:
    """A partition's `matches` of one stage, by query. Holds the partition's query ids and the requested rows in memory.

    Raises ValueError if the rows of a query are not adjacent.
    """

    def __init__(self, matches: pa.Table):
        self._matches = matches
        ids = _column(matches, "query_id")
        new = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
        self._starts = np.concatenate([np.zeros(min(len(ids), 1), np.int64), np.flatnonzero(new) + 1])
        self._counts = np.diff(np.append(self._starts, len(ids)))
        self._queries = ids.take(pa.array(self._starts))
        self.modality = matches["modality"][0].as_py() if len(ids) else None
        if len(self._queries.unique()) != len(self._queries):
            raise ValueError("matches of one query are not adjacent")

    def take(self, query_ids: pa.Array) -> pa.ListArray:
        """The matches of n queries in the form of the `examples` column."""
        found = pc.index_in(query_ids, value_set=self._queries).to_numpy(zero_copy_only=False)
        known = ~np.isnan(found.astype(np.float64))
        at = np.where(known, found, 0).astype(np.int64)
        counts = np.where(known, self._counts[at], 0) if len(self._starts) else np.zeros(len(query_ids), np.int64)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        firsts = self._starts[at] if len(self._starts) else counts
        rows = np.repeat(firsts - offsets[:-1], counts) + np.arange(offsets[-1])
        own = self._matches.take(pa.array(rows))
        fields = list(_MATCHED.value_type)
        columns = [_column(own, "matched_id" if field.name == "id" else field.name) for field in fields]
        values = pa.StructArray.from_arrays(columns, fields=fields)
        return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values, type=_MATCHED)


def _region_ids(task: Task) -> pa.Array:
    """The image id of each row of the partition's `regions`; features are not read."""
    with task.open("regions", "regions") as file:
        ids = [batch["image_id"] for batch in file.batches()]
        return pa.concat_arrays(ids) if ids else pa.array([], pa.string())


def join_batch(
    pairs: pa.RecordBatch,
    images: pa.Table,
    rewrites: Sequence[pa.Table],
    region_ids: pa.Array | None = None,
    matches: Sequence[QueryMatches] = (),
) -> pa.RecordBatch:
    """The `examples` rows of n pairs.

    Args:
        pairs: n rows of `pairs`.
        images: the partition's `images`.
        rewrites: tables of `rewrites` of exactly these pairs, each in the order of the pairs.
        region_ids: image ids of the partition's `regions`, row by row, None when there are none.
        matches: of the partition, one a modality.
    """
    row = pc.index_in(pairs["image_id"], value_set=images["image_id"].combine_chunks())
    image = images.take(row).combine_chunks()
    reference = pa.StructArray.from_arrays(
        [_column(image, field.name) for field in EXAMPLES.field("image").type], fields=list(EXAMPLES.field("image").type)
    )
    count = pairs.num_rows
    nothing = pa.array([[]] * count, _MATCHED)
    retrieved = {one.modality: one for one in matches}
    return pa.RecordBatch.from_arrays(
        [
            pairs["pair_id"],
            pairs["image_id"],
            pairs["caption"],
            pairs["source"],
            reference,
            pa.nulls(count, pa.int64()) if region_ids is None else pc.index_in(pairs["image_id"], value_set=region_ids).cast(pa.int64()),
            _rewrites(pairs["pair_id"], rewrites, "positive", _POSITIVES),
            _rewrites(pairs["pair_id"], rewrites, "negative", _NEGATIVES),
            *(
                retrieved[name].take(pairs[query]) if name in retrieved else nothing
                for name, query in (("image", "image_id"), ("text", "pair_id"))
            ),
        ],
        schema=EXAMPLES,
    )


def _column(table: pa.Table, name: str) -> pa.Array:
    column = table[name].combine_chunks()
    return column if isinstance(column, pa.Array) else pa.concat_arrays(column.chunks)


def _rewrites(pair_ids: pa.Array, tables: Sequence[pa.Table], polarity: str, kind: pa.ListType) -> pa.ListArray:
    """The rewrites of one polarity, one list per pair, ordered by table and then as in the table."""
    pieces, owners = [], []
    for table in tables:
        kept = table.filter(pc.equal(table["polarity"].cast(pa.string()), polarity))
        if not kept.num_rows:
            continue
        owners.append(pc.index_in(kept["pair_id"], value_set=pair_ids).to_numpy())
        columns = {
            "text": _column(kept, "text"),
            "level": _column(kept, "level").cast(pa.string()),
            "kind": _column(kept, "kind").cast(pa.string()),
            "score": _first_score(_column(kept, "scores")),
            "truth": _column(kept, "truth"),
        }
        fields = list(kind.value_type)
        pieces.append(pa.StructArray.from_arrays([columns[field.name] for field in fields], fields=fields))
    owner = np.concatenate(owners) if owners else np.empty(0, np.int64)
    values = pa.concat_arrays(pieces) if pieces else pa.array([], kind.value_type)
    if len(pieces) > 1:
        order = np.argsort(owner, kind="stable")
        owner, values = owner[order], values.take(pa.array(order))
    offsets = np.searchsorted(owner, np.arange(len(pair_ids) + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=kind)


def _first_score(scores: pa.ListArray) -> pa.Array:
    """The value of each rewrite's first score, null if it has none, float32 [n]."""
    lengths = pc.list_value_length(scores).to_numpy(zero_copy_only=False)
    starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
    values = pc.struct_field(scores.flatten(), 1)
    return values.take(pa.array(np.where(lengths > 0, starts, 0), mask=lengths == 0))
