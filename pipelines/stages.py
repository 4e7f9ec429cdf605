"""The table of stages, in the order in which they run. A new stage requires one entry here.

The configuration's keys, errors that name them, and the stages' inputs follow from this table and the stages themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from transforms.back_translation.settings import BackTranslationSettings
from transforms.engines.detectors.settings import DetectorSettings
from transforms.examples.tokens.settings import TokenSettings
from transforms.regions.files.stage import RegionFileSettings
from transforms.retrieval.settings import RetrievalSettings
from transforms.swaps.settings import SwapSettings
from transforms.tfidf.settings import TfidfSettings
from transforms.truth.settings import TruthSettings


@dataclass(frozen=True)
class Entry:
    """One key of the configuration, and its stages.

    key: the key; "": its stages run whatever is configured, or, with `keys`, when one of those keys is. stages: each as `module:Class`,
    imported only when used: importing spaCy or torch takes seconds. settings: the type of the key's value; None: `Config` declares the
    key. on: enabled unless the key is null. pixels: requires images. instead_of: a key that makes the same tables and cannot be set at
    the same time.
    """

    key: str
    stages: tuple[str, ...]
    settings: type[BaseModel] | None = None
    description: str = ""
    on: bool = False
    pixels: bool = False
    instead_of: str = ""
    keys: tuple[str, ...] = ()

    @property
    def field(self) -> tuple[Any, Any]:
        """Type and default of the key as a pydantic field definition. Raises TypeError for an entry without settings."""
        if self.settings is None:
            raise TypeError(f"the entry {self.key!r} has no settings")
        default: dict[str, Any] = {"default_factory": self.settings} if self.on else {"default": None}
        return self.settings | None, Field(**default, description=self.description)


STAGES = (
    Entry("pairs", ("transforms.ingest.stages:IngestPairs",)),
    Entry("images", ("transforms.ingest.stages:IngestImages",)),
    Entry("texts", ("transforms.ingest.stages:IngestTexts",)),
    Entry(
        "regions",
        ("transforms.regions.detect:DetectRegions", "transforms.regions.detect:DetectImageRegions"),
        DetectorSettings,
        "Faster R-CNN regions of every image; {} uses the embedded detector, null disables them",
        pixels=True,
    ),
    Entry(
        "region_files",
        ("transforms.regions.files.stage:ImportRegions", "transforms.regions.files.stage:ImportImageRegions"),
        RegionFileSettings,
        "regions imported from existing files, instead of a detector",
        instead_of="regions",
    ),
    Entry("", ("transforms.graphs.stage:ParseCaptions",), keys=("truth", "swaps")),
    Entry(
        "truth",
        ("transforms.truth.stage:EncodeCaptions",),
        TruthSettings,
        "judge of truth, which the stages below ask whether a text is true of the image; {} for the defaults, null disables it",
    ),
    Entry("", ("transforms.retrieval.text_graphs:ParseTexts",), keys=("truth",)),
    Entry(
        "tfidf",
        tuple(f"transforms.tfidf.stages:Tfidf{name}" for name in ("Counts", "Vocabulary", "Vectors", "Champions", "Negatives")),
        TfidfSettings,
        "sentence-level hard negatives; null disables them",
        on=True,
    ),
    Entry(
        "swaps",
        (
            "transforms.graphs.vocabulary:CountVocabulary",
            "transforms.swaps.stage:SwapNegatives",
            *(f"transforms.balance.stages:{name}" for name in ("SwapCandidates", "SelectSwaps", "BalancedSwaps")),
        ),
        SwapSettings,
        "phrase- and word-level hard negatives from scene graphs; {} for the defaults, null disables them",
    ),
    Entry(
        "back_translation",
        (
            "transforms.back_translation.known_words:TranslatorWords",
            "transforms.back_translation.known_words:PairWords",
            "transforms.back_translation.stage:BackTranslate",
        ),
        BackTranslationSettings,
        "sentence-level positives by back-translation; {} for the defaults, null disables them",
    ),
    Entry(
        "retrieval",
        (
            *(f"transforms.retrieval.vector_stages:{name}" for name in ("ImageComponents", "ImageVectors", "TextVectors")),
            *(f"transforms.retrieval.index_stages:{kind}{what}" for kind in ("Image", "Text") for what in ("Index", "Shards")),
            *(f"transforms.retrieval.neighbour_stages:{kind}Neighbours" for kind in ("Image", "Text")),
            *(f"transforms.retrieval.use_stages:{kind}Caps" for kind in ("Image", "Text")),
            *(f"transforms.retrieval.match_stages:{kind}Matches" for kind in ("Image", "Text")),
            *(f"transforms.retrieval.use_stages:{kind}Uses" for kind in ("Image", "Text")),
        ),
        RetrievalSettings,
        "images and texts retrieved for each pair by FAISS; {} for the defaults, null disables them",
    ),
    # The stages above write the inputs of `examples`, those below read it.
    Entry("", ("transforms.examples.join:Join",)),
    Entry(
        "tokens",
        ("transforms.examples.tokens.stages:MakeTokenizer", "transforms.examples.tokens.stages:Tokenise"),
        TokenSettings,
        "token ids of all texts, for training; {} trains SentencePiece, null disables them",
    ),
)
