"""Compares two tables row by row, in one merge in the global order, which does not depend on the number of partitions.

Both sides are streamed as record batches in order of placement (`schemas/ids.py`) and cut into stretches at the same placements. Within
a stretch, rows are matched by identity and compared column by column, with no Python object per row. Memory: a few record batches per
side, and all rows of the image that has the most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas import checked, ids
from schemas.corpus import Corpus
from schemas.corpus_hash import is_layout
from schemas.errors import CorpusError

_PULL_ROWS, _PULL_BYTES = 8192, 8 << 20  # what one side reads at a time, in whole record batches
_END = np.iinfo(np.int64).max

# The columns that identify a row, by table; for other tables, the first of `_IDS` that they have.
_IDENTITY = {
    "rewrites": ("pair_id", "polarity", "level", "kind", "text"), "matches": ("query_id", "modality", "matched_id"),
    "vocabulary": ("kind", "first", "second", "third"), "tokenizer": ("file",), "pair_index": ("image", "key")}  # fmt: skip
_IDS = ("pair_id", "image_id", "text_id", "image", "placement")


def identity(table: str, schema: pa.Schema) -> tuple[str, ...]:
    """The columns that identify a row of a table; empty when its rows have no identity."""
    known = _IDENTITY.get(table, ())
    if known and all(name in schema.names for name in known):
        return known
    return next(((name,) for name in _IDS if name in schema.names), ())


@dataclass(frozen=True)
class Piece:
    """n rows of a table and their placements, int64 [n]."""

    placements: np.ndarray
    rows: pa.Table


class TableReader:
    """Reads one table of one corpus; dictionary columns are decoded.

    Raises as `schemas.checked.opened` does, and CorpusError when a file is damaged or its rows are out of order.
    """

    def __init__(self, corpus: Corpus, stage: str, table: str):
        self._corpus, self._stage, self._table = corpus, stage, table
        self._pairs: _Pairs | None = None

    def schema(self, partition: int) -> pa.Schema:
        """The schema as stored, whatever its version."""
        with self._open(self._table, partition) as source:
            return self._file(source, partition).schema

    def pieces(self, partitions: Iterable[int], columns: Sequence[str]) -> Iterator[Piece]:
        """The given columns of these partitions' rows, in order."""
        last = -1
        for partition in partitions:
            for batch in self._batches(partition):
                placed = self._placements(batch, partition)
                if len(placed) and (placed[0] < last or (np.diff(placed) < 0).any()):
                    raise CorpusError(f"{self._url(partition)}: its rows are not in the order of the corpus: run `cmcl verify` for details")
                last = int(placed[-1]) if len(placed) else last
                yield Piece(placed, pa.table({name: plain(batch[name]) for name in columns}))

    def _batches(self, partition: int) -> Iterator[pa.RecordBatch]:
        with self._open(self._table, partition) as source:
            file = self._file(source, partition)
            try:
                for index in range(file.num_record_batches):
                    yield file.get_batch(index)
            except (pa.ArrowException, OSError) as error:
                raise CorpusError(f"{self._url(partition)} is damaged ({error})") from error

    def _placements(self, batch: pa.RecordBatch, partition: int) -> np.ndarray:
        names = batch.schema.names
        for name in ("image_id", "text_id"):
            if name in names:
                return placements_of(batch[name])
        for name in ("image", "placement"):
            if name in names and pa.types.is_int64(batch.schema.field(name).type):
                return batch[name].to_numpy(zero_copy_only=False)
        if partition >= 0 and "pair_id" in names:
            return self._placements_of_pairs(batch["pair_id"], partition)
        if partition >= 0 and {"query_id", "modality"} <= set(names):  # the query for images is an image, that for texts a pair
            of_images = pc.all(pc.equal(batch["modality"].cast(pa.string()), "image")).as_py()
            return placements_of(batch["query_id"]) if of_images else self._placements_of_pairs(batch["query_id"], partition)
        return np.zeros(batch.num_rows, np.int64)

    def _placements_of_pairs(self, pair_ids: pa.Array, partition: int) -> np.ndarray:
        """Placements of rows that carry only a pair id: those of the pairs' images."""
        if self._pairs is None or self._pairs.partition != partition:
            self._pairs = _Pairs(partition, TableReader(self._corpus, "pairs", "pairs")._batches(partition))
        placed = self._pairs.placements(pair_ids)
        if lost := int((placed < 0).sum()):
            raise CorpusError(
                f"{self._url(partition)}: {lost} rows name a pair that is not in the partition, or out of the pairs' order: "
                "run `cmcl verify` for details"
            )
        return placed

    def _open(self, table: str, partition: int) -> pa.NativeFile:
        sha256 = self._corpus.content(self._stage, table, partition)
        url = self._corpus.table_url(self._stage, table, partition)
        if sha256 is None:
            raise CorpusError(f"{url} is in no manifest: run `cmcl verify` for details")
        return checked.opened(url, sha256, mapped=False)

    def _file(self, source: pa.NativeFile, partition: int) -> pa.RecordBatchFileReader:
        try:
            return pa.ipc.open_file(source)
        except pa.ArrowInvalid as error:
            raise CorpusError(f"{self._url(partition)} is not a complete Arrow file: {error}") from error

    def _url(self, partition: int) -> str:
        return self._corpus.table_url(self._stage, self._table, partition)


class _Pairs:
    """The pairs of a partition, read along with rows in the same order, so that one batch of them is held."""

    def __init__(self, partition: int, batches: Iterator[pa.RecordBatch]):
        self.partition = partition
        self._batches = batches
        self._ids, self._placed = pa.array([], pa.string()), np.empty(0, np.int64)

    def placements(self, pair_ids: pa.Array) -> np.ndarray:
        """The placement of each row's pair, int64 [n]; -1 where no pair from the current batch on has the id."""
        coded = pair_ids.dictionary_encode()
        found = np.full(len(coded.dictionary), -1, np.int64)
        while True:
            at = pc.index_in(self._ids, value_set=coded.dictionary)
            known = _valid(at)
            found[at.drop_null().to_numpy()] = self._placed[known]
            batch = None if (found >= 0).all() else next(self._batches, None)
            if batch is None:
                return found[coded.indices.to_numpy()]
            self._ids, self._placed = batch["pair_id"], placements_of(batch["image_id"])


def placements_of(row_ids: pa.Array) -> np.ndarray:
    """The placement of each id, int64 [n]; repeated ids are hashed once."""
    coded = row_ids.dictionary_encode()
    return ids.placements(coded.dictionary.to_pylist())[coded.indices.to_numpy()] if len(row_ids) else np.empty(0, np.int64)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    made = column.combine_chunks()
    return made if isinstance(made, pa.Array) else pa.concat_arrays(made.chunks)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type with dictionaries replaced by their value types."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(plain_type(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(plain_type(kind.value_type)))
    return kind


def plain(array: pa.Array) -> pa.Array:
    """The column with dictionaries decoded, since they differ from file to file."""
    kind = plain_type(array.type)
    return array if kind == array.type else array.cast(kind)


class _Held:
    """The rows of one side that were read but not yet consumed."""

    def __init__(self, pieces: Iterator[Piece]):
        self._source = pieces
        self.pieces: list[Piece] = []
        self.ended = False
        self.pull()

    @property
    def last(self) -> int:
        """Rows below this placement have all been read."""
        return _END if self.ended else int(self.pieces[-1].placements[-1])

    def pull(self) -> None:
        """Reads more rows: at least one, unless the side has ended."""
        rows = size = 0
        while rows < _PULL_ROWS and size < _PULL_BYTES:
            piece = next(self._source, None)
            if piece is None:
                self.ended = True
                return
            if len(piece.placements):
                self.pieces.append(piece)
                rows, size = rows + len(piece.placements), size + piece.rows.nbytes

    def below(self, limit: int, empty: pa.Table) -> pa.Table:
        """Removes and returns the rows below a placement; all rows when it is `_END`."""
        taken: list[pa.Table] = []
        while self.pieces:
            piece = self.pieces[0]
            count = len(piece.placements) if limit == _END else int(np.searchsorted(piece.placements, limit))
            taken.append(piece.rows.slice(0, count))
            if count < len(piece.placements):
                self.pieces[0] = Piece(piece.placements[count:], piece.rows.slice(count))
                break
            self.pieces.pop(0)
        return pa.concat_tables(taken) if taken else empty


def stretches(left: Iterator[Piece], right: Iterator[Piece], empty: pa.Table) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Both sides cut at the same placements, in order; rows of the same placement stay together. `empty`: a table without rows."""
    held = _Held(left), _Held(right)
    while any(side.pieces for side in held):
        limit = min(side.last for side in held)
        taken = held[0].below(limit, empty), held[1].below(limit, empty)
        if taken[0].num_rows or taken[1].num_rows:
            yield taken
        for side in held:
            if side.last == limit and not side.ended:
                side.pull()


def matched(left: pa.Table, right: pa.Table, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the rows with the same identity, int64 [m] per side, ascending on the left; the nth duplicate matches the nth."""
    if left.num_rows == right.num_rows and all(left[name].equals(right[name]) for name in names):
        return np.arange(left.num_rows), np.arange(right.num_rows)
    codes = np.zeros(left.num_rows + right.num_rows, np.int64)
    for name in names:
        column = _whole(pa.chunked_array([*left[name].chunks, *right[name].chunks], left[name].type)).dictionary_encode()
        indices = column.indices.fill_null(-1).to_numpy().astype(np.int64) + 1
        codes = np.unique(codes * (len(column.dictionary) + 1) + indices, return_inverse=True)[1]
    one, other = _numbered(codes[: left.num_rows]), _numbered(codes[left.num_rows :])
    many = int(max(one.max(initial=0), other.max(initial=0))) + 1
    _, at, there = np.intersect1d(
        codes[: left.num_rows] * many + one, codes[left.num_rows :] * many + other, assume_unique=True, return_indices=True
    )
    order = np.argsort(at)
    return at[order], there[order]


def _numbered(codes: np.ndarray) -> np.ndarray:
    """The number of equal codes before each, int64 [n]."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    found = np.empty(len(codes), np.int64)
    found[order] = np.arange(len(codes)) - np.repeat(starts, np.diff(np.append(starts, len(codes))))
    return found


def out_of_order(there: np.ndarray) -> int:
    """The number of matched rows that now follow a row that they preceded."""
    return int((there[1:] < np.maximum.accumulate(there)[:-1]).sum()) if len(there) > 1 else 0


def taken(column: pa.ChunkedArray, rows: np.ndarray) -> pa.Array:
    """Rows of a column, without a copy when that is all of them."""
    array = _whole(column)
    return array if len(rows) == len(array) and (np.diff(rows) == 1).all() else array.take(pa.array(rows))


def same_values(one: pa.Array, other: pa.Array) -> np.ndarray:
    """Whether each row of two decoded columns of one type is equal, bool [n]: nulls are equal, floats are compared by their bits, and
    nested layout fields are ignored."""
    kind = one.type
    if pa.types.is_struct(kind):
        fields = [at for at in range(kind.num_fields) if not is_layout(kind.field(at))]
        parts = (same_values(pc.struct_field(one, at), pc.struct_field(other, at)) for at in fields)
        return _alike(one, other, lambda: np.logical_and.reduce([np.ones(len(one), bool), *parts]))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _same_lists(one, other)
    if pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_boolean(kind) or pa.types.is_large_string(kind):
        return _alike(one, other, lambda: pc.equal(one, other).fill_null(False).to_numpy(zero_copy_only=False))
    if pa.types.is_null(kind):
        return np.ones(len(one), bool)
    return _alike(one, other, lambda: (_bits(one) == _bits(other)).all(axis=1))


def _alike(one: pa.Array, other: pa.Array, values: Callable[[], np.ndarray]) -> np.ndarray:
    valid, there = _valid(one), _valid(other)
    return (valid == there) & (~valid | values())


def _valid(array: pa.Array) -> np.ndarray:
    return np.ones(len(array), bool) if not array.null_count else array.is_valid().to_numpy(zero_copy_only=False)


def _bits(array: pa.Array) -> np.ndarray:
    """The bytes of each value of fixed width, uint8 [n, width]."""
    width = array.type.byte_width
    held = array.buffers()[1]
    if held is None or not len(array):
        return np.zeros((len(array), width), np.uint8)
    return np.frombuffer(held, np.uint8, len(array) * width, array.offset * width).reshape(len(array), width)


def _same_lists(one: pa.Array, other: pa.Array) -> np.ndarray:
    lengths, others = (pc.list_value_length(array).fill_null(-1).to_numpy(zero_copy_only=False) for array in (one, other))
    same = lengths == others
    if not same.all():
        rows = pa.array(np.flatnonzero(same))
        one, other = one.take(rows), other.take(rows)
    kept = np.maximum(lengths[same], 0).astype(np.int64)
    wrong = np.flatnonzero(~same_values(one.flatten(), other.flatten()))
    owners = np.searchsorted(np.cumsum(kept), wrong, side="right")
    found = np.ones(len(kept), bool)
    found[owners] = False
    same[same] = found
    return same
