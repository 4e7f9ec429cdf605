"""A stage whose engine fails on certain rows, or crashes its process, controlled by files; importable by workers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa

from schemas.rejects import Reason
from schemas.tables import TEXTS
from transforms.core.params import NotFingerprinted, Params
from transforms.core.stage import Stage
from transforms.core.task import Task

ROWS, PARTITIONS = 50, 6


class EngineFailure(RuntimeError):
    """The engine's error."""


class ShakyParams(Params):
    """bad: the engine raises an error on every `bad`-th row; 0: never. fuse: a file; while it exists, the process that works on partition 3
    removes it and dies in the middle of its work."""

    bad: int = 0
    fuse: Annotated[str, NotFingerprinted()] = ""


class Shaky(Stage[ShakyParams]):
    """Processes fifty rows per partition with an engine."""

    name = "shaky"
    main_table = "texts"
    writes = {"texts": TEXTS}

    def process(self, task: Task, payload: Any) -> None:
        task.counts.rows_in = ROWS
        for row in range(ROWS):
            row_id = f"{task.partition}.{row}"
            try:
                text = self._engine(row_id, row)
            except EngineFailure as error:
                task.rejects.add(row_id, Reason.ENGINE_FAILED, str(error))
                continue
            task.write("texts", pa.table({"text_id": [row_id], "text": [text], "source": ["s"]}, schema=TEXTS))
            if row == ROWS // 2 and task.partition == 3 and self.params.fuse and Path(self.params.fuse).exists():
                Path(self.params.fuse).unlink()
                os._exit(17)

    def _engine(self, row_id: str, row: int) -> str:
        if self.params.bad and row % self.params.bad == self.params.bad - 1:
            raise EngineFailure(f"cannot do {row_id}")
        return f"text of {row_id}"
