"""Parquet files of image-text pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import SourceError
from tests.transforms.ingest.source_help import encoded, good, pair_source, read_all, reasons
from tests.transforms.ingest.sources.test_webdataset import img2dataset_folder
from transforms.ingest.images.probe import probe_at, read_bytes

JPEG = encoded()


def test_parquet_of_the_datasets_library(tmp_path: Path):
    table = datasets.Dataset.from_dict(
        {"image": [{"bytes": JPEG, "path": None}, {"bytes": None, "path": "x.jpg"}], "id": [1, 2], "caption": [["one", "two"], ["three"]]}
    )
    table.to_parquet(str(tmp_path / "a.parquet"))
    rows = read_all(pair_source(format="parquet", files=str(tmp_path / "a.parquet"), image="image", key="id", url=None))
    assert [(row["key"], row["caption"]) for row in rows] == [("1", b"one"), ("1", b"two"), ("2", b"three")]
    assert read_bytes(rows[1]["uri"]) == JPEG
    assert probe_at(rows[2]["uri"]).reason == "image_missing"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"key": None}, "bad_row"),
        ({"key": ""}, "bad_row"),
        ({"key": "a\nb"}, "bad_row"),
        ({"caption": None}, "caption_missing"),
        ({"caption": []}, "caption_missing"),
        ({"caption": [None]}, "caption_missing"),
        ({"status": "failed"}, "image_not_held"),
    ],
)
def test_bad_parquet_rows(row: dict[str, Any], reason: str, tmp_path: Path):
    fine = {"key": "1", "caption": ["a"], "status": "success", "jpg": JPEG}
    kind = pa.schema([("key", pa.string()), ("caption", pa.list_(pa.string())), ("status", pa.string()), ("jpg", pa.binary())])
    if isinstance(row.get("caption", []), str):
        kind = kind.set(1, pa.field("caption", pa.string()))
    pq.write_table(pa.Table.from_pylist([fine, {**fine, **row}, {**fine, "key": "3"}], schema=kind), tmp_path / "a.parquet")
    rows = read_all(pair_source(format="parquet", files=str(tmp_path / "a.parquet")))
    assert reasons(rows) == [reason]
    found = [(one["key"], one["uri"].rpartition("#")[2]) for one in good(rows)]
    assert found == [("1", "column=jpg&row=0"), ("3", "column=jpg&row=2")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image": "png"}, "no image column 'png'"),
        ({"image": "key"}, "no image column 'key'"),
        ({"key": "id"}, "no column 'id'"),
        ({"caption": "text"}, "no column 'text'"),
        ({"key": None, "url": "link"}, "no column 'link'"),
    ],
)
def test_missing_parquet_columns_are_named(settings: dict[str, Any], message: str, tmp_path: Path):
    folder = img2dataset_folder(tmp_path, "parquet")
    with pytest.raises(SourceError, match=message):
        read_all(pair_source(format="parquet", files=f"{folder}/00000.parquet", **settings))


def test_files_that_are_not_parquet_are_named(tmp_path: Path):
    for content in (b"", b"PAR1 but not really PAR1"):
        (tmp_path / "a.parquet").write_bytes(content)
        with pytest.raises(SourceError, match="a.parquet is not a readable Parquet file"):
            read_all(pair_source(format="parquet", files=str(tmp_path / "a.parquet")))
