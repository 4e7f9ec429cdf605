"""The stages that judge what the search found: guards, a deeper search where they have shortened a list, and the table `matches`.

Where texts have to be true of the image, the judge of truth is one of the guards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa

from schemas.corpus import WHOLE
from schemas.ids import placements
from schemas.manifest import Counts
from schemas.rejects import Reason, reason_position
from schemas.tables import MATCHES
from schemas.vectors import VISUAL_KEY, WEIGHT_KEY
from transforms.core.stage import Input, Stage
from transforms.core.task import Task
from transforms.retrieval.base import OfImages, OfTexts
from transforms.retrieval.collection import Collection, vectors_of
from transforms.retrieval.guards import Query, Rules, Verdict, judge
from transforms.retrieval.index import Searcher
from transforms.retrieval.index_stages import SearchingStage
from transforms.retrieval.search import MILLION, Hits, doubles, search_threads
from transforms.retrieval.settings import ImageRetrieval, TextRetrieval
from transforms.retrieval.truth import TEXT_EVIDENCE, CandidateTruth, check_judge, text_judge, wants_evidence

_DEEPER = 4  # times as deep, where a list is short


class _Matches(SearchingStage):
    """Judges the candidates of each query, and looks deeper where guards have shortened a list."""

    writes = {"matches": MATCHES}
    neighbours: ClassVar[str]
    caps: ClassVar[str]
    modality: ClassVar[str]

    @property
    def reads(self) -> Sequence[Input]:
        """Queries, all that is searched, the candidates that the search kept, and who may use an item that many want."""
        return *super().reads, Input(self.neighbours, "neighbours"), Input(self.caps, "caps", "corpus", optional=True)

    @property
    def settings(self) -> Mapping[str, Any]:
        """What judges."""
        return self.own.model_dump(
            mode="json",
            exclude={"depth", "encoder", "max_words", "object_weight", "pca", "pca_sample", "index", "min_recall", "recall_sample"},
        )

    def process(self, task: Task, payload: Any) -> None:
        """Makes one partition, a record batch of candidates at a time."""
        queries = task.read(self.vectors, "query_vectors").combine_chunks()
        if queries.num_rows == 0:
            return
        rows = queries.to_batches()[0]
        asked = _Asked(self._queries(task, rows), vectors_of(rows), rows["row"].to_numpy())
        searcher, caps, truth = self.searcher(task.corpus), self._caps(task), self._truth(task)
        first = 0
        with task.open(self.neighbours, "neighbours") as file, search_threads(self.params.retrieval.threads):
            for batch in file.batches():
                here = asked.take(np.arange(first, first + batch.num_rows))
                task.check_cancelled()
                with task.engine():
                    found = _hits(batch)
                    hits = self._judged(here, found, searcher, truth, caps and _overused(found, batch["id"], *caps))
                self._write(task, batch["id"], here.vectors, hits, searcher.collection)
                first += batch.num_rows
        task.counts.rows_in = first

    def _queries(self, task: Task, rows: pa.RecordBatch) -> list[Query]:
        raise NotImplementedError

    def _texts(self, task: Task, partitions: np.ndarray, rows: np.ndarray) -> pa.Array:
        raise NotImplementedError

    def _truth(self, task: Task) -> CandidateTruth | None:
        return None

    @property
    def _rules(self) -> Rules:
        own = self.own
        bits = own.near_copy_bits if isinstance(own, ImageRetrieval) else None
        return Rules(own.k, round(own.floor * MILLION), own.near_match, bits)

    def _caps(self, task: Task) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        if not self.has(self.caps):
            return None
        table = task.read(self.caps, "caps", WHOLE)
        return table["position"].to_numpy(), table["score"].to_numpy(), table["query"].to_numpy()

    def _judged(
        self, asked: _Asked, hits: Hits, searcher: Searcher, truth: CandidateTruth | None, overused: np.ndarray | None
    ) -> list[_Judged]:
        """Verdicts of q queries over candidates as deep as it takes; where uses are capped, over those given."""
        how, collection = self.params.retrieval, searcher.collection
        out = self._verdicts(asked, hits, collection, truth, overused)
        if overused is not None:
            return out
        depth, deepest = hits.positions.shape[1], min(len(collection), self.own.max_depth)
        while depth < deepest:
            short = [row for row, one in enumerate(out) if len(one.verdict.kept) < self.own.k and not one.verdict.floored]
            if not short:
                break
            depth = min(deepest, depth * _DEEPER)
            step = max(1, how.query_rows * self.own.kept // depth)
            for some in (short[start : start + step] for start in range(0, len(short), step)):
                these = asked.take(np.array(some))
                found = self._verdicts(these, searcher.search(these.vectors, depth), collection, truth, None)
                for row, one in zip(some, found, strict=True):
                    out[row] = one
        return out

    def _verdicts(
        self, asked: _Asked, hits: Hits, collection: Collection, truth: CandidateTruth | None, overused: np.ndarray | None
    ) -> list[_Judged]:
        """Verdicts of q queries over the candidates given. overused: bool [q, depth], which of them others have a better claim to."""
        rules, barred = self._rules, {} if overused is None else {Reason.OVERUSED: overused}
        chances = np.full(hits.positions.shape, -1, np.int64)
        if truth:
            chances = truth.chances(asked.rows, hits.positions, (hits.positions >= 0) & (hits.scores >= rules.floor))
            barred |= {Reason.JUDGED_FALSE: chances < truth.least}
        return [
            _Judged(
                judge(query, positions, scores, collection, rules, {why: which[row] for why, which in barred.items()}),
                positions,
                scores,
                chances[row],
            )
            for row, (query, positions, scores) in enumerate(zip(asked.queries, hits.positions, hits.scores, strict=True))
        ]

    def _write(self, task: Task, query_ids: pa.Array, vectors: np.ndarray, judged: Sequence[_Judged], collection: Collection) -> None:
        kept = [one.positions[one.verdict.kept] for one in judged]
        counts = np.array([len(own) for own in kept])
        positions, owners = np.concatenate(kept), np.repeat(np.arange(len(kept)), counts)
        scores = np.concatenate([one.scores[one.verdict.kept] for one in judged])
        if len(positions):
            partitions, rows = collection.partitions(positions), collection.column("row", positions)
            visual, objects = _parts(collection, vectors, positions, owners)
            columns = [
                query_ids.take(pa.array(owners)),
                pa.array([self.modality] * len(owners)).dictionary_encode(),
                collection.column("id", positions),
                np.concatenate([np.arange(count) for count in counts]),
                scores / MILLION,
                visual,
                objects,
                self._texts(task, partitions, rows.to_numpy()),
                partitions,
                rows,
            ]
            task.write(
                "matches",
                pa.RecordBatch.from_arrays(
                    [pa.array(column).cast(field.type) for column, field in zip(columns, MATCHES, strict=True)], schema=MATCHES
                ),
            )
        self._note(task, query_ids, judged, collection)

    def _note(self, task: Task, query_ids: pa.Array, judged: Sequence[_Judged], collection: Collection) -> None:
        """Books the candidates refused, and the lists that stay short by cause."""
        owners = np.repeat(np.arange(len(judged)), [len(one.verdict.dropped) for one in judged])
        dropped = [(one, at, reason) for one in judged for at, reason in one.verdict.dropped]
        if dropped and self.own.drop_rows:
            ids = collection.column("id", np.array([one.positions[at] for one, at, _ in dropped]))
            details = [_detail(name, *row) for name, row in zip(ids.to_pylist(), dropped, strict=True)]
            codes = np.array([reason_position(reason) for _, _, reason in dropped], np.int8)
            task.rejects.add_batch(query_ids.take(pa.array(owners)), codes, pa.array(details))
        else:
            for _, _, reason in dropped:
                task.rejects.counts[reason] += 1
        numbers = Counter(name for one in judged for name in _why_short(one, min(len(collection), self.own.max_depth), self.own.k))
        chances = np.concatenate([one.chances[one.verdict.kept] for one in judged])
        numbers += Counter({"judged": int((chances >= 0).sum()), "truth_millionths": int(chances[chances >= 0].sum())})
        task.counts.numbers = dict(Counter(task.counts.numbers) + numbers)

    def conclude(self, counts: Counts, extras: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """How long lists are, and the share of their texts that the judge expects to be true."""
        queries, matches, judged = counts.rows_in, counts.rows_out.get("matches", 0), counts.numbers.get("judged", 0)
        expected = {"expected_true": round(counts.numbers.get("truth_millionths", 0) / MILLION / judged, 6)} if judged else {}
        return {"k": self.own.k, "matches_a_query": round(matches / queries, 3) if queries else 0.0, **expected}


@dataclass(frozen=True)
class _Asked:
    """q queries: vectors float16 [q, width]; rows int64 [q], those of their captions or regions in the partition."""

    queries: Sequence[Query]
    vectors: np.ndarray
    rows: np.ndarray

    def take(self, some: np.ndarray) -> _Asked:
        """These queries, int64 [n]."""
        return _Asked([self.queries[row] for row in some], self.vectors[some], self.rows[some])


@dataclass(frozen=True)
class _Judged:
    """A verdict and the candidates that it is about; chances: of being true, int64 [depth] in millionths, -1: not judged."""

    verdict: Verdict
    positions: np.ndarray
    scores: np.ndarray
    chances: np.ndarray


def _detail(name: str, judged: _Judged, at: int, reason: Reason) -> str:
    """Of a candidate that was refused: its id and score, and its probability of being true where that is why."""
    chance = f", true with {judged.chances[at] / MILLION:.6f}" if reason is Reason.JUDGED_FALSE else ""
    return f"{name} {judged.scores[at] / MILLION:.6f}{chance}"


def _why_short(judged: _Judged, deepest: int, k: int) -> Iterator[str]:
    """The names of what is counted of a list of fewer than k: that it is short, and the cause that would have to go first."""
    verdict, seen = judged.verdict, int((judged.positions >= 0).sum())
    if len(verdict.kept) == k:
        return
    doubted = sum(reason is Reason.JUDGED_FALSE for _, reason in verdict.dropped)
    yield "short_lists"
    if deepest < k:
        yield "short_by_collection"
    elif any(reason is Reason.OVERUSED for _, reason in verdict.dropped):
        yield "short_by_max_uses"
    elif doubted and len(verdict.kept) + doubted >= k:
        yield "short_by_truth"
    elif len(verdict.kept) + len(verdict.dropped) >= k:
        yield "short_by_guards"
    elif verdict.floored:
        yield "short_by_floor"
    else:
        yield "short_by_index" if seen < deepest else "short_by_guards"


def _overused(hits: Hits, query_ids: pa.Array, positions: np.ndarray, scores: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Which candidates come after the last query that may use them, bool [q, depth]; the caps are ordered by position."""
    if not len(positions):
        return np.zeros(hits.positions.shape, bool)
    at = np.minimum(np.searchsorted(positions, hits.positions), len(positions) - 1)
    later = placements(query_ids.to_pylist())[:, None] > queries[at]
    return (positions[at] == hits.positions) & ((hits.scores < scores[at]) | ((hits.scores == scores[at]) & later))


def _hits(batch: pa.RecordBatch) -> Hits:
    """The candidates of a record batch; -1 where a query has fewer than another."""
    counts = batch["positions"].value_lengths().to_numpy()
    held = np.arange(counts.max(initial=0)) < counts[:, None]
    found = Hits(np.full(held.shape, -1, np.int64), np.full(held.shape, np.iinfo(np.int32).min, np.int64))
    found.positions[held], found.scores[held] = (batch[name].flatten().to_numpy() for name in ("positions", "scores"))
    return found


def _parts(collection: Collection, queries: np.ndarray, positions: np.ndarray, owners: np.ndarray) -> tuple[pa.Array, pa.Array]:
    """The cosines of features and of object counts, float32 [n], null where they are no part of the score."""
    if WEIGHT_KEY not in collection.metadata:
        return pa.nulls(len(positions), pa.float32()), pa.nulls(len(positions), pa.float32())
    weight, visual = float(collection.metadata[WEIGHT_KEY]), int(collection.metadata[VISUAL_KEY])
    out = np.zeros((2, len(positions)))
    step = max(1, (1 << 22) // collection.width)
    for start in range(0, len(positions), step):
        here = slice(start, start + step)
        products = doubles(queries[owners[here]]) * doubles(collection.take(positions[here]))
        out[0, here], out[1, here] = products[:, :visual].sum(1), products[:, visual:].sum(1)
    cosines = [
        pa.array(np.round(values / share, 6).astype(np.float32)) if share else pa.nulls(len(positions), pa.float32())
        for values, share in zip(out, (1 - weight, weight), strict=True)
    ]
    return cosines[0], cosines[1]


class ImageMatches(OfImages, _Matches):
    """For each image of the pairs, images of the collections without captions."""

    name = OfImages.matches
    modality = "image"

    def _queries(self, task: Task, rows: pa.RecordBatch) -> list[Query]:
        assert isinstance(self.own, ImageRetrieval)
        near = round(self.own.near_copy * MILLION)
        return [
            Query(near, np.array([key]), Reason.COPY_OF_IMAGE, Reason.NEAR_COPY, phash)
            for key, phash in zip(rows["key"].to_pylist(), rows["phash"].to_pylist(), strict=True)
        ]

    def _texts(self, task: Task, partitions: np.ndarray, rows: np.ndarray) -> pa.Array:
        return pa.nulls(len(rows), pa.string())


class TextMatches(OfTexts, _Matches):
    """For each caption, sentences of the text collections."""

    name = OfTexts.matches
    modality = "text"

    @property
    def texts(self) -> TextRetrieval:
        """The settings of text lists."""
        assert isinstance(self.own, TextRetrieval)
        return self.own

    @property
    def reads(self) -> Sequence[Input]:
        """The captions' images besides, the sentences themselves, and the judge's evidence about both."""
        return *super().reads, Input("pairs", "pairs"), Input("texts", "texts", "corpus"), *TEXT_EVIDENCE

    def wants(self, source: Input, stage: Stage[Any]) -> bool:
        """The judge's evidence only where it is asked."""
        return source not in TEXT_EVIDENCE or (self.texts.min_truth is not None and wants_evidence(source, stage))

    def behind(self, stages: Sequence[Stage[Any]]) -> Self:
        """As of any stage of retrieval; where the judge is asked, it must have evidence."""
        if self.texts.min_truth is not None:
            check_judge(stages, self.texts.encoder)
        return super().behind(stages)

    def _truth(self, task: Task) -> CandidateTruth | None:
        if self.texts.min_truth is None:
            return None
        least = round(self.texts.min_truth * MILLION)
        return CandidateTruth(text_judge(task.corpus, self.inputs), least, task.partition, task.read("pairs", "pairs")["image_id"])

    def _queries(self, task: Task, rows: pa.RecordBatch) -> list[Query]:
        near = round(self.texts.near_text * MILLION)
        images = task.read("pairs", "pairs")["image_id"].take(rows["row"]).combine_chunks().dictionary_encode().indices.to_numpy()
        keys, vectors = rows["key"].to_numpy(), vectors_of(rows)
        starts = np.flatnonzero(np.diff(images, prepend=-1))  # captions of an image stand together
        ends = np.append(starts[1:], len(images))
        found = []
        for start, end in zip(starts, ends, strict=True):
            found += [Query(near, keys[start:end], Reason.SAME_TEXT, Reason.NEAR_TEXT, siblings=vectors[start:end])] * int(end - start)
        return found

    def _texts(self, task: Task, partitions: np.ndarray, rows: np.ndarray) -> pa.Array:
        pieces, places = [], []
        for partition in np.unique(partitions):
            where = np.flatnonzero(partitions == partition)
            text = task.read("texts", "texts", int(partition))["text"].take(pa.array(rows[where]))
            pieces += text.chunks
            places.append(where)
        return pa.concat_arrays(pieces).take(pa.array(np.argsort(np.concatenate(places), kind="stable")))
