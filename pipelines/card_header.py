"""The YAML header of a dataset card: one configuration per table, as `datasets` and the Hugging Face Hub read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipelines.diff_rows import TableReader, plain_type
from schemas import files
from schemas.corpus import WHOLE, Corpus, Index
from schemas.errors import CmclError

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"),
          (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"))  # fmt: skip
_NAMES = {pa.string(): "string", pa.large_string(): "large_string", pa.binary(): "binary", pa.float16(): "float16", pa.float32(): "float32",
          pa.float64(): "float64", pa.bool_(): "bool"}  # fmt: skip


@dataclass(frozen=True)
class CardTable:
    """A table as one configuration: its files (glob patterns in the corpus), its schema, rows and bytes.

    Tables with the same name and schema share a configuration, however many stages write them.
    """

    name: str
    schema: pa.Schema
    patterns: tuple[str, ...]
    stages: tuple[str, ...]
    rows: int
    size: int


def card_tables(corpus: Corpus, index: Index, troubles: list[str]) -> list[CardTable]:
    """The hashed tables of the finished stages, and their rejects, in the order in which stages run; `troubles` receives the rest."""
    parts: dict[str, list[CardTable]] = {}
    for part in _parts(corpus, index, troubles):
        parts.setdefault(part.name, []).append(part)
    found = []
    for name, held in parts.items():
        alike = all(part.schema.equals(held[0].schema) for part in held)
        for group in [held] if alike else [[part] for part in held]:
            found.append(
                CardTable(
                    name if alike else f"{group[0].stages[0]}_{name}",
                    group[0].schema,
                    tuple(part.patterns[0] for part in group),
                    tuple(part.stages[0] for part in group),
                    sum(part.rows for part in group),
                    sum(part.size for part in group),
                )
            )
    return found


def _parts(corpus: Corpus, index: Index, troubles: list[str]) -> Iterator[CardTable]:
    for entry in index.stages:
        manifest = corpus.manifest(entry.stage)
        if manifest is None:
            troubles.append(f"the stage {entry.stage} is not finished, or its manifest is damaged")
            continue
        if manifest.failed:
            troubles.append(f"the stage {entry.stage} failed: {manifest.failed}")
        for table in [*entry.hashed, "rejects"] if entry.hashed else []:
            held = [file for file in manifest.files if file.table == table]
            try:
                schema = TableReader(corpus, entry.stage, table).schema(WHOLE if entry.corpus_wide else 0)
            except (CmclError, OSError) as error:
                troubles.append(f"the table {table} of the stage {entry.stage} cannot be read: {error}")
                continue
            pattern = f"{table}.arrow" if entry.corpus_wide else f"{table}-*-of-{corpus.partitions:05d}.arrow"
            plain = pa.schema([pa.field(field.name, plain_type(field.type)) for field in schema])
            yield CardTable(
                table,
                plain,
                (files.join(entry.stage, pattern),),
                (entry.stage,),
                sum(file.rows for file in held),
                sum(file.bytes for file in held),
            )


def header(tables: Sequence[CardTable]) -> dict[str, Any]:
    """The keys of the header that follow from the corpus; tables without rows are left out."""
    tables = [table for table in tables if table.rows]  # `datasets` cannot open tables without rows
    names = [table.name for table in tables]
    default = next((name for name in ("examples", "pairs") if name in names), None)
    pairs = sum(table.rows for table in tables if table.name == "pairs")
    return {
        "size_categories": [next((name for limit, name in _SIZES if pairs < limit), "n>1T" if pairs >= 10**12 else "1B<n<10B")],
        "configs": [
            {
                "config_name": table.name,
                **({"default": True} if table.name == default else {}),
                "data_files": [{"split": "train", "path": list(table.patterns)}],
            }
            for table in tables
        ],
        "dataset_info": [
            {
                "config_name": table.name,
                "features": [_feature(field) for field in table.schema],
                "splits": [{"name": "train", "num_bytes": table.size, "num_examples": table.rows}],
                "download_size": table.size,
                "dataset_size": table.size,
            }
            for table in tables
        ],
    }


def _feature(field: pa.Field) -> dict[str, Any]:
    return {"name": field.name, **_kind(field.type)}


def _kind(kind: pa.DataType) -> dict[str, Any]:
    """A type as `datasets` writes it. Raises TypeError for one that no table of this project has."""
    if pa.types.is_struct(kind):
        return {"struct": [_feature(field) for field in kind]}
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = _kind(kind.value_type)
        held = inner["struct"] if "struct" in inner else inner.get("dtype", inner)
        return {"list": held, **({"length": kind.list_size} if pa.types.is_fixed_size_list(kind) else {})}
    if pa.types.is_fixed_size_binary(kind):
        return {"dtype": "binary"}
    if pa.types.is_integer(kind):
        return {"dtype": str(kind)}
    if kind not in _NAMES:
        raise TypeError(f"columns of {kind} have no counterpart in a dataset card")
    return {"dtype": _NAMES[kind]}
