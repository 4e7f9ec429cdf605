"""A large corpus that repeats a small one, of one partition, for other images: written by Arrow alone, in seconds."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.corpora import partitions_of
from benchmarks.training_corpus import commit
from schemas import ids
from schemas.corpus import Corpus, open_corpus, write_index
from schemas.manifest import Counts, TaskRecord
from schemas.store import FileInfo, TableWriter

_KEYS = {"rewrites": "pair_id", "graphs": "pair_id", "rejects": "id"}  # the columns that name a pair


def write_repeated(source: Path, target: Path, captions: int, partitions: int, changed: bool = False) -> None:
    """Writes `captions` pairs with what the stages of `source` wrote about them; `changed`: one in a hundred has other words."""
    held, index = open_corpus(str(source))
    corpus = Corpus(str(target), partitions)
    pairs = _pairs(held, captions, changed)
    parts = partitions_of(pairs, partitions)
    entries = []
    for entry in index.stages:
        manifest = held.manifest(entry.stage)
        if entry.corpus_wide or manifest is None or not entry.hashed or entry.stage == "examples":
            continue
        made = {file.table: _Grouped(held, entry.stage, file.table) for file in manifest.files if file.table in _KEYS}
        records = []
        for part, own in enumerate(parts):
            tables = {table: grouped.rows_of(own) for table, grouped in made.items()}
            if entry.stage == "pairs":
                tables |= {name: _first(held, name, own) for name in ("images", "pairs")}
            written = [_write(corpus, entry.stage, name, part, table) for name, table in tables.items()]
            reasons = _reasons(tables["rejects"]) if "rejects" in tables else {}
            rows = {name: table.num_rows for name, table in tables.items() if name != "rejects"}
            counts = Counts(rows_in=own.num_rows, rows_out=rows, dropped=sum(reasons.values()), reasons=reasons)
            records.append(TaskRecord(entry.stage, part, "", written, counts, 0))
        total = Counts()
        for record in records:
            total.add(record.counts)
        entries.append(replace(commit(corpus, 0, entry.stage, records, total), hashed=sorted(total.rows_out)))
    write_index(corpus, 0, entries)


def _pairs(held: Corpus, captions: int, changed: bool) -> pa.Table:
    """Columns image_id, caption, pair_id and `of`, the row of the pair that it repeats."""
    with held.open("pairs", "pairs", 0) as file:
        known = file.read(["image_id", "caption"])
    number = np.arange(captions)
    of = number % known.num_rows
    texts, images = known["caption"].to_pylist(), known["image_id"].to_pylist()
    said = [texts[row] + (" indeed" if changed and at % 100 == 0 else "") for at, row in zip(number.tolist(), of.tolist(), strict=True)]
    named = [f"{images[row]}-{again}" for row, again in zip(of.tolist(), (number // known.num_rows).tolist(), strict=True)]
    pair_ids = [ids.pair_id(image, text) for image, text in zip(named, said, strict=True)]
    return pa.table({"image_id": named, "caption": said, "pair_id": pair_ids, "of": of})


class _Grouped:
    """A table's rows about pairs, by the pair's row."""

    def __init__(self, held: Corpus, stage: str, table: str):
        with held.open("pairs", "pairs", 0) as file:
            known = file.read(["pair_id"])["pair_id"]
        with held.open(stage, table, 0) as file:
            rows = file.read()
        self._name = _KEYS[table]
        at = pc.index_in(rows[self._name].combine_chunks(), value_set=known.combine_chunks()).fill_null(-1).to_numpy().astype(np.int64)
        order = np.argsort(at, kind="stable")
        self._rows = rows.take(pa.array(order)).combine_chunks()
        self._starts = np.searchsorted(at[order], np.arange(len(known) + 1))

    def rows_of(self, pairs: pa.Table) -> pa.Table:
        """The rows about these pairs, in their order, with their ids."""
        of = pairs["of"].to_numpy()
        counts = self._starts[of + 1] - self._starts[of]
        owners = np.repeat(np.arange(len(of)), counts)
        rows = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts) + self._starts[of][owners]
        found = self._rows.take(pa.array(rows))
        at = found.schema.get_field_index(self._name)
        return found.set_column(at, found.schema.field(at), pairs["pair_id"].take(pa.array(owners)))


def _first(held: Corpus, name: str, own: pa.Table) -> pa.Table:
    """The rows of `images` or `pairs`."""
    with held.open("pairs", name, 0) as file:
        schema = file.schema
    images = own["image_id"].to_pylist()
    new = [row for row, image in enumerate(images) if row == 0 or images[row - 1] != image]
    rows = own.take(pa.array(new, pa.int64())) if name == "images" else own
    columns = {"image_id": rows["image_id"], "source": pa.array(["made"] * rows.num_rows, pa.string())}
    if name == "pairs":
        columns |= {"pair_id": rows["pair_id"], "caption": rows["caption"]}
    return pa.table({field.name: columns.get(field.name, pa.nulls(rows.num_rows, field.type)) for field in schema}, schema=schema)


def _reasons(rejects: pa.Table) -> dict[str, int]:
    return Counter(rejects["reason"].cast(pa.string()).to_pylist())


def _write(corpus: Corpus, stage: str, table: str, part: int, rows: pa.Table) -> FileInfo:
    with TableWriter(corpus.table_url(stage, table, part), rows.schema) as writer:
        writer.write(rows)
    assert writer.info
    return writer.info
