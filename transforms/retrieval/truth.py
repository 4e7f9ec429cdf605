"""The judge of truth's view of retrieved texts: they are positives of a pair, so they should be true of its image.

Texts have no TF-IDF cosines; the judge is fitted to do without.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.corpus import Corpus
from schemas.manifest import fingerprint
from schemas.regions import class_names
from transforms.core.stage import Input, Stage
from transforms.retrieval.base import OfTexts, collection_of
from transforms.retrieval.collection import Collection
from transforms.truth.claims import MISSING, Claims, read_claims
from transforms.truth.evidence import Captioned, Texts, evidence_of, whole
from transforms.truth.stage import EVIDENCE, JUDGE, CorpusJudge, known_labels

TEXT_GRAPHS = ("text_graphs", "text_graphs")
TEXT_EVIDENCE = (*EVIDENCE, Input(*TEXT_GRAPHS, "corpus", optional=True))


class TextJudge:
    """The judge with what a corpus's captions and its text collections say. Make it once per process (`text_judge`)."""

    def __init__(self, corpus: Corpus, collection: Collection, graphs: bool, labels: tuple[str, ...] | None):
        """`graphs`: whether captions and texts have scene graphs. labels: all labels of the regions, None: there are none."""
        self.captions, self._collection = CorpusJudge(corpus, graphs, labels), collection
        self._claims = self._read(corpus) if graphs else None

    def _read(self, corpus: Corpus) -> Claims:
        """The claims of the texts that have a vector, in the order of the collection."""
        graphs, rows, texts, first = [], [], [], 0
        for partition in range(corpus.partitions):
            parsed, held, source = (
                corpus.open(stage, table, partition).read()
                for stage, table in (TEXT_GRAPHS, (OfTexts.vectors, "vectors"), ("texts", "texts"))
            )
            at = pc.index_in(held["id"], value_set=parsed["text_id"].combine_chunks()).fill_null(-1).to_numpy().astype(np.int64)
            rows.append(np.where(at >= 0, at + first, -1))
            texts += source["text"].take(held["row"]).to_pylist()
            graphs.append(parsed)
            first += parsed.num_rows
        return read_claims(pa.concat_tables(graphs), np.concatenate(rows), texts, self.captions.words)

    def texts(self, positions: np.ndarray) -> Texts:
        """Vectors and claims of the texts at these positions of the collection, int64 [n], ascending."""
        vectors = whole(self._collection.take(positions).astype(np.float32)) if self.captions.width else None
        return Texts(vectors, self._claims.take(positions) if self._claims else None)


class CandidateTruth:
    """Asks the judge about candidates for the captions of one partition; images are judged with all their captions."""

    def __init__(self, judge: TextJudge, least: int, partition: int, image_ids: pa.ChunkedArray):
        """`least`: the probability, in millionths, below which a text is refused. `image_ids`: of the captions, an image's adjacent."""
        self.least, self._judge, captions = least, judge, judge.captions
        coded = image_ids.combine_chunks().dictionary_encode()
        self._image = coded.indices.to_numpy().astype(np.int64)
        labels = captions.labels_of(partition)
        first = int(captions.starts[partition])
        self._images = Captioned(
            np.searchsorted(self._image, np.arange(len(coded.dictionary) + 1)),
            captions.texts(np.arange(first, first + len(self._image))),
            None if labels is None else [labels.get(image_id) for image_id in coded.dictionary.to_pylist()],
            captions.labels or (),
        )

    def chances(self, captions: np.ndarray, positions: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """The probability that candidates are true of the image of each of q captions, int64 [q, depth] in millionths, -1: not asked.

        captions: int64 [q], rows of the partition. positions: int64 [q, depth], in the collection. asked: bool [q, depth].
        """
        found = np.full(positions.shape, -1, np.int64)
        row, column = np.nonzero(asked)
        if not len(row):
            return found
        size = int(positions.max()) + 1
        pairs, back = np.unique(self._image[captions[row]] * size + positions[row, column], return_inverse=True)
        texts, text = np.unique(pairs % size, return_inverse=True)
        evidence = evidence_of(self._images, self._judge.texts(texts), self._judge.captions.words, pairs // size, text)
        evidence["cosine"] = np.full(len(pairs), MISSING, np.int32)
        found[row, column] = self._judge.captions.judge.millionths(evidence)[back]
        return found


def wants_evidence(source: Input, writer: Stage[Any]) -> bool:
    """Whether the judge uses an input, given the stage that writes it: regions only with class names."""
    return source.table != "regions" or bool(class_names(writer.writes["regions"]))


def text_judge(corpus: Corpus, inputs: Sequence[Input]) -> TextJudge:
    """The judge of a corpus for a stage with these inputs, made once per process."""
    names = [source.stage for source in inputs if source.scope == "corpus"]
    content = fingerprint([corpus.manifest(name).contents for name in names])  # type: ignore[union-attr]
    labels = known_labels(corpus) if any(source.table == "regions" for source in inputs) else None
    return _judge_at(corpus, content, TEXT_GRAPHS[0] in names, labels)


@lru_cache(maxsize=1)
def _judge_at(corpus: Corpus, content: str, graphs: bool, labels: tuple[str, ...] | None) -> TextJudge:
    return TextJudge(corpus, collection_of(corpus, OfTexts.vectors), graphs, labels)


def check_judge(stages: Sequence[Stage[Any]], encoder: str) -> None:
    """Raises ValueError where the stages that run before leave the judge without evidence, or with other vectors than `encoder`'s."""
    judges = {stage.name: stage for stage in stages}
    if JUDGE[0] not in judges:
        raise ValueError("retrieval.texts.min_truth asks the judge of truth, which is not there: give `truth`, or set min_truth to null")
    own = judges[JUDGE[0]].params.encoder
    if own not in (None, encoder):
        raise ValueError(
            f"retrieval.texts.min_truth: the judge compares vectors of one encoder, but truth.encoder is {own!r} and "
            f"retrieval.texts.encoder is {encoder!r}: make them equal, or set truth.encoder to null"
        )
    if own is None and TEXT_GRAPHS[0] not in judges:
        raise ValueError("retrieval.texts.min_truth: the judge has no evidence about texts: set truth.encoder or truth.parser")
