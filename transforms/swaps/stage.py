"""The stage that writes swap negatives as Arrow tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa

from schemas.corpus import WHOLE, Corpus
from schemas.errors import CorpusError
from schemas.ids import counter_rng
from schemas.manifest import Counts
from schemas.regions import class_names
from schemas.rejects import Reason, reason_position
from schemas.tables import REWRITES, SCORE, VOCABULARY
from transforms.core.gc_pause import gc_paused
from transforms.core.stage import Input, Stage
from transforms.core.task import Task
from transforms.english.wordnet import lexicon
from transforms.graphs.stage import read_graphs
from transforms.graphs.vocabulary import CountVocabulary, aligned, images_of, read_vocabulary
from transforms.regions.labels import Labels, labels_in
from transforms.scene_graph.nodes import Graph
from transforms.swaps.context import ImageContext
from transforms.swaps.draft import Negative
from transforms.swaps.generate import negatives
from transforms.swaps.index import Index
from transforms.swaps.settings import KINDS, LEVELS, SwapSettings
from transforms.truth.judge import judge_of
from transforms.truth.settings import TruthSettings
from transforms.truth.swaps import SwapJudge
from transforms.truth.trees import MILLION

_WHY = ("absent_from_captions", "absent_from_labels", "contradicts_original", "order_matters", "denies_original")
_SCORES = ("hardness", "presence")
_CODES: dict[tuple[str, ...], dict[str, int]] = {words: {word: code for code, word in enumerate(words)} for words in (KINDS, LEVELS, _WHY)}


def _labels(words: tuple[str, ...], found: Sequence[str]) -> pa.DictionaryArray:
    codes = _CODES[words]
    return pa.DictionaryArray.from_arrays(pa.array([codes[word] for word in found], pa.int8()), pa.array(words))


def rewrite_batch(pair_ids: Sequence[str], found: Sequence[Sequence[Negative]], scored: bool = True) -> pa.RecordBatch:
    """The `rewrites` rows of n captions, in order; `found` holds each caption's negatives. scored: write the judge's probabilities."""
    flat = [negative for own in found for negative in own]
    owners = [pair_id for pair_id, own in zip(pair_ids, found, strict=True) for _ in own]
    count = len(flat)
    edits = [edit for negative in flat for edit in negative.edits]
    offsets = np.zeros(count + 1, dtype=np.int32)
    np.cumsum([len(negative.edits) for negative in flat], out=offsets[1:])
    edit_type = REWRITES.field("edits").type.value_type
    starts, ends, texts = zip(*edits, strict=True) if edits else ((), (), ())
    edit_values = pa.StructArray.from_arrays(
        [pa.array(starts, pa.int32()), pa.array(ends, pa.int32()), pa.array(texts, pa.string())], fields=list(edit_type)
    )
    values = np.empty(2 * count, dtype=np.float32)
    values[0::2] = [negative.score for negative in flat]
    values[1::2] = [negative.presence for negative in flat]
    names = pa.DictionaryArray.from_arrays(pa.array(np.tile(np.array([0, 1], dtype=np.int8), count)), pa.array(_SCORES))
    score_values = pa.StructArray.from_arrays([names, pa.array(values)], fields=list(SCORE))
    scores = pa.ListArray.from_arrays(pa.array(np.arange(0, 2 * count + 1, 2, dtype=np.int32)), score_values)
    polarity = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, dtype=np.int8)), pa.array(["negative"]))
    return pa.RecordBatch.from_arrays(
        [
            pa.array(owners, pa.string()),
            pa.array([negative.text for negative in flat], pa.string()),
            polarity,
            _labels(LEVELS, [negative.level for negative in flat]),
            _labels(KINDS, [negative.kind for negative in flat]),
            pa.ListArray.from_arrays(pa.array(offsets), edit_values),
            pa.array([negative.origin for negative in flat], pa.string()),
            scores,
            _labels(_WHY, [negative.why for negative in flat]),
            chances([negative.truth if scored else None for negative in flat]),
        ],
        schema=REWRITES,
    )


def chances(millionths: Sequence[int | None]) -> pa.Array:
    """Probabilities given in millionths as float32; None: null."""
    values = np.array([-1 if value is None else value for value in millionths], np.int64)
    return pa.array((values / MILLION).astype(np.float32), mask=values < 0)


@dataclass(frozen=True)
class SwapNegatives(Stage[SwapSettings]):
    """Writes `rewrites`: phrase- and word-level negatives of every caption, in the order of the pairs.

    Reads `pairs`, `graphs` and the `vocabulary`, and, where the `regions` have class names, guards by the images' classes, and by the
    attributes of their regions if these have names, too.
    Siblings are an image's other captions; they are in the same partition. weights: of the judge of truth, "": this package's; None: the
    corpus has no judge.
    """

    name = "swaps"
    revision = 11
    depends_on = tuple(name for name in SwapSettings.model_fields if name not in {*CountVocabulary.depends_on, "balance"})
    rows_by: ClassVar[tuple[str, ...]] = ("image_id",)
    rows_counted: ClassVar[tuple[str, ...]] = ("graphs",)
    reads = (
        Input("pairs", "pairs", columns=("pair_id", "image_id", "caption")),
        Input("graphs", "graphs"),
        Input("vocabulary", "vocabulary", "corpus"),
        Input("regions", "regions", optional=True, columns=("image_id", "class", "attributes")),
    )
    writes = {"rewrites": REWRITES}

    weights: str | None = field(default=None, kw_only=True)

    @classmethod
    def applies(cls, params: SwapSettings) -> bool:
        """Unless the swaps are balanced: then the stage `balance` writes them."""
        return params.balance is None

    def wants(self, source: Input, stage: Stage[Any]) -> bool:
        """Only regions with class names: without names they are of no use to the guards."""
        return bool(class_names(stage.writes[source.table]))

    def behind(self, stages: Sequence[Stage[Any]]) -> Self:
        """As usual, with the weights of the corpus's judge, if it is to be asked."""
        found = super().behind(stages)
        weights = [stage.params.weights or "" for stage in stages if isinstance(stage.params, TruthSettings)]
        return replace(found, weights=weights[0]) if weights and self.params.truth is not None else found

    @property
    def judge(self) -> SwapJudge | None:
        """The judge of swaps; None: it is not asked."""
        return None if self.weights is None else judge_of(self.weights or None).swaps

    @property
    def settings(self) -> Mapping[str, Any]:
        """The parameters, and the fingerprints of the lexicon and of the judge; class names are part of the regions' content."""
        found = {**super().settings, "lexicon": lexicon().fingerprint}
        if self.weights is not None:
            return found | {"judge": judge_of(self.weights or None).fingerprint}
        return {name: value for name, value in found.items() if not name.startswith("truth")}

    def process(self, task: Task, payload: Any) -> None:
        """Processes one partition image by image and writes it in batches."""
        ids: list[str] = []
        found: list[Sequence[Negative]] = []
        for pair, _, own, _ in self.drafted(task, self.params):
            ids.append(pair["pair_id"])
            found.append(own)
            if len(found) >= _ROWS:
                self._write(task, ids, found)
                ids, found = [], []
        self._write(task, ids, found)

    def _write(self, task: Task, ids: Sequence[str], found: Sequence[Sequence[Negative]]) -> None:
        task.write("rewrites", rewrite_batch(ids, found, self.params.truth_scores))
        if self.weights is not None:
            task.count("judged", ids, [len(own) for own in found])
            task.count("truth_millionths", ids, [sum(negative.truth or 0 for negative in own) for own in found])

    def conclude(self, counts: Counts, extras: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The share of swaps that the judge expects to be true of the image."""
        return super().conclude(counts, extras) | expected_share(counts.numbers)

    def drafted(self, task: Task, settings: SwapSettings) -> Iterator[tuple[dict[str, str], Graph, list[Negative], ImageContext]]:
        """The partition's pairs, each with its graph, negatives and image; the refused candidates are logged at the end."""
        index, judge = load_index(task.corpus), self.judge
        pairs, graph_table = task.read("pairs", "pairs"), task.read("graphs", "graphs")
        pairs = aligned(pairs, graph_table)
        task.counts.rows_in = pairs.num_rows
        labels = Labels((), {}, {})
        if self.has("regions"):
            with task.open("regions", "regions") as file:
                labels = labels_in(file)
        refusals = _Refusals()
        rows = pairs.select(["pair_id", "image_id", "caption"]).to_pylist()
        row = 0
        with task.engine(), gc_paused():
            for group in images_of([pair["image_id"] for pair in rows], pairs["caption"].to_pylist(), list(read_graphs(graph_table))):
                captions, graphs = zip(*group, strict=True)
                context = ImageContext(index, settings, captions, graphs, *labels.of(rows[row]["image_id"]))
                for caption, graph in group:
                    refusals.row = rows[row]["pair_id"]
                    rng = counter_rng(task.seed, SwapNegatives.name, refusals.row)
                    yield rows[row], graph, negatives(caption, graph, index, context, settings, rng, refusals, judge), context
                    row += 1
        refusals.log(task, settings.record_refusals)


_ROWS = 512  # captions per written batch


def expected_share(numbers: Mapping[str, float]) -> dict[str, float]:
    """The expected share of false negatives, from a stage's counts; empty where nothing was judged."""
    judged = numbers.get("judged")
    return {"expected_false_negatives": round(numbers["truth_millionths"] / MILLION / judged, 6)} if judged else {}


class _Refusals:
    """Collects the candidates that the guards refused; `row` is the current pair's id."""

    def __init__(self) -> None:
        self.row = ""
        self._ids: list[str] = []
        self._reasons: list[int] = []
        self._details: list[str] = []

    def __call__(self, reason: Reason, detail: str) -> None:
        self._ids.append(self.row)
        self._reasons.append(_POSITIONS[reason])
        self._details.append(detail)

    def log(self, task: Task, rows: bool) -> None:
        """Records them in the task's rejects, as rows or only as counts."""
        if rows and self._ids:
            task.rejects.add_batch(pa.array(self._ids), np.array(self._reasons, dtype=np.int8), pa.array(self._details))
        else:
            task.count_refused(self._ids, [_BY_POSITION[position] for position in self._reasons])


_POSITIONS = {reason: reason_position(reason) for reason in Reason}
_BY_POSITION = {position: reason for reason, position in _POSITIONS.items()}


def load_index(corpus: Corpus) -> Index:
    """The index of the corpus' vocabulary, cached per process. Raises CorpusError if the corpus has no vocabulary."""
    content = corpus.content("vocabulary", "vocabulary", WHOLE)
    if content is None:
        raise CorpusError(f"{corpus.url} has no vocabulary: run stage `vocabulary` first")
    return _index(corpus, content)


@lru_cache(maxsize=2)
def _index(corpus: Corpus, digest: str) -> Index:
    with corpus.open("vocabulary", "vocabulary", WHOLE, VOCABULARY) as file:
        return Index(read_vocabulary(file.read()), lexicon())
