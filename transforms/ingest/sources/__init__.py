"""Readers of existing collections: one settings class per format, selected in a configuration by `format`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from transforms.ingest.sources import texts
from transforms.ingest.sources.base import Source, Split
from transforms.ingest.sources.coco import CocoSource
from transforms.ingest.sources.delimited import DelimitedSource
from transforms.ingest.sources.folder import FolderSource
from transforms.ingest.sources.json_captions import BlipSource, KarpathySource, SbuSource
from transforms.ingest.sources.parquet import ParquetSource
from transforms.ingest.sources.vcr import VcrSource
from transforms.ingest.sources.webdataset import WebDatasetSource

PairSource = Annotated[
    CocoSource | KarpathySource | BlipSource | SbuSource | VcrSource | DelimitedSource | WebDatasetSource | ParquetSource | FolderSource,
    Field(discriminator="format"),
]
TextSource = Annotated[
    texts.TextSource | texts.MarkdownSource | texts.JsonLinesSource | texts.ParquetTextSource, Field(discriminator="format")
]

__all__ = ["PairSource", "Source", "Split", "TextSource"]
