"""Starts a corpus from another one, its base: copies finished tasks with the same key (`transforms/core/rows.py`: single rows)."""

from __future__ import annotations

from typing import Any

from schemas import checked, files
from schemas.corpus import Corpus
from schemas.manifest import TaskRecord
from schemas.seals import write_sealed
from transforms.core.stage import Stage


def take_over(stage: Stage[Any], corpus: Corpus, base: Corpus, partition: int, key: str) -> TaskRecord | None:
    """Copies a task's files and record from the base, if it finished there with this key; None if it did not, or files are damaged."""
    record = stage.reusable_record(base, partition, key)
    if record is None:
        return None
    for file in record.files:
        target = corpus.table_url(stage.name, file.table, partition)
        if files.copy(files.join(base.folder(stage.name), file.name), target) != file.sha256:
            return None  # the task runs, and replaces what was copied
        if files.is_local(target):
            checked.remember(target, file.sha256)
    record.seal = write_sealed(corpus.record_url(stage.name, partition), record.to_json())
    return record
