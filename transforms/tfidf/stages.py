"""TF-IDF hard negatives as stages: count, combine, weigh, search.

    tfidf_counts      row-local    words of each caption, and how many captions of the partition hold each
    tfidf_vocabulary  corpus-wide  document frequencies, combined; which words are kept; their weights
    tfidf_vectors     row-local    unit vectors
    tfidf_champions   corpus-wide  bounded search alone: where the postings of frequent words are cut
    tfidf             row-local    top-k of each caption over the vectors of all partitions; guards; `rewrites`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from schemas.corpus import WHOLE, Corpus
from schemas.errors import CorpusError
from schemas.manifest import Counts, fingerprint
from schemas.tables import REWRITES
from schemas.tfidf import TFIDF_CHAMPIONS, TFIDF_COUNTS, TFIDF_TERMS, TFIDF_VECTORS, vocabulary_schema
from transforms.core.stage import Input, Stage, SummaryStage
from transforms.core.task import Task
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
from transforms.tfidf.negatives import Stats, hard_negatives
from transforms.tfidf.recall import recall_of
from transforms.tfidf.settings import TfidfSettings
from transforms.tfidf.vectors import Vectors, read_vectors, vector_batch


@dataclass(frozen=True)
class _Tfidf(Stage):
    """What the stages have in common: the settings."""

    tfidf: TfidfSettings = field(default_factory=TfidfSettings)


@dataclass(frozen=True)
class TfidfCounts(_Tfidf):
    """Counts the words of captions, once."""

    name: ClassVar[str] = "tfidf_counts"
    main_table: ClassVar[str] = "tfidf_counts"
    internal: ClassVar[bool] = True

    @property
    def inputs(self) -> Sequence[Input]:
        """Captions, and the hashes that tell copies of an image."""
        return [Input("pairs", "pairs"), Input("pairs", "images")]

    @property
    def writes(self) -> Mapping[str, pa.Schema]:
        """Counts a caption, frequencies a word."""
        return {"tfidf_counts": TFIDF_COUNTS, "tfidf_terms": TFIDF_TERMS}

    @property
    def settings(self) -> Mapping[str, Any]:
        """What a word is."""
        return {"ngrams": list(self.tfidf.ngrams)}

    def process(self, task: Task, payload: Any) -> None:
        """Counts one partition."""
        pairs, images = task.read("pairs", "pairs"), task.read("pairs", "images")
        task.counts.rows_in = pairs.num_rows
        rows = pc.index_in(pairs["image_id"], value_set=images["image_id"].combine_chunks())
        counts = count_terms(pairs, images["sha256"].take(rows), self.tfidf)
        task.write("tfidf_counts", counts.rows)
        task.write("tfidf_terms", counts.terms)


@dataclass(frozen=True)
class TfidfVocabulary(_Tfidf, SummaryStage):
    """Combines document frequencies and chooses the words that count."""

    name: ClassVar[str] = "tfidf_vocabulary"
    internal: ClassVar[bool] = True

    @property
    def inputs(self) -> Sequence[Input]:
        """The counts of every partition."""
        return [Input("tfidf_counts", "tfidf_counts", "corpus"), Input("tfidf_counts", "tfidf_terms", "corpus")]

    @property
    def writes(self) -> Mapping[str, pa.Schema]:
        """The vocabulary."""
        return {"tfidf_vocabulary": vocabulary_schema(0)}

    @property
    def settings(self) -> Mapping[str, Any]:
        """Which words are kept."""
        return {"min_df": self.tfidf.min_df, "max_df": self.tfidf.max_df}

    def summarise(self, task: Task) -> Frequencies:
        """Frequencies of one partition."""
        rows, terms = task.open("tfidf_counts", "tfidf_counts"), task.read("tfidf_counts", "tfidf_terms")
        return frequencies_of(TermCounts(_one(rows.read()), _one(terms)))

    def combine(self, summaries: Sequence[Frequencies]) -> Frequencies:
        """Frequencies of several partitions."""
        return merge_frequencies(summaries)

    def process(self, task: Task, payload: Frequencies) -> None:
        """Writes the vocabulary."""
        batch = vocabulary_batch(payload, self.tfidf)
        task.counts.numbers = {"captions": payload.documents, "words": batch.num_rows, "words_kept": pc.sum(batch["kept"]).as_py() or 0}
        task.write("tfidf_vocabulary", batch)


@dataclass(frozen=True)
class TfidfVectors(_Tfidf):
    """Turns counts into unit vectors."""

    name: ClassVar[str] = "tfidf_vectors"
    main_table: ClassVar[str] = "tfidf_vectors"
    internal: ClassVar[bool] = True

    @property
    def inputs(self) -> Sequence[Input]:
        """The partition's counts, and the vocabulary of all."""
        return [Input("tfidf_counts", "tfidf_counts"), Input("tfidf_counts", "tfidf_terms"),
                Input("tfidf_vocabulary", "tfidf_vocabulary", "corpus")]

    @property
    def writes(self) -> Mapping[str, pa.Schema]:
        """The vectors."""
        return {"tfidf_vectors": TFIDF_VECTORS}

    @property
    def settings(self) -> Mapping[str, Any]:
        """How words are weighed."""
        return {"sublinear_tf": self.tfidf.sublinear_tf}

    def process(self, task: Task, payload: Any) -> None:
        """Weighs one partition."""
        rows, terms = _one(task.read("tfidf_counts", "tfidf_counts")), _one(task.read("tfidf_counts", "tfidf_terms"))
        vocabulary = read_vocabulary(task.read("tfidf_vocabulary", "tfidf_vocabulary", WHOLE))
        task.counts.rows_in = rows.num_rows
        task.write("tfidf_vectors", vector_batch(rows, terms["term"], vocabulary, self.tfidf))


@dataclass(frozen=True)
class TfidfChampions(_Tfidf, SummaryStage):
    """Finds, for each word of more than `bound` captions, where its postings are cut."""

    name: ClassVar[str] = "tfidf_champions"
    internal: ClassVar[bool] = True

    @property
    def inputs(self) -> Sequence[Input]:
        """The vectors of every partition."""
        return [Input("tfidf_vectors", "tfidf_vectors", "corpus"), Input("tfidf_vocabulary", "tfidf_vocabulary", "corpus")]

    @property
    def writes(self) -> Mapping[str, pa.Schema]:
        """The cuts."""
        return {"tfidf_champions": TFIDF_CHAMPIONS}

    @property
    def settings(self) -> Mapping[str, Any]:
        """How many captions a word may bring in."""
        return {"bound": self.tfidf.bound}

    def summarise(self, task: Task) -> pa.RecordBatch:
        """The best postings of one partition, at most `bound` a word."""
        vocabulary = _vocabulary(task.corpus)
        return champions_of(_vectors(task.corpus, task.partition, vocabulary), vocabulary, self._bound)

    def combine(self, summaries: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
        """The best postings of several partitions, at most `bound` a word."""
        return merge_champions(summaries, self._bound)

    def process(self, task: Task, payload: pa.RecordBatch) -> None:
        """Writes the cuts, one row a cut word."""
        cuts = cuts_of(payload, self._bound)
        task.counts.numbers = {"words_cut": cuts.num_rows}
        task.write("tfidf_champions", cuts)

    @property
    def _bound(self) -> int:
        if self.tfidf.bound is None:
            raise ValueError("the exact search has no champions")
        return self.tfidf.bound


@dataclass(frozen=True)
class TfidfNegatives(_Tfidf):
    """Searches, guards and writes the hard negatives (UNIMO, sentence level)."""

    name: ClassVar[str] = "tfidf"

    @property
    def inputs(self) -> Sequence[Input]:
        """The vectors of every partition."""
        bounded = [Input("tfidf_champions", "tfidf_champions", "corpus")] if self.tfidf.bound else []
        return [Input("tfidf_vectors", "tfidf_vectors", "corpus"), Input("tfidf_vocabulary", "tfidf_vocabulary", "corpus"), *bounded]

    @property
    def writes(self) -> Mapping[str, pa.Schema]:
        """The negatives."""
        return {"rewrites": REWRITES}

    @property
    def settings(self) -> Mapping[str, Any]:
        """All but what only bounds memory."""
        return self.tfidf.model_dump(mode="json", exclude={"block_rows", "query_rows"})

    def process(self, task: Task, payload: Any) -> None:
        """Finds the negatives of one partition's captions among all."""
        captions = _captions(task.corpus)
        search = _bounded(task.corpus, self.tfidf.rescore) if self.tfidf.bound else None
        stats = Stats()
        for found in hard_negatives(captions, task.partition, self.tfidf, stats, search):
            task.write("rewrites", found.rewrites)
            task.rejects.add_batch(found.drop_ids, found.drop_reasons, found.drop_details)
        task.counts.rows_in = stats.captions
        for reason, count in stats.drops.items():  # those that are not written row by row are counted
            task.rejects.counts[reason] = max(count, task.rejects.counts[reason])
        task.counts.numbers = {name: value for name, value in asdict(stats).items() if name not in ("captions", "drops")}
        if search and self.tfidf.recall_sample:
            recall = recall_of(captions, task.partition, self.tfidf, task.seed, search)
            task.counts.numbers |= {"recall_captions": recall.captions, "recall_wanted": recall.wanted, "recall_found": recall.found}


    def conclude(self, counts: Counts, extras: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Recall of the bounded search: the share of the exact search's negatives that it finds, on the sampled captions."""
        wanted = counts.numbers.get("recall_wanted")
        return {"recall_at_k": round(counts.numbers["recall_found"] / wanted, 6), "recall_captions": counts.numbers["recall_captions"],
                "k": self.tfidf.k} if wanted else {}


def _one(table: pa.Table) -> pa.RecordBatch:
    """A table that was written as one record batch."""
    batches = table.to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def _content(corpus: Corpus, stage: str) -> str:
    """A hash of what a stage made, the key of what is cached of it: a later run in this process must not see an earlier one's."""
    manifest = corpus.manifest(stage)
    if manifest is None:
        raise CorpusError(f"{corpus.url}: stage {stage} is not there")
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
    """The vectors of all partitions, once a process."""
    return _captions_at(corpus, _content(corpus, "tfidf_vectors"))


@lru_cache(maxsize=1)
def _bounded_at(corpus: Corpus, content: str, rescore: int) -> BoundedSearch:
    with corpus.open("tfidf_champions", "tfidf_champions", WHOLE) as file:
        return BoundedSearch(_captions(corpus), file.read(), rescore)


def _bounded(corpus: Corpus, rescore: int) -> BoundedSearch:
    """The cut postings of all partitions, once a process."""
    return _bounded_at(corpus, _content(corpus, "tfidf_vectors") + _content(corpus, "tfidf_champions"), rescore)
