"""Checks `matches` against their queries and the matched rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.corpus import Corpus

# By modality: stage, table and id column of the queries, and of the collection that is searched.
_QUERIES = {"image": ("pairs", "images", "image_id"), "text": ("pairs", "pairs", "pair_id")}
_COLLECTIONS = {"image": ("image_regions", "regions", ("image_id",)), "text": ("texts", "texts", ("text_id", "text"))}


class MatchChecks:
    """Checks the `matches` of one partition after another. Memory: the ids of the searched images."""

    def __init__(self, corpus: Corpus):
        self._corpus = corpus
        self._held: dict[tuple[str, int], pa.Table] = {}

    def faults(self, stage: str, partition: int) -> Iterator[str]:
        """The faults of a partition of a stage's matches."""
        with self._corpus.open(stage, "matches", partition) as file:
            matches = file.read()
        if not matches.num_rows:
            return
        modalities = set(matches["modality"].cast(pa.string()).unique().to_pylist())
        if len(modalities) > 1 or not modalities <= set(_QUERIES):
            yield f"contains matches of the modalities {sorted(modalities)}, but must have exactly one of {sorted(_QUERIES)}"
            return
        modality = modalities.pop()
        yield from self._list_faults(matches, modality, partition)
        yield from self._found_faults(matches, modality)

    def _list_faults(self, matches: pa.Table, modality: str, partition: int) -> Iterator[str]:
        source, table, name = _QUERIES[modality]
        with self._corpus.open(source, table, partition) as file:
            known = file.read()[name].combine_chunks()
        rows = pc.index_in(matches["query_id"], value_set=known)
        if rows.null_count:
            yield f"{rows.null_count} matches refer to queries that are not in the partition"
            return
        at, ranks, scores = rows.to_numpy(), matches["rank"].to_numpy(), matches["score"].to_numpy()
        new = np.diff(at, prepend=-1) != 0
        if (np.diff(at) < 0).any():
            yield "its matches are not in the order of their queries"
        if (ranks != np.arange(len(ranks)) - np.maximum.accumulate(np.where(new, np.arange(len(ranks)), 0))).any():
            yield "its ranks do not count from 0 for each query"
        if (np.diff(scores)[~new[1:]] > 0).any():
            yield "its matches are not in the order of their scores"

    def _found_faults(self, matches: pa.Table, modality: str) -> Iterator[str]:
        stage, table, names = _COLLECTIONS[modality]
        wrong = 0
        partitions, rows = matches["partition"].to_numpy(), matches["row"].to_numpy()
        for partition in np.unique(partitions):
            if not 0 <= partition < self._corpus.partitions:
                wrong += int((partitions == partition).sum())
                continue
            held = self._columns(stage, table, names, int(partition))
            where = np.flatnonzero(partitions == partition)
            inside = (rows[where] >= 0) & (rows[where] < held.num_rows)
            own, there = matches.take(pa.array(where[inside])), held.take(pa.array(rows[where][inside]))
            same = pc.equal(own["matched_id"], there[names[0]])
            if modality == "text":
                same = pc.and_(same, pc.equal(own["text"], there[names[1]]))
            wrong += int((~inside).sum()) + int(pc.sum(pc.invert(pc.fill_null(same, False))).as_py() or 0)
        if wrong:
            yield f"{wrong} matches disagree with the row that they refer to"

    def _columns(self, stage: str, table: str, names: tuple[str, ...], partition: int) -> pa.Table:
        if (stage, partition) not in self._held:
            with self._corpus.open(stage, table, partition) as file:
                self._held[stage, partition] = file.read(list(names))
        return self._held[stage, partition]
