"""Corpus-wide stages whose output is that of an earlier corpus: frequencies, vocabularies, indexes and tokenizers held fixed.

The stages that read them then depend on their own rows alone, so adding rows leaves the rest of a corpus unchanged.
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
    """stage: the stage that would compute the tables. url: the corpus that has them. held: their files. about: its manifest's `extra`."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    stage: SummaryStage[Any]
    url: str
    held: tuple[FileInfo, ...]
    about: dict[str, Any]


@dataclass(frozen=True)
class Frozen(Stage[FrozenParams]):
    """Replaces a corpus-wide stage: writes the tables that it has in another corpus, or in an earlier state of this one."""

    corpus_wide = True

    @property
    def name(self) -> str:  # type: ignore[override]
        """The stage's name."""
        return self.params.stage.name

    @property
    def internal(self) -> bool:  # type: ignore[override]
        """As for the stage."""
        return self.params.stage.internal

    @property
    def augments(self) -> str:  # type: ignore[override]
        """As for the stage."""
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
    """The stage with its output in the corpus at `url`.

    Raises ValueError when that corpus lacks it or made it with other settings, CorpusError when there is no corpus.
    """
    corpus = open_corpus(url)[0]
    manifest, record = corpus.manifest(stage.name), corpus.record(stage.name, WHOLE)
    if record is None:
        raise ValueError(f"frozen: the stage {stage.name} of {url} is missing or incomplete: run `cmcl run` on that corpus first")
    if manifest is not None:
        before = {name: value for name, value in manifest.ingredients["settings"].items() if name != "frozen"}
        own = dict(stage.settings)
        if before != own:
            changed = (name for name in sorted({*before, *own}) if before.get(name) != own.get(name))
            differences = ", ".join(f"{name} {before.get(name)} there, {own.get(name)} here" for name in changed)
            raise ValueError(f"frozen: {url} has {stage.name} made with other settings ({differences}): use the same settings")
    held = tuple(file for file in record.files if file.table in stage.writes)
    return Frozen(FrozenParams(stage=stage, url=url, held=held, about=record.extra), compression=stage.compression)


def has_stage(url: str, stage: str) -> bool:
    """Whether the corpus at `url` has a corpus-wide stage. Raises ValueError when there is no corpus."""
    try:
        corpus: Corpus = open_corpus(url)[0]
    except CorpusError as error:
        raise ValueError(f"frozen: {error}") from None
    return corpus.record(stage, WHOLE) is not None
