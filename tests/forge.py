"""Alters a corpus and reseals it, as a forger would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

import pyarrow as pa

from schemas import files
from schemas.corpus import WHOLE, Corpus, read_index
from schemas.manifest import Counts, StageManifest, load_manifest, load_record, table_contents
from schemas.seals import write_sealed
from schemas.store import TableWriter


def forge_table(corpus: Corpus, stage: str, table: str, partition: int, change: Callable[[pa.Table], pa.Table]) -> None:
    """Replaces a table with a modified one, and updates record, manifest and index to match."""
    url = corpus.table_url(stage, table, partition)
    with corpus.open(stage, table, partition) as file:
        rows = change(file.read())
    with TableWriter(url, rows.schema) as writer:
        writer.write(rows)
    info = writer.info
    assert info is not None
    record = load_record(corpus.record_url(stage, partition))
    record.files = [info if file.name == info.name else file for file in record.files]
    if table in record.counts.rows_out:
        index = read_index(corpus.url)
        if index and any(entry.stage == stage and entry.main == table for entry in index.stages):
            record.counts.rows_in += info.rows - record.counts.rows_out[table]
        record.counts.rows_out[table] = info.rows
    write_sealed(corpus.record_url(stage, partition), record.to_json())
    forge_manifest(corpus, stage)


def forge_manifest(corpus: Corpus, stage: str, change: Callable[[StageManifest], object] = lambda manifest: None) -> None:
    """Updates a stage's manifest to its current records, applies changes to it, and updates the index to match."""
    manifest = load_manifest(corpus.manifest_url(stage))
    whole = "-1" in manifest.records
    records = [load_record(corpus.record_url(stage, partition)) for partition in ([WHOLE] if whole else range(corpus.partitions))]
    manifest.counts = Counts()
    for record in records:
        manifest.counts.add(record.counts)
    manifest.files = [file for record in records for file in record.files]
    manifest.contents = table_contents(records)
    manifest.records = {str(record.partition): record.seal for record in records}
    change(manifest)
    seal = write_sealed(corpus.manifest_url(stage), manifest.to_json())
    index = read_index(corpus.url)
    if index is None:
        return  # a stage that a test ran by itself
    stages = [replace(entry, manifest=seal) if entry.stage == stage else entry for entry in index.stages]
    write_sealed(files.join(corpus.url, "corpus.json"), asdict(replace(index, stages=stages)))
