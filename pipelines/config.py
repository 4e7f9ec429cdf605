"""The configuration of a corpus: one YAML file, validated before any work starts.

Unknown keys are errors; an error names the key, the problem, and the closest known key. Relative paths are relative to the file's
folder.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Any

import fsspec
from pydantic import ConfigDict, Field, create_model, field_validator, model_validator

from pipelines.card_settings import CardSettings
from pipelines.stages import STAGES
from schemas.corpus import MAX_PARTITIONS
from schemas.errors import ConfigError
from schemas.retries import Waiting
from schemas.settings import read_settings, resolved, validated
from transforms.ingest.clean import CleanRules
from transforms.ingest.exclusions import ExclusionRules
from transforms.ingest.images.probe import ImageLimits
from transforms.ingest.limits import Limits
from transforms.ingest.sources import PairSource, TextSource

_fields: dict[str, Any] = {entry.key: entry.field for entry in STAGES if entry.settings}
_StageKeys: Any = create_model("_StageKeys", **_fields)


class Config(_StageKeys):
    """The configuration of one corpus: its inputs, stages and location. The stages' keys come from `pipelines.stages.STAGES`.

    `load_config` raises ConfigError for unknown keys and invalid values.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    corpus: str = Field(min_length=1, description="where to build the corpus: a folder or any fsspec URL")
    base: str | None = Field(
        None,
        min_length=1,
        description="another corpus with the same number of partitions and seed, from which tables and rows with the same inputs and "
        "settings are copied instead of being made again",
    )
    frozen: str | dict[str, str] | None = Field(
        None,
        description="corpus whose frequencies, vocabularies, indexes and tokenizer are used instead of computing them from the current "
        "rows; or a mapping of corpus-wide stages to corpora",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="seed of all random choices")
    partitions: int = Field(
        16,
        ge=1,
        le=MAX_PARTITIONS,
        description="number of files per table and of tasks per stage; a partition should fit in memory several times over",
    )
    resources: dict[str, dict[typing.Literal["min_ram", "accelerator", "cpu_count"], str]] = Field(
        default_factory=dict,
        description="Beam resource hints by stage (min_ram, accelerator, cpu_count), overriding its own; used on Dataflow",
    )
    workers: int = Field(1, ge=1, description="number of worker processes of the local runner")
    max_rejected: float = Field(
        0.05, ge=0, le=1, description="share of a stage's rows that may be rejected; above it, the run fails after writing its report"
    )
    pixels: bool = Field(True, description="open and check the images; false: use captions only")
    portable: bool = Field(
        True,
        description="restrict the engines to x86-64-v3 instructions (AVX2, FMA), so that all such CPUs build the "
        "same corpus, in 1.07 times the processor time of a CPU with AVX512; false: use the widest that each CPU supports",
    )
    compression: typing.Literal["lz4", "zstd"] | None = Field(
        None, description="compression of record batches; null allows zero-copy local reads"
    )
    pairs: list[PairSource] = Field(min_length=1, description="collections of image-text pairs, at least one")
    images: list[PairSource] = Field(default_factory=list, description="collections of images without captions")
    texts: list[TextSource] = Field(default_factory=list, description="text collections without images")
    captions: CleanRules = Field(default_factory=CleanRules, description="cleaning of captions")
    sentences: CleanRules = Field(default_factory=CleanRules, description="cleaning of the text collections' sentences")
    image_limits: ImageLimits = Field(default_factory=ImageLimits, description="which images are accepted")
    limits: Limits = Field(default_factory=Limits, description="limits on the size of a single input")
    waiting: Waiting = Field(default_factory=Waiting, description="retries and time-outs for stores and web servers")
    card: CardSettings = Field(default_factory=CardSettings, description="content of the dataset card that only you know (`cmcl card`)")
    exclude: ExclusionRules = Field(
        default_factory=ExclusionRules, description="images to leave out, such as downstream validation and test sets"
    )

    @field_validator("corpus")
    @classmethod
    def _is_location(cls, value: str) -> str:
        if "\0" in value:
            raise ValueError("a path cannot contain a null byte")
        protocol = value.partition("://")[0] if "://" in value else "file"
        if protocol not in fsspec.available_protocols():
            raise ValueError(f"{protocol!r} is not a protocol that fsspec knows")
        return value

    @model_validator(mode="after")
    def _check_names_and_keys(self) -> Config:
        for kind in ("pairs", "images", "texts"):
            names = [source.name for source in getattr(self, kind)]
            duplicated = sorted({name for name in names if names.count(name) > 1})
            if duplicated:
                raise ValueError(f"{kind}: two collections are named {duplicated[0]!r}; names are part of ids, so they must be unique")
        collections = {source.name for kind in ("pairs", "images", "texts") for source in getattr(self, kind)}
        if unknown := sorted(set(self.card.sources) - collections):
            raise ValueError(f"card.sources: no collection is named {unknown[0]!r}; the collections are {', '.join(sorted(collections))}")
        for entry in STAGES:
            if entry.pixels and getattr(self, entry.key) and not self.pixels:
                raise ValueError(f"{entry.key} requires pixels: true, because it opens the images")
            if entry.instead_of and getattr(self, entry.key) and getattr(self, entry.instead_of):
                raise ValueError(f"{entry.instead_of} and {entry.key} are mutually exclusive: both make the same tables")
        return self


# Names of settings that hold paths, in sources, exclusion lists, vocabularies and so on.
PATH_KEYS = frozenset({"captions", "images", "files", "shards", "flickr_files", "file", "vocabulary", "merges", "order", "weights"})
KEYS_WITH_PATHS = ("exclude", *(entry.key for entry in STAGES if entry.settings))  # other keys whose settings may hold paths


def load_config(url: str, overrides: Sequence[str] = ()) -> Config:
    """Reads and validates a configuration.

    Args:
        url: the YAML file.
        overrides: `dotted.key=value` settings that override the file's; values in YAML.

    Raises:
        ConfigError: the file is missing or not a YAML mapping, a key is unknown, or a value is invalid.
    """
    value, base = read_settings(url, overrides)
    return parse_config(value, base, url)


def parse_config(value: dict[str, Any], base: str, where: str = "the configuration") -> Config:
    """Validates settings; relative paths are relative to `base`. Raises ConfigError, naming `where`, the key and the allowed values."""
    try:
        absolute = _with_absolute_paths(value, base)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return validated(Config, absolute, where)


def _with_absolute_paths(value: dict[str, Any], base: str) -> dict[str, Any]:
    """The settings with paths relative to `base` made absolute."""

    def absolute(given: Any) -> Any:
        if isinstance(given, list):
            return [absolute(one) for one in given]
        if isinstance(given, dict):
            return within(given)
        return resolved(given, base) if isinstance(given, str) else given

    def within(settings: Any) -> Any:
        if not isinstance(settings, dict):
            return settings
        return {key: absolute(held) if key in PATH_KEYS else held for key, held in settings.items()}

    result = dict(value)
    for kind in ("pairs", "images", "texts"):
        if isinstance(value.get(kind), list):
            result[kind] = [within(source) for source in value[kind]]
    for name in KEYS_WITH_PATHS:
        if name in value:
            result[name] = within(value[name])
    for name in ("corpus", "base", "frozen"):
        if name in value:
            held = value[name]
            result[name] = {stage: absolute(url) for stage, url in held.items()} if isinstance(held, dict) else absolute(held)
    return result
