"""Writes corpora from given rows, without a run: tables, records, manifests and index, sealed as by a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from schemas import ids
from schemas.corpus import Corpus, StageEntry, load_index, write_index
from schemas.manifest import Counts, StageManifest, TaskRecord, load_record, table_contents
from schemas.rejects import Reason, RejectLog
from schemas.seals import write_sealed
from schemas.store import FileInfo, TableWriter

Rows = Sequence[Mapping[str, Any]]


def write_corpus(
    url: Path | str,
    partitions: int,
    stages: Mapping[str, Mapping[str, tuple[pa.Schema, Rows]]],
    rejects: Mapping[str, Mapping[Reason, int]] | None = None,
    batch_rows: int = 3,
) -> Corpus:
    """A corpus of these tables, by stage and name. Rows without an image or text id are placed by the `pairs` of the stage `pairs`."""
    corpus = Corpus(str(url), partitions)
    images = {row["pair_id"]: row["image_id"] for row in stages.get("pairs", {}).get("pairs", (None, ()))[1]}
    pair_order = {pair: at for at, pair in enumerate(sorted(images, key=lambda pair: (ids.placement(images[pair]), images[pair], pair)))}

    def place_of(row: Mapping[str, Any]) -> int:
        query = row.get("query_id")
        return ids.placement(row.get("image_id") or row.get("text_id") or images.get(query, query) or images[row["pair_id"]])

    def order_of(row: Mapping[str, Any]) -> tuple[int, str, int]:
        return place_of(row), row.get("image_id") or row.get("text_id") or "", pair_order.get(row.get("pair_id") or row.get("query_id"), 0)

    entries = []
    for stage, tables in stages.items():
        records = []
        for partition in range(partitions):
            infos: list[FileInfo] = []
            for table, (schema, rows) in tables.items():
                own = [row for row in rows if ids.partition_of(np.array([place_of(row)]), partitions)[0] == partition]
                own.sort(key=order_of)
                infos.append(_write(corpus, stage, table, partition, pa.Table.from_pylist(own, schema=schema), batch_rows))
            log = RejectLog(stage)
            for reason, count in (rejects or {}).get(stage, {}).items() if partition == 0 else ():
                for at in range(count):
                    log.add(f"r{at}", reason, "")
            infos.append(_write(corpus, stage, "rejects", partition, log.table(), batch_rows))
            rows_out = {info.table: info.rows for info in infos if info.table != "rejects"}
            counts = Counts(rows_out=rows_out, dropped=sum(log.counts.values()), reasons=dict(log.counts))
            write_sealed(corpus.record_url(stage, partition), TaskRecord(stage, partition, "key", infos, counts, 0).to_json())
            records.append(load_record(corpus.record_url(stage, partition)))
        entries.append(StageEntry(stage, list(tables), None, list(tables), False, _write_manifest(corpus, stage, records)))
    write_index(corpus, 0, entries)
    assert load_index(corpus.url).partitions == partitions
    return corpus


def _write(corpus: Corpus, stage: str, table: str, partition: int, rows: pa.Table, batch_rows: int) -> FileInfo:
    with TableWriter(corpus.table_url(stage, table, partition), rows.schema, batch_rows) as writer:
        writer.write(rows)
    assert writer.info is not None
    return writer.info


def _write_manifest(corpus: Corpus, stage: str, records: list[TaskRecord]) -> str:
    total = Counts()
    for record in records:
        total.add(record.counts)
    manifest = StageManifest(
        stage,
        "f",
        {"stage": stage, "settings": {}},
        corpus.partitions,
        0,
        total,
        [file for record in records for file in record.files],
        table_contents(records),
        {str(record.partition): record.seal for record in records},
        {"pyarrow": "25"},
        0.0,
        len(records),
        "2026-01-01T00:00:00+00:00",
    )
    return write_sealed(corpus.manifest_url(stage), manifest.to_json())
