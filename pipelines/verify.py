"""Checks a corpus: bytes against manifests, schemas, order, identity and references. Names what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.place import check_links
from schemas import files, ids
from schemas.corpus import MANIFEST, WHOLE, Corpus, is_own_name
from schemas.corpus_hash import hash_table
from schemas.errors import CmclError
from schemas.manifest import StageManifest, fingerprint
from schemas.store import FileInfo


@dataclass(frozen=True)
class Finding:
    """One fault: the stage and partition (None: the stage as a whole) where it lies, and a sentence.

    foreign: it is something that the corpus did not write, which making the stage again would not change.
    """

    stage: str
    partition: int | None
    text: str
    foreign: bool = False


def verify(corpus: Corpus, index: dict[str, Any]) -> list[Finding]:
    """Every fault of a corpus, stage by stage. Memory: the pair ids (8 bytes each) and one partition of a table."""
    findings: list[Finding] = []
    names = [entry["stage"] for entry in index["stages"]]
    below = set(files.folders(corpus.url))
    for entry in index["stages"]:
        manifest = corpus.manifest(entry["stage"])
        if manifest is None:
            findings.append(Finding(entry["stage"], None, f"{entry['stage']}: no manifest: the stage never finished"))
            continue
        findings += _stage_faults(corpus, manifest, entry.get("main"))
        if entry["stage"] not in below:
            findings.append(Finding(entry["stage"], None, f"{entry['stage']}: its folder is a link", foreign=True))
    damaged = {(finding.stage, finding.partition) for finding in findings}
    if "pairs" in names and corpus.manifest("pairs"):
        findings += _reference_faults(corpus, index, damaged)
    return findings


def _stage_faults(corpus: Corpus, manifest: StageManifest, main: str | None) -> Iterator[Finding]:
    stage = manifest.stage
    if manifest.failed:
        yield Finding(stage, None, f"{stage}: failed: {manifest.failed}")
    counts = manifest.counts
    if main and counts.rows_in != counts.rows_out.get(main, 0) + counts.rejected + counts.excluded + counts.merged:
        yield Finding(stage, None, f"{stage}: {counts.rows_in} rows in, but {counts.rows_out.get(main, 0)} out + {counts.rejected} "
                                   f"rejected + {counts.excluded} excluded + {counts.merged} merged")
    held = {entry.name: entry for entry in files.entries(corpus.folder(stage))}
    found = {name: entry.size for name, entry in held.items() if entry.kind == "file"}
    for file in manifest.files:
        for text in _file_faults(corpus, stage, file, found.get(file.name)):
            yield Finding(stage, _partition_of_name(file.name), f"{stage}/{file.name}: {text}")
    known = {file.name for file in manifest.files} | {MANIFEST, "task.json"}
    for name, entry in held.items():
        if entry.kind == "link" and (name in known or is_own_name(name, [])):
            yield Finding(stage, None, f"{stage}/{name}: is a link, where the corpus has a file", foreign=True)
        elif name not in known and not (entry.kind == "file" and re.fullmatch(r"task-\d{5,}\.json", name)):
            yield Finding(stage, None, f"{stage}/{name}: not in the manifest", foreign=True)


def _file_faults(corpus: Corpus, stage: str, file: FileInfo, size: int | None) -> Iterator[str]:
    if size is None:
        yield "is missing"
        return
    url = files.join(corpus.folder(stage), file.name)
    if size != file.bytes:
        yield f"has {size} bytes, the manifest says {file.bytes}"
    elif files.sha256_of(url) != file.sha256:
        yield "its bytes are not those that were written (SHA-256 differs)"
    else:
        try:
            with corpus.open(stage, file.table, _partition_of_name(file.name)) as table:
                if table.rows != file.rows:
                    yield f"holds {table.rows} rows, the manifest says {file.rows}"
        except CmclError as error:
            yield str(error)


def _partition_of_name(name: str) -> int:
    found = re.search(r"-(\d{5,})-of-\d{5,}\.arrow$", name)
    return int(found.group(1)) if found else WHOLE


def _reference_faults(corpus: Corpus, index: dict[str, Any], damaged: set[tuple[str, int | None]]) -> Iterator[Finding]:
    """Faults between tables, in partitions whose files are whole."""
    tables = {entry["stage"]: entry["tables"] for entry in index["stages"] if corpus.manifest(entry["stage"])}
    whole = not any(stage == "pairs" for stage, _ in damaged)  # else it cannot be told which negatives come from nowhere
    everyone = _all_pair_keys(corpus) if whole else np.empty(0, np.uint64)
    for partition in range(corpus.partitions):
        if ("pairs", partition) in damaged:
            continue
        pairs = _read(corpus, "pairs", "pairs", partition)
        for text in _pair_faults(pairs, _read(corpus, "pairs", "images", partition), corpus, partition):
            yield Finding("pairs", partition, f"pairs/{partition:05d}: {text}")
        for stage, names in tables.items():
            if (stage, partition) in damaged:
                continue
            if "rewrites" in names:
                for text in _rewrite_faults(_read(corpus, stage, "rewrites", partition), pairs, everyone):
                    yield Finding(stage, partition, f"{stage}/{partition:05d}: {text}")
            if "examples" in names and not _read(corpus, stage, "examples", partition)["pair_id"].equals(pairs["pair_id"]):
                yield Finding(stage, partition, f"{stage}/{partition:05d}: its pairs are not those of the partition")


def _read(corpus: Corpus, stage: str, table: str, partition: int) -> pa.Table:
    with corpus.open(stage, table, partition) as file:
        return file.read()


def _all_pair_keys(corpus: Corpus) -> np.ndarray:
    keys = [_keys(_read(corpus, "pairs", "pairs", partition)["pair_id"]) for partition in range(corpus.partitions)]
    return np.sort(np.concatenate([*keys, np.empty(0, np.uint64)]))


def _keys(pair_ids: pa.ChunkedArray) -> np.ndarray:
    """The first 16 hex digits of each id as a number; ids that are no hex digits become 0."""
    text = pair_ids.combine_chunks()
    digits = np.array(pc.utf8_slice_codeunits(text, 0, 16).cast(pa.binary()).to_numpy(zero_copy_only=False), dtype="S16")
    codes = np.frombuffer(digits.tobytes(), np.uint8).reshape(-1, 16).astype(np.int16)
    values = np.where(codes >= ord("a"), codes - ord("a") + 10, codes - ord("0"))
    good = ((values >= 0) & (values < 16)).all(axis=1)
    powers = np.uint64(1) << (np.uint64(4) * np.arange(15, -1, -1, dtype=np.uint64))
    return np.where(good, (values.astype(np.uint64) * powers).sum(axis=1, dtype=np.uint64), 0)


def _pair_faults(pairs: pa.Table, images: pa.Table, corpus: Corpus, partition: int) -> Iterator[str]:
    orphans = pc.sum(pc.invert(pc.is_in(pairs["image_id"], images["image_id"].combine_chunks()))).as_py()
    if orphans:
        yield f"{orphans} pairs name an image that is not in the partition"
    places = ids.placements(pairs["image_id"].to_pylist())
    if len(places) and (ids.partition_of(places, corpus.partitions) != partition).any():
        yield "holds pairs of another partition"
    if (np.diff(places) < 0).any():
        yield "its pairs are not in order"
    wrong = sum(ids.pair_id(row["image_id"], row["caption"]) != row["pair_id"] for row in pairs.to_pylist())
    if wrong:
        yield f"{wrong} pair ids are not those of their content"
    if pc.count_distinct(pairs["pair_id"]).as_py() != pairs.num_rows:
        yield "a pair id stands twice"


def _rewrite_faults(rewrites: pa.Table, pairs: pa.Table, everyone: np.ndarray) -> Iterator[str]:
    rows = pc.index_in(rewrites["pair_id"], value_set=pairs["pair_id"].combine_chunks())
    if rows.null_count:
        yield f"{rows.null_count} rewrites name a pair that is not in the partition"
    elif rewrites.num_rows and (np.diff(rows.to_numpy()) < 0).any():
        yield "its rewrites are not in the order of their pairs"
    taken = rewrites.filter(pc.equal(rewrites["kind"].cast(pa.string()), "tfidf"))["origin"]
    if len(taken) and len(everyone):
        keys = _keys(taken)
        at = np.minimum(np.searchsorted(everyone, keys), len(everyone) - 1)
        strangers = int((everyone[at] != keys).sum())
        if strangers:
            yield f"{strangers} negatives come from pairs that are not in the corpus"


def forget(corpus: Corpus, findings: list[Finding]) -> int:
    """Removes the records of the tasks where faults lie, so that the next run does them again; returns how many.

    What the corpus did not write is left alone. Raises CorpusError when a file or folder of the corpus is a link.
    """
    check_links(corpus, {finding.stage: [] for finding in findings})
    tasks = {(finding.stage, partition) for finding in findings if not finding.foreign for partition in
             ([finding.partition] if finding.partition is not None else [WHOLE, *range(corpus.partitions)])}
    gone = 0
    for stage, partition in sorted(tasks):
        name = corpus.record_url(stage, partition).rpartition("/")[2]
        if name in files.listing(corpus.folder(stage)):
            files.remove(corpus.folder(stage), [name])
            gone += 1
    for stage in {stage for stage, _ in tasks}:
        if MANIFEST in files.listing(corpus.folder(stage)):
            files.remove(corpus.folder(stage), [MANIFEST])
    return gone


def corpus_hash(corpus: Corpus, index: dict[str, Any]) -> dict[str, str]:
    """The hash of each table, by `stage/table`, and under `corpus` one over all of them.

    Tables that serve other stages alone are left out. Of `rejects`, whose order within a partition hangs on where rows lie, the
    number of rows under each reason is hashed.

    Raises CorpusError or FileNotFoundError when a stage is not whole.
    """
    hashes = {f"{entry['stage']}/{table}": hash_table(corpus, entry["stage"], table)
              for entry in index["stages"] for table in entry["hashed"]}
    for entry in index["stages"]:
        manifest = corpus.manifest(entry["stage"])
        if entry["hashed"] and manifest:
            hashes[f"{entry['stage']}/rejects"] = fingerprint(manifest.counts.reasons)
    hashes["corpus"] = fingerprint(hashes)
    return hashes
