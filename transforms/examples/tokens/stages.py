"""The token stages: first the tokenizer, trained or published, then the ids of all texts.

tokenizer   corpus-wide  SentencePiece trained on a seeded sample of captions and sentences, or a published vocabulary
tokens      row-local    ids of captions, positives, negatives and sentences, with the locations of their images and matches
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from hashlib import blake2b, sha256
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.corpus import WHOLE, Corpus
from schemas.errors import CorpusError
from schemas.tokenizer import Tokenizer
from schemas.tokens import IMAGE_INDEX, PAIR_INDEX, TEXT_INDEX, TEXT_TOKENS, TOKENIZER, TOKENS
from transforms.core.stage import Input, Stage, SummaryStage
from transforms.core.task import Task
from transforms.examples.tokens.rows import ImageRows, pair_rows, text_rows
from transforms.examples.tokens.settings import TokenSettings
from transforms.examples.tokens.vocabularies import read_vocabulary, train_sentencepiece

_SAMPLE = pa.schema([("hash", pa.uint64()), ("id", pa.string()), ("text", pa.string())])


class MakeTokenizer(SummaryStage[TokenSettings]):
    """Writes the `tokenizer`: trained on the rows with the lowest hashes of seed and id, or made from published files.

    Raises ValueError if a file is missing, damaged or lacks special tokens.
    """

    name = "tokenizer"
    packages = ("sentencepiece",)
    writes = {"tokenizer": TOKENIZER}

    def __post_init__(self) -> None:
        self.held  # noqa: B018 - raises

    @cached_property
    def held(self) -> dict[str, bytes]:
        """The published files by name, empty if none; pickled with the stage."""
        held = dict(sorted(read_vocabulary(self.params).items()))
        if held:
            try:
                Tokenizer(held)
            except CorpusError as error:
                raise ValueError(f"{self.params.vocabulary}: {error}") from None
        return held

    @property
    def reads(self) -> Sequence[Input]:
        """All captions and sentences; nothing for a published vocabulary."""
        return () if self.held else (Input("pairs", "pairs", "corpus"), Input("texts", "texts", "corpus", optional=True))

    @property
    def settings(self) -> Mapping[str, Any]:
        """The files' content, or the training parameters."""
        if self.held:
            return {name: sha256(data).hexdigest() for name, data in self.held.items()}
        return {"size": self.params.size, "sample": self.params.sample, "coverage": self.params.coverage}

    def summarise(self, task: Task) -> pa.Table:
        """One partition's candidates for the sample of the corpus."""
        columns = [("pairs", "pair_id", "caption"), *([("texts", "text_id", "text")] if self.has("texts") else [])]
        found = _SAMPLE.empty_table()
        for table, row_id, text in columns if not self.held else ():
            with task.open(table, table) as file:
                for batch in file.batches():
                    drawn = [_draw(task.seed, name) for name in batch[row_id].to_pylist()]
                    rows = [pa.array(drawn, pa.uint64()), batch[row_id], batch[text]]
                    found = self.combine([found, pa.Table.from_arrays(rows, schema=_SAMPLE)])
        return found

    def combine(self, summaries: Sequence[pa.Table]) -> pa.Table:
        """The rows with the lowest hashes, in ascending order."""
        both = pa.concat_tables(summaries)
        order = pc.sort_indices(both, [("hash", "ascending"), ("id", "ascending")])
        return both.take(order[: self.params.sample]).combine_chunks()

    def process(self, task: Task, payload: Any) -> None:
        """Trains the tokenizer unless files are given, and writes it."""
        held = self.held
        if not held:
            texts = payload["text"].to_pylist()
            with task.engine():
                held = {"sentencepiece.model": train_sentencepiece(texts, self.params.size, self.params.coverage)}
            task.counts.numbers["texts_sampled"] = len(texts)
        tokenizer = Tokenizer(held)
        task.counts.numbers["pieces"] = tokenizer.size
        task.write("tokenizer", tokenizer.table())


class Tokenise(Stage[TokenSettings]):
    """Writes `tokens` for the examples, `text_tokens` for the sentences, and indices of both and of the images without captions."""

    name = "tokens"
    main_table = "tokens"
    depends_on = ()
    rows_by = ("image_id", "text_id")
    rows_counted = ("examples",)
    # Images and regions: the hashes that identify copies of an image, and its number of regions.
    reads = (
        Input("tokenizer", "tokenizer", "corpus"),
        Input(
            "examples",
            "examples",
            columns=("pair_id", "image_id", "caption", "positives", "negatives", "matches_image", "matches_text"),
        ),
        Input("pairs", "images", columns=("image_id", "sha256")),
        Input("texts", "texts", optional=True, columns=("text_id", "text")),
        Input("regions", "regions", optional=True, columns=("image_id", "boxes")),
        Input("image_regions", "regions", optional=True, columns=("image_id", "boxes")),
        Input("images", "images", optional=True, columns=("image_id", "sha256")),
    )

    @property
    def row_numbers(self) -> Mapping[tuple[str, str], tuple[str, str]]:  # type: ignore[override]
        """The rows of the regions, where there are any."""
        found = {"pair_index": "regions", "image_index": "image_regions"}
        return {(table, "region_row"): (stage, "regions") for table, stage in found.items() if self.has(stage)}

    @property
    def writes(self) -> Mapping[str, pa.Schema]:
        """Tokens, and the tables of the sentences and images without captions if the corpus has them."""
        return {
            "tokens": TOKENS,
            "pair_index": PAIR_INDEX,
            **({"text_tokens": TEXT_TOKENS, "text_index": TEXT_INDEX} if self.has("texts") else {}),
            **({"image_index": IMAGE_INDEX} if self.has("image_regions") else {}),
        }

    def process(self, task: Task, payload: Any) -> None:
        """Processes one partition, a batch of rows at a time."""
        tokenizer = _tokenizer(task.corpus)
        images = ImageRows.of(task, "pairs", "regions" if self.has("regions") else None)
        for batch in _batches(task, "examples", "examples"):
            task.counts.rows_in += batch.num_rows
            with task.engine():
                rows, index = pair_rows(batch, images, tokenizer)
            task.write("tokens", rows)
            task.write("pair_index", index, batch["image_id"])
            for name in ("positives", "negatives", "matched_images", "matched_texts"):
                task.count(name, batch["pair_id"].to_pylist(), pc.list_value_length(rows[name]).to_pylist())
        for batch in _batches(task, "texts", "texts") if self.has("texts") else ():
            with task.engine():
                rows, index = text_rows(batch, tokenizer)
            task.write("text_tokens", rows)
            task.write("text_index", index, batch["text_id"])
        if self.has("image_regions"):
            image_ids, index = ImageRows.of(task, "images", "image_regions").with_regions()
            task.write("image_index", index, image_ids)


def _draw(seed: int, row_id: str) -> int:
    """A hash of seed and id; the rows with the lowest hashes form the sample."""
    return int.from_bytes(blake2b(f"{seed}\0tokenizer\0{row_id}".encode(), digest_size=8).digest(), "big")


def _batches(task: Task, stage: str, table: str) -> Iterator[pa.RecordBatch]:
    with task.open(stage, table) as file:
        yield from file.batches()


def _tokenizer(corpus: Corpus) -> Tokenizer:
    """The corpus's tokenizer, loaded once per process."""
    manifest = corpus.manifest("tokenizer")
    if manifest is None:
        raise CorpusError(f"{corpus.url}: stage tokenizer not found")
    return _tokenizer_at(corpus, manifest.contents["tokenizer"])


@lru_cache(maxsize=1)
def _tokenizer_at(corpus: Corpus, content: str) -> Tokenizer:
    """`content`: a hash of the files, so a later run in this process does not see an earlier run's tokenizer."""
    with corpus.open("tokenizer", "tokenizer", WHOLE, TOKENIZER) as file:
        return Tokenizer.of(file.read())
