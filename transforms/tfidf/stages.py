"""Stages of the TF-IDF hard negatives: count, combine, weight, search.

tfidf_counts      row-local    word counts of each caption; document frequencies of the partition
tfidf_vocabulary  corpus-wide  combined document frequencies; kept words and their weights
tfidf_vectors     row-local    unit vectors
tfidf_champions   corpus-wide  bounded search only: where the postings of frequent words are truncated
tfidf             row-local    top-k of each caption over the vectors of all partitions; guards; `rewrites`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.corpus import WHOLE, Corpus
from schemas.errors import CorpusError
from schemas.manifest import Counts, fingerprint
from schemas.regions import class_names
from schemas.rejects import REASONS
from schemas.tables import REWRITES
from schemas.tfidf import TFIDF_CHAMPIONS, TFIDF_COUNTS, TFIDF_TERMS, TFIDF_VECTORS, vocabulary_schema
from transforms.core.compared import state_of
from transforms.core.rows import RowReuse
from transforms.core.stage import Input, Stage, SummaryStage
from transforms.core.task import Task
from transforms.tfidf.additions import Changed, changed_texts, least_scores, near
from transforms.tfidf.bounded import BoundedSearch
from transforms.tfidf.captions import Captions
from transforms.tfidf.champions import champions_of, cuts_of, merge_champions
from transforms.tfidf.counts import TermCounts, count_terms
from transforms.tfidf.document_frequencies import (
    Frequencies,
    Vocabulary,
    frequencies_of,
    merge_frequencies,
    read_vocabulary,
    vocabulary_batch,
)
from transforms.tfidf.earlier_lists import ChangedCaptions, EarlierLists
from transforms.tfidf.negatives import Stats, hard_negatives
from transforms.tfidf.recall import recall_of
from transforms.tfidf.search import UNIT
from transforms.tfidf.settings import TfidfSettings
from transforms.tfidf.truth import CandidateTruth
from transforms.tfidf.vectors import Vectors, read_vectors, vector_batch
from transforms.truth.stage import EVIDENCE, JUDGE, judge_for


class TfidfCounts(Stage[TfidfSettings]):
    """Counts the words of captions."""

    name = "tfidf_counts"
    main_table = "tfidf_counts"
    internal = True
    depends_on = ("ngrams",)
    reads = (Input("pairs", "pairs"), Input("pairs", "images"))  # images: hashes that identify copies
    writes = {"tfidf_counts": TFIDF_COUNTS, "tfidf_terms": TFIDF_TERMS}

    def process(self, task: Task, payload: Any) -> None:
        """Counts the words of one partition."""
        pairs, images = task.read("pairs", "pairs"), task.read("pairs", "images")
        task.counts.rows_in = pairs.num_rows
        rows = pc.index_in(pairs["image_id"], value_set=images["image_id"].combine_chunks())
        counts = count_terms(pairs, images["sha256"].take(rows), self.params)
        task.write("tfidf_counts", counts.rows)
        task.write("tfidf_terms", counts.terms)


class TfidfVocabulary(SummaryStage[TfidfSettings]):
    """Combines document frequencies and selects the words of the vocabulary."""

    name = "tfidf_vocabulary"
    revision = 2
    internal = True
    depends_on = ("min_df", "max_df")
    reads = (Input("tfidf_counts", "tfidf_counts", "corpus"), Input("tfidf_counts", "tfidf_terms", "corpus"))
    writes = {"tfidf_vocabulary": vocabulary_schema(0)}

    def summarise(self, task: Task) -> Frequencies:
        """Document frequencies of one partition."""
        rows, terms = task.open("tfidf_counts", "tfidf_counts"), task.read("tfidf_counts", "tfidf_terms")
        return frequencies_of(TermCounts(_one(rows.read()), _one(terms)))

    def combine(self, summaries: Sequence[Frequencies]) -> Frequencies:
        """Sums of document frequencies."""
        return merge_frequencies(summaries)

    def process(self, task: Task, payload: Frequencies) -> None:
        """Writes the vocabulary."""
        batch = vocabulary_batch(payload, self.params)
        task.counts.numbers = {"captions": payload.documents, "words": batch.num_rows, "words_kept": pc.sum(batch["kept"]).as_py() or 0}
        task.write("tfidf_vocabulary", batch)


class TfidfVectors(Stage[TfidfSettings]):
    """Turns counts into unit vectors."""

    name = "tfidf_vectors"
    revision = 2
    main_table = "tfidf_vectors"
    internal = True
    set_aside = True  # for the search
    depends_on = ("sublinear_tf",)
    packages = ("scipy",)
    reads = (
        Input("tfidf_counts", "tfidf_counts"),
        Input("tfidf_counts", "tfidf_terms"),
        Input("tfidf_vocabulary", "tfidf_vocabulary", "corpus"),
    )
    writes = {"tfidf_vectors": TFIDF_VECTORS}

    def process(self, task: Task, payload: Any) -> None:
        """Writes the vectors of one partition."""
        rows, terms = _one(task.read("tfidf_counts", "tfidf_counts")), _one(task.read("tfidf_counts", "tfidf_terms"))
        vocabulary = read_vocabulary(task.read("tfidf_vocabulary", "tfidf_vocabulary", WHOLE))
        task.counts.rows_in = rows.num_rows
        task.write("tfidf_vectors", vector_batch(rows, terms["term"], vocabulary, self.params))


class TfidfChampions(SummaryStage[TfidfSettings]):
    """Finds where to truncate the postings of each word in more than `bound` captions."""

    name = "tfidf_champions"
    internal = True
    depends_on = ("bound",)
    packages = ("scipy",)
    reads = (Input("tfidf_vectors", "tfidf_vectors", "corpus"), Input("tfidf_vocabulary", "tfidf_vocabulary", "corpus"))
    writes = {"tfidf_champions": TFIDF_CHAMPIONS}

    @classmethod
    def applies(cls, params: TfidfSettings) -> bool:
        """Only to the bounded search."""
        return params.bound is not None

    def summarise(self, task: Task) -> pa.RecordBatch:
        """The best postings of one partition, at most `bound` per word."""
        vocabulary = _vocabulary(task.corpus)
        return champions_of(_vectors(task.corpus, task.partition, vocabulary), vocabulary, self._bound)

    def combine(self, summaries: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
        """The best postings of several partitions, at most `bound` per word."""
        return merge_champions(summaries, self._bound)

    def process(self, task: Task, payload: pa.RecordBatch) -> None:
        """Writes the cuts, one row per truncated word."""
        cuts = cuts_of(payload, self._bound)
        task.counts.numbers = {"words_cut": cuts.num_rows}
        task.write("tfidf_champions", cuts)

    @property
    def _bound(self) -> int:
        if self.params.bound is None:
            raise ValueError("the exact search has no champions")
        return self.params.bound


class TfidfNegatives(Stage[TfidfSettings]):
    """Searches, guards and writes the hard negatives (UNIMO, sentence level).

    With an unchanged vocabulary, images keep their negatives unless a new caption, or one that is gone, is among their candidates.
    """

    name = "tfidf"
    packages = ("scipy", "sparse-dot-topn")
    rows_counted = ("pairs",)
    reads = (
        Input("pairs", "pairs", columns=("pair_id", "image_id")),
        Input("tfidf_vectors", "tfidf_vectors", "corpus", compared=True),
        Input("tfidf_vocabulary", "tfidf_vocabulary", "corpus"),
        Input("tfidf_champions", "tfidf_champions", "corpus", optional=True),
        *EVIDENCE,
    )
    writes = {"rewrites": REWRITES}

    def wants(self, source: Input, stage: Stage[Any]) -> bool:
        """The judge's evidence only when it is asked; regions only with class names."""
        if source not in EVIDENCE:
            return True
        return self.params.truth is not None and (source.table != "regions" or bool(class_names(stage.writes["regions"])))

    def behind(self, stages: Sequence[Stage[Any]]) -> Self:
        """As usual, but without a judge, its evidence is not read."""
        found = super().behind(stages)
        if found.has(JUDGE[0]):
            return found
        return replace(found, resolved=tuple(one for one in found.inputs if one not in {replace(one, optional=False) for one in EVIDENCE}))

    @property
    def rows_by(self) -> tuple[str, ...]:  # type: ignore[override]
        """Images, unless the judge or the bounded search lets other captions decide about candidates."""
        return () if self.params.bound or self.has(JUDGE[0]) else ("image_id",)

    def reached(self, reuse: RowReuse, before: Corpus) -> np.ndarray:
        """The images with a caption that a new or lost text is similar enough to."""
        corpus, partition = reuse.corpus, reuse.index.partition
        captions, changed = _captions(corpus), self._changed(corpus, before)
        reached = np.zeros(len(reuse.index.keys), bool)
        if changed is None:
            return ~reached
        with reuse.old("rewrites") as file:
            least = least_scores(file.read(["pair_id", "scores"]), captions.parts[partition].pair_id, self.params.k)
        reached[reuse.index.rows["pairs", "pairs"][near(captions.matrix(partition), changed.matrix, least)]] = True
        return reached

    def _changed(self, corpus: Corpus, before: Corpus) -> Changed | None:
        return _changed_at(corpus, before, _content(corpus, "tfidf_vectors"), state_of(self, before))

    def _earlier(self, task: Task) -> EarlierLists | None:
        """The lists of the earlier run, if they contain the refused candidates too."""
        reuse = task.reuse
        if reuse is None or reuse.before is None or not self.params.drop_rows:
            return None
        changed = self._changed(task.corpus, reuse.before)
        if changed is None:
            return None
        with reuse.old("rewrites") as kept, reuse.old("rejects") as refused:
            rewrites, rejects = kept.read(["pair_id", "origin", "scores"]), refused.read(["id", "detail"])
        return EarlierLists(_changed_captions(task.corpus, changed), task.partition, self.params, rewrites, rejects)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Without a judge, what it would be asked does not count."""
        return {name: value for name, value in super().settings.items() if self.has(JUDGE[0]) or not name.startswith("truth")}

    def process(self, task: Task, payload: Any) -> None:
        """Finds the negatives of one partition's captions in the whole corpus."""
        captions = _captions(task.corpus)
        search = _bounded(task.corpus, self.params.rescore) if self.params.bound else None
        stats = Stats()
        judge, params = judge_for(task.corpus, self), self.params
        truth = None
        if judge:
            truth = CandidateTruth(judge, captions, task.partition, task.read("pairs", "pairs")["image_id"].to_pylist())
            if "margin" not in params.model_fields_set:
                params = params.model_copy(update={"margin": None})
        own = captions.parts[task.partition].pair_id
        chosen = pc.is_in(own, value_set=task.read("pairs", "pairs")["pair_id"].combine_chunks()).to_numpy(zero_copy_only=False)
        numbers = captions.span(task.partition)[0] + np.flatnonzero(chosen)
        for found in hard_negatives(captions, task.partition, params, stats, search, truth, numbers, self._earlier(task)):
            task.check_cancelled()
            task.write("rewrites", found.rewrites)
            task.rejects.add_batch(found.drop_ids, found.drop_reasons, found.drop_details)
            pair_ids, reasons, times = found.unlogged
            task.count_refused(pair_ids.to_pylist(), [REASONS[reason] for reason in reasons.tolist()], times.tolist())
            for name, values in found.numbers.items():
                task.count(name, found.pair_ids.to_pylist(), values.tolist())
        task.counts.rows_in = stats.captions
        if search and self.params.recall_sample:
            recall = recall_of(captions, task.partition, self.params, task.seed, search)
            task.counts.numbers = {"recall_captions": recall.captions, "recall_wanted": recall.wanted, "recall_found": recall.found}

    def conclude(self, counts: Counts, extras: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The share of negatives that the judge expects to be true of the image, and the recall of the bounded search (its share of the
        exact search's negatives on the sampled captions)."""
        numbers, extra = counts.numbers, dict[str, Any]()
        if judged := numbers.get("judged"):
            extra["expected_false_negatives"] = round(numbers["truth_millionths"] / UNIT / judged, 6)
        if wanted := numbers.get("recall_wanted"):
            recall = round(numbers["recall_found"] / wanted, 6)
            extra |= {"recall_at_k": recall, "recall_captions": numbers["recall_captions"], "k": self.params.k}
        return extra


def _one(table: pa.Table) -> pa.RecordBatch:
    """A table written as a single record batch."""
    batches = table.to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def _content(corpus: Corpus, stage: str) -> str:
    """A hash of a stage's output, the cache key: a later run in this process must not see an earlier run's data."""
    manifest = corpus.manifest(stage)
    if manifest is None:
        raise CorpusError(f"{corpus.url}: stage {stage} not found")
    return fingerprint(manifest.contents)


@lru_cache(maxsize=1)
def _vocabulary_at(corpus: Corpus, content: str) -> Vocabulary:
    with corpus.open("tfidf_vocabulary", "tfidf_vocabulary", WHOLE) as file:
        return read_vocabulary(file.read())


def _vocabulary(corpus: Corpus) -> Vocabulary:
    return _vocabulary_at(corpus, _content(corpus, "tfidf_vocabulary"))


def _vectors(corpus: Corpus, partition: int, vocabulary: Vocabulary) -> Vectors:
    with corpus.open("tfidf_vectors", "tfidf_vectors", partition) as file:
        return read_vectors(_one(file.read()), len(vocabulary.terms))


@lru_cache(maxsize=1)
def _captions_at(corpus: Corpus, content: str) -> Captions:
    vocabulary = _vocabulary(corpus)
    return Captions([_vectors(corpus, partition, vocabulary) for partition in range(corpus.partitions)])


def _captions(corpus: Corpus) -> Captions:
    """The vectors of all partitions, loaded once per process."""
    return _captions_at(corpus, _content(corpus, "tfidf_vectors"))


@lru_cache(maxsize=1)
def _changed_at(corpus: Corpus, before: Corpus, content: str, state: str) -> Changed | None:
    """What `changed_texts` finds between two states of a corpus, or a corpus and its base: `content` and `state`, of their vectors."""
    vocabulary = _vocabulary(corpus)
    return changed_texts([_vectors(before, partition, vocabulary) for partition in range(before.partitions)], _captions(corpus))


@lru_cache(maxsize=1)
def _changed_captions(corpus: Corpus, changed: Changed) -> ChangedCaptions:
    return ChangedCaptions(_captions(corpus), changed.texts)


@lru_cache(maxsize=1)
def _bounded_at(corpus: Corpus, content: str, rescore: int) -> BoundedSearch:
    with corpus.open("tfidf_champions", "tfidf_champions", WHOLE) as file:
        return BoundedSearch(_captions(corpus), file.read(), rescore)


def _bounded(corpus: Corpus, rescore: int) -> BoundedSearch:
    """The truncated postings of all partitions, built once per process."""
    return _bounded_at(corpus, _content(corpus, "tfidf_vectors") + _content(corpus, "tfidf_champions"), rescore)
