"""Helpers for the tests of the sources."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image
from pydantic import TypeAdapter

from schemas.raw import RAW_PAIRS, RAW_TEXTS
from schemas.rejects import Reason
from transforms.ingest.sources import PairSource, Source, TextSource
from transforms.ingest.sources.base import BATCH


def pair_source(**settings: Any) -> Source:
    """Settings of a pair source, validated as in a configuration."""
    return TypeAdapter(PairSource).validate_python({"name": "c", **settings})


def text_source(**settings: Any) -> Source:
    """Settings of a text source, validated as in a configuration."""
    return TypeAdapter(TextSource).validate_python({"name": "t", **settings})


def read_all(source: Source) -> list[dict[str, Any]]:
    """Every row of a source, after checking its batches against the schema."""
    rows = []
    for split in source.splits():
        for batch in source.read(split):
            assert batch.schema in (RAW_PAIRS, RAW_TEXTS)
            assert 0 < batch.num_rows <= BATCH
            batch.validate(full=True)
            rows.extend(batch.to_pylist())
    for row in rows:
        assert row["where"]
        assert row["reason"] is None or (Reason(row["reason"]) and row["detail"])
    return rows


def good(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that the reader did not reject."""
    return [row for row in rows if row["reason"] is None]


def bad(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """(reason, detail) of the rows that the reader rejected."""
    return [(row["reason"], row["detail"]) for row in rows if row["reason"] is not None]


def reasons(rows: list[dict[str, Any]]) -> list[str]:
    """The reasons, sorted."""
    return sorted(reason for reason, _ in bad(rows))


def picture(width: int = 40, height: int = 30, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """A noise image, the same for the same arguments."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(kind: str = "JPEG", image: Image.Image | None = None, **options: Any) -> bytes:
    """`image` (default: `picture()`) in the format `kind`."""
    buffer = io.BytesIO()
    (image or picture()).save(buffer, kind, **options)
    return buffer.getvalue()
