"""The stages that search: the nearest vectors of each query, and recall if the search is not exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.ids import counter_rng
from schemas.manifest import Counts
from schemas.vectors import NEIGHBOURS
from transforms.core.task import Task
from transforms.retrieval.base import OfImages, OfTexts
from transforms.retrieval.collection import vectors_of
from transforms.retrieval.index import Searcher, recalled
from transforms.retrieval.index_stages import SearchingStage
from transforms.retrieval.search import Hits, search_threads


class _Neighbours(SearchingStage):
    """Writes the nearest vectors of each query, as many as `depth` says."""

    internal = True
    main_table = "neighbours"
    writes = {"neighbours": NEIGHBOURS}

    @property
    def settings(self) -> Mapping[str, Any]:
        """The number kept, the number of lists searched, and how recall is measured."""
        return {
            "device": self.params.retrieval.device,
            "kept": self.own.kept,
            "k": self.own.k,
            "nprobe": self.own.nprobe,
            "recall_sample": self.own.recall_sample,
            "min_recall": self.own.min_recall,
        }

    def process(self, task: Task, payload: Any) -> None:
        """Searches for one partition."""
        how, searcher = self.params.retrieval, self.searcher(task.corpus)
        with task.open(self.vectors, "query_vectors") as file, search_threads(how.threads):
            for batch in file.batches():
                task.counts.rows_in += batch.num_rows
                for start in range(0, batch.num_rows, how.query_rows):
                    part = batch.slice(start, how.query_rows)
                    task.check_cancelled()
                    with task.engine():
                        hits = searcher.search(vectors_of(part), self.own.kept)
                    task.write("neighbours", _neighbours(part["id"], hits))
                    if searcher.shards:
                        self._measure(task, searcher, part)

    def _measure(self, task: Task, searcher: Searcher, queries: pa.RecordBatch) -> None:
        """Counts how many of the exact search's k best the index finds on sampled queries, with the configured nprobe and with more."""
        manifest = task.corpus.manifest(self.vectors)
        total = manifest.counts.rows_out["query_vectors"] if manifest else 0
        share = min(1.0, self.own.recall_sample / max(1, total))
        drawn = [counter_rng(task.seed, self.name, one).random() < share for one in queries["id"].to_pylist()]
        sampled, k = vectors_of(queries)[drawn], min(self.own.k, len(searcher.collection))
        if not len(sampled):
            return
        exact = replace(searcher, shards=()).search(sampled, k)
        numbers = Counter(task.counts.numbers)
        numbers["recall_wanted"] += exact.positions.size
        for nprobe in sorted({min(searcher.lists, searcher.nprobe * times) for times in (1, 2, 4, 8, 16)} | {searcher.lists}):
            found = replace(searcher, nprobe=nprobe).search(sampled, self.own.kept)
            numbers[f"recall_found_{nprobe}"] += recalled(found, exact, k)
        task.counts.numbers = dict(numbers)

    def conclude(self, counts: Counts, extras: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Recall at k by the number of lists searched, if the search is not exact."""
        wanted = counts.numbers.get("recall_wanted")
        found = {int(name.removeprefix("recall_found_")): count for name, count in counts.numbers.items() if "recall_found" in name}
        recall = {str(nprobe): round(count / wanted, 6) for nprobe, count in sorted(found.items())} if wanted else {}
        return {"nprobe": min(found), "recall_at_k": recall[str(min(found))], "recall_by_nprobe": recall, "k": self.own.k} if recall else {}

    def failure(self, extra: Mapping[str, Any]) -> str | None:
        """The error if the index finds too few, with the setting that would suffice."""
        if extra.get("recall_at_k", 1.0) >= self.own.min_recall:
            return None
        enough = [nprobe for nprobe, recall in extra["recall_by_nprobe"].items() if recall >= self.own.min_recall]
        cure = f"set retrieval.{self.lists}.nprobe to {enough[0]}" if enough else "no nprobe reaches it: use longer codes, or Flat"
        return (
            f"the index finds {extra['recall_at_k']:.3f} of the exact search's best {self.own.k}, less than min_recall "
            f"({self.own.min_recall}): {cure}"
        )


class ImageNeighbours(OfImages, _Neighbours):
    """Of the pairs' images among the images alone."""

    name = OfImages.neighbours


class TextNeighbours(OfTexts, _Neighbours):
    """Of captions among the sentences of the text collections."""

    name = OfTexts.neighbours


def _neighbours(query_ids: pa.Array, hits: Hits) -> pa.RecordBatch:
    known = hits.positions >= 0
    offsets = pa.array(np.concatenate([[0], np.cumsum(known.sum(axis=1))]).astype(np.int32))
    columns = [
        pa.ListArray.from_arrays(offsets, pa.array(values[known]), type=NEIGHBOURS.field(name).type)
        for name, values in (("positions", hits.positions), ("scores", hits.scores.astype(np.int32)))
    ]
    return pa.RecordBatch.from_arrays([query_ids, *columns], schema=NEIGHBOURS)
