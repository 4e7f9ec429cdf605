"""Checks a corpus: bytes against recorded hashes, schemas, order, ids and references; discards the records of damaged tasks."""

from __future__ import annotations

from pipelines.check_files import Finding, file_faults
from pipelines.check_tables import table_faults
from pipelines.location import check_links
from schemas import files
from schemas.corpus import ROOT_FILES, Corpus, Index
from schemas.corpus_hash import hash_table
from schemas.errors import CorpusError
from schemas.manifest import fingerprint, load_manifest


def verify(corpus: Corpus, index: Index) -> list[Finding]:
    """All faults of a corpus, stage by stage. Memory: 16 bytes per pair, and one partition of a table."""
    findings = list(file_faults(corpus, index))
    damaged = {(finding.stage, finding.partition) for finding in findings if finding.partition is not None}
    unfinished = {entry.stage for entry in index.stages if corpus.manifest(entry.stage) is None}
    kept = [entry for entry in index.stages if entry.stage not in unfinished]
    return findings + list(table_faults(corpus, Index(index.format, index.partitions, index.seed, kept), damaged))


def forget(corpus: Corpus, findings: list[Finding]) -> int:
    """Removes the records of faulty tasks and their stages' manifests, so that the next run repeats these tasks; returns their number.

    Tasks downstream of damaged files are kept: tasks only read bytes that match their hash. Foreign files are left alone.

    Raises CorpusError when a file or folder of the corpus is a link.
    """
    check_links(corpus, {finding.stage: [] for finding in findings if finding.stage})
    tasks = {(finding.stage, finding.partition) for finding in findings if finding.partition is not None}
    gone = sum(_removed(corpus.record_url(stage, partition)) for stage, partition in sorted(tasks))
    for stage in {finding.stage for finding in findings if finding.stage and not finding.foreign}:
        _removed(corpus.manifest_url(stage))
    files.sweep_temporaries(corpus.url, ROOT_FILES.__contains__)
    return gone


def _removed(url: str) -> bool:
    folder, _, name = url.rpartition("/")
    there = name in files.listing(folder)
    if there:
        files.remove(folder, [name])
    return there


def corpus_hash(corpus: Corpus, index: Index) -> dict[str, str]:
    """The hash of each table, by `stage/table`, and under `corpus` one over all of them.

    Tables that only serve other stages are left out. The order of `rejects` depends on the partitioning, so their number of rows per
    reason is hashed instead.

    Raises CorpusError when a stage is incomplete or a file is damaged.
    """
    hashed = [entry for entry in index.stages if entry.hashed]
    try:
        hashes = {
            f"{entry.stage}/{table}": hash_table(corpus, entry.stage, table, entry.corpus_wide)
            for entry in hashed
            for table in entry.hashed
        }
        for entry in hashed:
            hashes[f"{entry.stage}/rejects"] = fingerprint(load_manifest(corpus.manifest_url(entry.stage)).counts.reasons)
    except FileNotFoundError as error:
        raise CorpusError(f"{error.filename or error} is missing: `cmcl run` builds it") from None
    hashes["corpus"] = fingerprint(hashes)
    return hashes
