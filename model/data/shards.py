"""The tables of a corpus that training reads: rows of pairs, images and texts, numbered over all partitions, in constant time."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas import checked, files
from schemas.corpus import WHOLE, open_corpus
from schemas.errors import CorpusError, SchemaError
from schemas.manifest import StageManifest, fingerprint
from schemas.regions import RegionFile, Regions, Shown
from schemas.store import TableFile
from schemas.tables import name_of
from schemas.token_rows import PairTokens, TextFile, TokenFile
from schemas.tokenizer import Tokenizer
from schemas.tokens import IMAGE_INDEX, NEGATIVE_KINDS, PAIR_INDEX, TEXT_INDEX, TOKENIZER

log = logging.getLogger(__name__)
F = TypeVar("F")
_CURE = "`cmcl verify` lists every damaged file, `cmcl run` rebuilds them, and `damaged: skip` trains without them"


class ImageAt(NamedTuple):
    """The location of an image's regions: partition and row; alone: an image of the collections without captions."""

    alone: bool
    partition: int
    row: int


def contents_of(url: str) -> str:
    """A hash over what training and evaluation read of a corpus, from its manifests. Raises CorpusError when there is no corpus."""
    corpus, _ = open_corpus(url)
    held = {stage: corpus.manifest(stage) for stage in ("tokenizer", "tokens", "regions", "image_regions")}
    return fingerprint({stage: manifest.contents for stage, manifest in held.items() if manifest is not None})


class Shards:
    """A corpus opened for training. At first, only lengths, counts and keys are read; rows are read when accessed.

    skipped: by stream, number of rows that `damaged: skip` left out. contents: a hash over the files that are read.

    Raises CorpusError when there is no corpus, it has no tokens, or, unless `skip`, a file (named) is missing or damaged.
    """

    def __init__(self, url: str, skip: bool = False, verify: bool = False):
        self.corpus, index = open_corpus(url)
        made = {entry.stage for entry in index.stages}
        self._skip, self._verify = skip, verify
        self.skipped = Counter[str]()
        self.manifest = self._manifest("tokens")
        tables = {file.table for file in self.manifest.files}
        self._regions: list[RegionFile | None] = self._open("regions", "regions", RegionFile) if "regions" in made else []
        self._image_regions = self._open("image_regions", "regions", RegionFile) if "image_index" in tables else []
        self._tokens = self._open("tokens", "tokens", TokenFile, self._regions)
        self._texts: list[TextFile | None] = self._open("tokens", "text_tokens", TextFile) if "text_tokens" in tables else []
        self.tokenizer = self._read_tokenizer()
        self.contents = contents_of(url)
        self.pairs = Index(self._open("tokens", "pair_index", _reader(PAIR_INDEX), self._tokens), PAIR_INDEX)
        self.images = Index(self._open("tokens", "image_index", _reader(IMAGE_INDEX), self._image_regions), IMAGE_INDEX)
        self.texts = Index(self._open("tokens", "text_index", _reader(TEXT_INDEX), self._texts), TEXT_INDEX)

    @property
    def widths(self) -> tuple[int, int]:
        """Widths of features and of soft labels; 0, 0 without regions. Raises CorpusError when pairs' and other images' differ."""
        found = {(file.features, file.classes) for file in (*self._regions, *self._image_regions) if file is not None}
        if len(found) > 1:
            raise CorpusError(f"{self.corpus.url}: regions of different widths {sorted(found)}; recreate them with one detector")
        return found.pop() if found else (0, 0)

    def has_soft_labels(self, every: bool) -> bool:
        """Whether the first image that has regions has soft labels; every: whether all of them do, in local files."""
        found = False
        for file in (*self._regions, *self._image_regions):
            for index in range(file.num_batches if file is not None and (file.mapped or not found) else 0):
                assert file is not None
                columns = file.batch(index)
                shown = pc.greater(pc.list_value_length(columns["boxes"]), 0)
                labelled = columns["soft_labels"].is_valid().filter(shown)
                if not every and len(labelled):
                    return bool(labelled[0].as_py())
                if pc.any(pc.invert(labelled)).as_py():
                    return False
                found = found or len(labelled) > 0
        return found

    def has_negatives(self, kind: str) -> bool:
        """Whether any pair has a negative of this kind."""
        number = NEGATIVE_KINDS.index(kind)
        return any(
            pc.any(pc.equal(file.batch(index)["negative_kinds"].flatten(), number)).as_py()
            for file in self._tokens
            if file is not None
            for index in range(file.num_batches)
        )

    def pairs_at(self, rows: np.ndarray) -> list[PairTokens]:
        """The pairs in these rows."""
        return [_held(self._tokens[partition])[row] for partition, row in self.pairs.locate(rows)]

    def texts_at(self, rows: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """Id and tokens of the sentences in these rows."""
        return [_held(self._texts[partition])[row] for partition, row in self.texts.locate(rows)]

    def images_at(self, rows: np.ndarray, alone: bool) -> list[ImageAt]:
        """The locations of regions: of the images of pairs or, if `alone`, of the images without captions."""
        index = self.images if alone else self.pairs
        return [
            ImageAt(alone, partition, row)
            for partition, row in zip(index.partitions(rows).tolist(), index.columns["region_row"][rows].tolist(), strict=True)
        ]

    def regions(self, at: ImageAt) -> Regions:
        """The regions of an image, with all columns."""
        return self._file(at)[at.row]

    def shown(self, at: ImageAt) -> Shown:
        """The regions of an image, with the columns that every batch contains."""
        return self._file(at).shown(at.row)

    def _file(self, at: ImageAt) -> RegionFile:
        return _held((self._image_regions if at.alone else self._regions)[at.partition])

    def find_images(self, placements: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The images with these placements, all [n]: alone, bool; row in `images` or `pairs`, and key, int64; with regions, bool."""
        alone, paired = self.images.find("image", placements), self.pairs.find("image", placements)
        first = alone >= 0
        keys, regions = (
            np.where(first, self.images.at(column, alone), self.pairs.at(column, paired)) for column in ("image_key", "regions")
        )
        return first, np.where(first, alone, paired), keys, regions > 0

    def find_texts(self, placements: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and keys, int64 [n], of the sentences with these placements; row -1 for those that the corpus lacks."""
        rows = self.texts.find("placement", placements)
        return rows, self.texts.at("key", rows)

    def _manifest(self, stage: str) -> StageManifest:
        manifest = self.corpus.manifest(stage)
        if manifest is None or manifest.failed:
            ours = stage in ("tokens", "tokenizer")
            cure = "set `tokens: {}` in its configuration and run `cmcl run` again" if ours else "`cmcl run` builds it"
            raise CorpusError(f"{self.corpus.url}: the stage {stage}, which training requires, is missing or incomplete; {cure}")
        return manifest

    def _read_tokenizer(self) -> Tokenizer:
        with self.corpus.open("tokenizer", "tokenizer", WHOLE, TOKENIZER) as file:
            return Tokenizer.of(file.read())

    def _open(self, stage: str, table: str, opener: Callable[[str], F], with_: Sequence[object] | None = None) -> list[F | None]:
        """Every partition of a table; None for one that is damaged, or whose counterpart in `with_` is. Empty if `with_` is."""
        if with_ is not None and not with_:
            return []
        manifest: StageManifest = self._manifest(stage)
        infos = {file.name: file for file in manifest.files}
        sizes = files.listing(self.corpus.folder(stage))

        def opened(partition: int) -> F:
            name = self.corpus.file_name(table, partition)
            url = files.join(self.corpus.folder(stage), name)
            if sizes.get(name) != infos[name].bytes:
                raise CorpusError(f"{url} has {sizes.get(name, 'no')} bytes, its manifest says {infos[name].bytes}; {_CURE}")
            if self._verify or self._skip or table != "regions" and files.is_local(url):
                checked.check_any(url, infos[name].sha256)
            return opener(url)

        found: list[F | None] = []
        wanted = [with_ is None or with_[partition] is not None for partition in range(self.corpus.partitions)]
        with ThreadPoolExecutor() as pool:  # hashing takes most of the time of opening a corpus, and releases the interpreter
            tasks = [pool.submit(opened, partition) if whole else None for partition, whole in enumerate(wanted)]
            for partition, task in enumerate(tasks):
                name = self.corpus.file_name(table, partition)
                try:
                    found.append(task.result() if task else None)
                except (CorpusError, SchemaError) as error:
                    if not self._skip:
                        pool.shutdown(cancel_futures=True)
                        raise
                    log.warning("skipped %s: %s", name, error)
                    found.append(None)
                if found[-1] is None and table.endswith("_index"):
                    self.skipped[table.replace("_index", "s")] += infos[name].rows
        return found


def _reader(schema: pa.Schema) -> Callable[[str], pa.Table]:
    def read(url: str) -> pa.Table:
        with TableFile(url, name_of(schema), schema) as file:
            return file.read(schema.names)

    return read


def _held(file: F | None) -> F:
    assert file is not None  # no row of a skipped partition is in an index
    return file


class Index:
    """An index table, all partitions concatenated in memory. columns: arrays by name, null as -1. rows: their number."""

    def __init__(self, partitions: Sequence[pa.Table | None], schema: pa.Schema):
        self._starts = np.cumsum([0, *(table.num_rows if table is not None else 0 for table in partitions)])
        self.rows = int(self._starts[-1])
        whole = pa.concat_tables([schema.empty_table(), *(table for table in partitions if table is not None)])
        self.columns = {name: _numbers(whole[name]) for name in schema.names}

    def partitions(self, rows: np.ndarray) -> np.ndarray:
        """The partition of each row."""
        return np.searchsorted(self._starts, rows, side="right") - 1

    def locate(self, rows: np.ndarray) -> list[tuple[int, int]]:
        """The partition of each row, and the row's number in it."""
        found = self.partitions(rows)
        return list(zip(found.tolist(), (rows - self._starts[found]).tolist(), strict=True))

    def find(self, column: str, values: np.ndarray) -> np.ndarray:
        """The first row with each value in an ascending column, int64 [n]; -1 where there is none."""
        held = self.columns[column]
        if not len(held):
            return np.full(len(values), -1)
        rows = np.minimum(np.searchsorted(held, values), len(held) - 1)
        return np.where(held[rows] == values, rows, -1)

    def at(self, column: str, rows: np.ndarray) -> np.ndarray:
        """The values of a column in these rows, 0 where the row is -1."""
        return np.where(rows >= 0, self.columns[column][rows] if self.rows else 0, 0)


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray((column.fill_null(-1) if column.null_count else column).to_numpy())
