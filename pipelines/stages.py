"""The table of stages, in the order in which they run. A new stage is one entry here.

Keys of the configuration, errors that name them, and what the stages read of one another follow from it and from the stages themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from transforms.back_translation.settings import BackTranslationSettings
from transforms.engines.detectors.settings import DetectorSettings
from transforms.regions.files.stage import RegionFileSettings
from transforms.swaps.settings import SwapSettings
from transforms.tfidf.settings import TfidfSettings
from transforms.tokens.settings import TokenSettings


@dataclass(frozen=True)
class Entry:
    """One key of the configuration, and the stages that it asks for.

    key: the key; "": its stages always run. stages: where each is, `module:Class`, imported only when it is asked for: spaCy and torch
    take seconds. settings: what the key holds; None: the configuration itself says. on: made unless the key is null. pixels: makes no
    sense for a corpus of captions alone. instead_of: the key that makes the same tables, and cannot be set beside this one.
    """

    key: str
    stages: tuple[str, ...]
    settings: type[BaseModel] | None = None
    description: str = ""
    on: bool = False
    pixels: bool = False
    instead_of: str = ""

    @property
    def field(self) -> tuple[Any, Any]:
        """Type and default of the key, as pydantic wants them of a field. Raises TypeError for an entry without settings."""
        if self.settings is None:
            raise TypeError(f"the entry {self.key!r} has no settings")
        default: dict[str, Any] = {"default_factory": self.settings} if self.on else {"default": None}
        return self.settings | None, Field(**default, description=self.description)


STAGES = (
    Entry("pairs", ("transforms.ingest.stages:IngestPairs",)),
    Entry("images", ("transforms.ingest.stages:IngestImages",)),
    Entry("texts", ("transforms.ingest.stages:IngestTexts",)),
    Entry("regions", ("transforms.regions.detect:DetectRegions", "transforms.regions.detect:DetectImageRegions"), DetectorSettings,
          "Faster R-CNN regions of every image; {} for the embedded detector, null leaves them out", pixels=True),
    Entry("region_files", ("transforms.regions.files.stage:ImportRegions", "transforms.regions.files.stage:ImportImageRegions"),
          RegionFileSettings, "regions out of files that you hold, in place of a detector", instead_of="regions"),
    Entry("tfidf", tuple(f"transforms.tfidf.stages:Tfidf{name}" for name in ("Counts", "Vocabulary", "Vectors", "Champions", "Negatives")),
          TfidfSettings, "sentence-level hard negatives; null leaves them out", on=True),
    Entry("swaps", ("transforms.graphs.stage:ParseCaptions", "transforms.graphs.vocabulary:CountVocabulary",
                    "transforms.swaps.stage:SwapNegatives"),
          SwapSettings, "phrase- and word-level hard negatives from scene graphs; {} for the defaults, null leaves them out"),
    Entry("back_translation", ("transforms.back_translation.stage:BackTranslate",), BackTranslationSettings,
          "sentence-level positives, translated there and back; {} for the defaults, null leaves them out"),
    # Those above write what examples are joined from, those below read examples.
    Entry("", ("transforms.examples:Join",)),
    Entry("tokens", ("transforms.tokens.stages:MakeTokenizer", "transforms.tokens.stages:Tokenise"), TokenSettings,
          "token ids of all texts, which training reads; {} trains SentencePiece, null leaves them out"),
)
