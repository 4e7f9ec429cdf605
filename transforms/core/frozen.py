"""Corpus-wide stages whose output is that of an earlier corpus: frequencies, vocabularies, indexes and tokenizers held fixed.

What reads them then depends on its own rows alone, so an addition leaves the rest of a corpus as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import ConfigDict

from schemas import files
from schemas.corpus import WHOLE, Corpus, open_corpus
from schemas.errors import CorpusError
from schemas.store import FileInfo, TableFile
from transforms.core.params import Params
from transforms.core.stage import Stage, SummaryStage
from transforms.core.task import Task


class FrozenParams(Params):
    """stage: the one that would compute the tables. url: of the corpus that has them. held: their files. about: the stage's `extra`."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    stage: SummaryStage[Any]
    url: str
    held: tuple[FileInfo, ...]
    about: dict[str, Any]


@dataclass(frozen=True)
class Frozen(Stage[FrozenParams]):
    """Writes the tables of a corpus-wide stage as another corpus, or an earlier state of this one, has them."""

    corpus_wide = True

    @property
    def name(self) -> str:  # type: ignore[override]
        """That of the stage."""
        return self.params.stage.name

    @property
    def internal(self) -> bool:  # type: ignore[override]
        """As the stage."""
        return self.params.stage.internal

    @property
    def augments(self) -> str:  # type: ignore[override]
        """As the stage."""
        return self.params.stage.augments

    @property
    def writes(self) -> Mapping[str, pa.Schema]:
        """The stage's tables."""
        return self.params.stage.writes

    @property
    def settings(self) -> Mapping[str, Any]:
        """The stage's settings, and the hashes of the files."""
        return {**self.params.stage.settings, "frozen": {file.table: file.sha256 for file in self.params.held}}

    def process(self, task: Task, payload: Any) -> None:
        """Copies the tables. Raises CorpusError if their content has changed since the run was planned."""
        task.extra = dict(self.params.about)
        for file in self.params.held:
            with TableFile(files.join(self.params.url, self.name, file.name), file.table, self.writes[file.table], file.sha256) as held:
                task.write(file.table, held.read())


def frozen(stage: SummaryStage[Any], url: str) -> Frozen:
    """The stage with the output that the corpus at `url` has.

    Raises ValueError when that corpus lacks it or made it with other settings, CorpusError when there is no corpus.
    """
    corpus = open_corpus(url)[0]
    manifest, record = corpus.manifest(stage.name), corpus.record(stage.name, WHOLE)
    if record is None:
        raise ValueError(f"frozen: {url} has no complete {stage.name}")
    if manifest is not None:
        before = {name: value for name, value in manifest.ingredients["settings"].items() if name != "frozen"}
        if before != dict(stage.settings):
            raise ValueError(f"frozen: {url} made {stage.name} with other settings: {before}, here {dict(stage.settings)}")
    held = tuple(file for file in record.files if file.table in stage.writes)
    return Frozen(FrozenParams(stage=stage, url=url, held=held, about=record.extra), compression=stage.compression)


def has_stage(url: str, stage: str) -> bool:
    """Whether the corpus at `url` has a corpus-wide stage. Raises ValueError when there is no corpus."""
    try:
        corpus: Corpus = open_corpus(url)[0]
    except CorpusError as error:
        raise ValueError(f"frozen: {error}") from None
    return corpus.record(stage, WHOLE) is not None
