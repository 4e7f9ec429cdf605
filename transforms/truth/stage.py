"""The stage that encodes captions for the judge, and the judge with all evidence about a corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.corpus import Corpus
from schemas.manifest import fingerprint
from schemas.vectors import CAPTION_VECTORS, JUDGE_KEY, WIDTH_KEY
from transforms.core.stage import Input, Stage
from transforms.core.task import Task
from transforms.engines.encoders.sentence import sentence_encoder, spec_fingerprint
from transforms.regions.labels import Labels, known_in, labels_in
from transforms.truth.claims import Claims, read_claims
from transforms.truth.evidence import Captioned, Texts, evidence_of, whole
from transforms.truth.judge import Judge, judge_of
from transforms.truth.settings import TruthSettings
from transforms.truth.words import Words

JUDGE = ("caption_vectors", "caption_vectors")
# What a stage that asks the judge may read, beside its own inputs.
EVIDENCE = (
    Input(*JUDGE, "corpus", optional=True),
    Input("graphs", "graphs", "corpus", optional=True),
    Input("pairs", "pairs", "corpus", optional=True),
    Input("regions", "regions", optional=True),
)


class EncodeCaptions(Stage[TruthSettings]):
    """Writes `caption_vectors`: the sentence embedding of every caption, and, in the metadata, the judge's weights.

    Each distinct caption of a partition is encoded once. Without an encoder, vectors have no numbers.
    """

    name = "caption_vectors"
    main_table = "caption_vectors"
    internal = True
    rows_by = ("pair_id",)
    reads = (Input("pairs", "pairs", columns=("pair_id", "caption")),)
    writes = {"caption_vectors": CAPTION_VECTORS}

    def __post_init__(self) -> None:
        if self.params.encoder:
            spec_fingerprint(self.params.encoder, self.params.threads)  # raises where the encoder is unavailable
        judge_of(self.params.weights)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The encoder and the weights, by their fingerprints."""
        own = self.params
        encoder = spec_fingerprint(own.encoder, own.threads) if own.encoder else None
        return {"encoder": encoder, "judge": judge_of(own.weights).fingerprint}

    def process(self, task: Task, payload: Any) -> None:
        """Encodes one partition, a record batch at a time."""
        encoder = sentence_encoder(self.params.encoder, self.params.threads) if self.params.encoder else None
        width, known = encoder.width if encoder else 0, dict[str, np.ndarray]()
        judge = judge_of(self.params.weights)
        schema = CAPTION_VECTORS.with_metadata({**CAPTION_VECTORS.metadata, WIDTH_KEY: str(width).encode(), JUDGE_KEY: judge.content})
        task.write("caption_vectors", schema.empty_table())
        with task.open("pairs", "pairs") as file:
            for batch in file.batches():
                task.counts.rows_in += batch.num_rows
                captions = batch["caption"].to_pylist()
                if encoder:
                    new = list(dict.fromkeys(caption for caption in captions if caption not in known))
                    with task.engine():
                        known.update(zip(new, whole(encoder.encode(new)), strict=True))
                vectors = (
                    np.stack([known[caption] for caption in captions]) if encoder and captions else np.zeros((len(captions), 0), np.int16)
                )
                task.write("caption_vectors", pa.RecordBatch.from_arrays([batch["pair_id"], _lists(vectors)], schema=schema))


def _lists(vectors: np.ndarray) -> pa.ListArray:
    offsets = np.arange(len(vectors) + 1, dtype=np.int32) * np.int32(vectors.shape[1])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel()), type=CAPTION_VECTORS.field("vector").type)


class CorpusJudge:
    """The judge with the evidence about the captions of a corpus, numbered partition by partition in the order of the pairs.

    Vectors stay memory-mapped; claims take about 200 bytes per caption. Make it once per process (`judge_for`).
    """

    def __init__(self, corpus: Corpus, graphs: bool, labels: tuple[str, ...] | None):
        """`graphs`: whether the corpus has scene graphs. labels: all labels of its regions, None: it has none."""
        self._corpus = corpus
        self.labels = labels
        self.words = Words()
        for label in labels or ():
            self.words.number(label)
        self.vectors: list[np.ndarray] = []
        claims = []
        for partition in range(corpus.partitions):
            with corpus.open(*JUDGE, partition) as file:
                table = file.read()
            self.vectors.append(vectors_in(table))
            if graphs:
                claims.append(self._claims(partition))
        self.judge = Judge(table.schema.metadata[JUDGE_KEY], f"{corpus.url}: caption_vectors")
        self.starts = np.concatenate([[0], np.cumsum([len(part) for part in self.vectors])])
        self.width, self.claims = self.vectors[0].shape[1], _joined(claims, self.starts) if graphs else None

    def _claims(self, partition: int) -> Claims:
        pairs, graphs = (self._corpus.open(name, name, partition).read() for name in ("pairs", "graphs"))
        rows = pc.index_in(pairs["pair_id"], value_set=graphs["pair_id"].combine_chunks()).fill_null(-1).to_numpy()
        return read_claims(graphs, rows.astype(np.int64), pairs["caption"].to_pylist(), self.words)

    def labels_of(self, partition: int) -> Mapping[str, Counter[str]] | None:
        """The number of instances by label of each image of a partition."""
        return None if self.labels is None else labels_of(self._corpus, partition).counts

    def texts(self, numbers: np.ndarray) -> Texts:
        """Vectors and claims of captions int64 [n], ascending."""
        cuts = np.searchsorted(numbers, self.starts)
        pieces = [
            part[numbers[low:high] - first] for part, first, low, high in zip(self.vectors, self.starts, cuts, cuts[1:], strict=False)
        ]
        return Texts(np.concatenate(pieces) if self.width else None, self.claims.take(numbers) if self.claims else None)

    def evidence(
        self, captions: np.ndarray, starts: np.ndarray, labels: list[Counter[str] | None] | None, image: np.ndarray, text: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Evidence about n pairs, without cosines.

        captions: int64 [c], ascending, the captions of whole images; starts: int64 [images + 1], each image's first of them. labels:
        of these images. image: int64 [n], ascending, one of them. text: int64 [n], a caption's number in the corpus.
        """
        numbers, at = np.unique(text, return_inverse=True)
        about = Captioned(starts, self.texts(captions), labels, self.labels or ())
        return evidence_of(about, self.texts(numbers), self.words, image, at)


def vectors_in(table: pa.Table) -> np.ndarray:
    """The vectors of `caption_vectors`, int16 [n, width], whose length is `LENGTH`."""
    parts = [chunk.flatten().to_numpy() for chunk in table["vector"].chunks]
    flat = parts[0] if len(parts) == 1 else np.concatenate([*parts, np.zeros(0, np.int16)])
    return flat.reshape(table.num_rows, int(table.schema.metadata[WIDTH_KEY]))


def _joined(claims: list[Claims], starts: np.ndarray) -> Claims:
    """The claims of all partitions, whose first captions are `starts`."""
    shift = {"object_of", "attribute_of", "relation_of"}
    return Claims(
        **{
            name: np.concatenate([getattr(one, name) + (first if name in shift else 0) for one, first in zip(claims, starts, strict=False)])
            if name != "denies"
            else np.concatenate([one.denies for one in claims])
            for name in Claims.__dataclass_fields__
        }
    )


def labels_of(corpus: Corpus, partition: int) -> Labels:
    """The labels of a partition's images."""
    with corpus.open("regions", "regions", partition) as file:
        return labels_in(file)


def known_labels(corpus: Corpus) -> tuple[str, ...]:
    """The labels of all classes that a corpus's regions have, without reading the regions."""
    with corpus.open("regions", "regions", 0) as file:
        return known_in(file)


def judge_for(corpus: Corpus, stage: Stage[Any]) -> CorpusJudge | None:
    """The judge of a corpus for a stage with the inputs `EVIDENCE`, made once per process; None: the corpus has none."""
    if not stage.has(JUDGE[0]):
        return None
    graphs = stage.has("graphs")
    labels = known_labels(corpus) if stage.has("regions") else None
    content = fingerprint([corpus.manifest(name).contents for name in (JUDGE[0], *(["graphs"] if graphs else []))])  # type: ignore[union-attr]
    return _judge_at(corpus, content, graphs, labels)


@lru_cache(maxsize=1)
def _judge_at(corpus: Corpus, content: str, graphs: bool, labels: tuple[str, ...] | None) -> CorpusJudge:
    return CorpusJudge(corpus, graphs, labels)
