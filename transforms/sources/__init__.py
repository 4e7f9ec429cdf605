"""Readers of what people hold: one settings class a format, told apart in a configuration by `format`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from transforms.sources import texts
from transforms.sources.base import Source, Split
from transforms.sources.coco import CocoSource
from transforms.sources.delimited import DelimitedSource
from transforms.sources.folder import FolderSource
from transforms.sources.parquet import ParquetSource
from transforms.sources.webdataset import WebDatasetSource

PairSource = Annotated[
    CocoSource | DelimitedSource | WebDatasetSource | ParquetSource | FolderSource, Field(discriminator="format")]
TextSource = Annotated[
    texts.TextSource | texts.MarkdownSource | texts.JsonLinesSource | texts.ParquetTextSource, Field(discriminator="format")]

__all__ = ["PairSource", "Source", "Split", "TextSource"]
