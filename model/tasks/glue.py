"""What the tasks of GLUE (Wang et al. 2019, arXiv 1804.07461) share: tables with tabs; some columns are texts, one is the label."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from model.batch import Stream
from model.tasks.base import Classification, Row, Task, class_rows
from model.tasks.published import read_tsv


class Glue(Task):
    """A table a split; texts, label: names of columns. header: the columns of files without a header line."""

    streams: ClassVar[tuple[Stream, ...]] = ("texts",)
    files: ClassVar[dict[str, tuple[str, ...]]] = {"train": ("train.tsv",), "dev": ("dev.tsv",)}
    texts: ClassVar[tuple[str, ...]]
    label: ClassVar[str]
    header: ClassVar[tuple[str, ...] | None] = None

    def table(self, split: str) -> Iterator[tuple[str, tuple[str, ...], str, tuple[str, ...]] | str]:
        """Name, texts, label and images (none) of each row; or why it cannot be read."""
        for found in read_tsv(self.urls(split)[0], (*self.texts, self.label), self.header):
            if isinstance(found, str):
                yield found
            else:
                number, row = found
                yield f"{split}:{number}", tuple(row[column] for column in self.texts), row[self.label].strip(), ()


class GlueClassification(Glue, Classification):
    """A task of GLUE whose label is a class."""

    def read(self, split: str) -> Iterator[Row | str]:
        """The rows of a split."""
        return class_rows(self.table(split), self.classes)
