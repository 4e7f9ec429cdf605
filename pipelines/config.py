"""The configuration of a corpus: one YAML file, validated before any work.

Every model forbids unknown keys; an error names the key, what is wrong with it, and the nearest key that exists.
Relative paths are taken from the folder of the file.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Any

import fsspec
from pydantic import ConfigDict, Field, create_model, field_validator, model_validator

from pipelines.stages import STAGES
from schemas.corpus import MAX_PARTITIONS
from schemas.errors import ConfigError
from schemas.settings import read_settings, resolved, validated
from transforms.images.probe import ImageLimits
from transforms.ingest.clean import CleanRules
from transforms.ingest.exclusions import ExclusionRules
from transforms.ingest.limits import Limits
from transforms.ingest.sources import PairSource, TextSource

_fields: dict[str, Any] = {entry.key: entry.field for entry in STAGES if entry.settings}
_StageKeys: Any = create_model("_StageKeys", **_fields)


class Config(_StageKeys):
    """One corpus: what goes in, what is made of it, and where it goes. The keys of stages are those of `pipelines.stages.STAGES`.

    Raises (through `load_config`) ConfigError for unknown keys and wrong values.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    corpus: str = Field(min_length=1, description="where the corpus is made: a folder or any fsspec URL")
    seed: int = Field(0, ge=0, lt=2**63, description="the seed of every random choice")
    partitions: int = Field(16, ge=1, le=MAX_PARTITIONS, description="files that each table is cut in, and tasks of each stage; "
                            "one should fit in memory a few times over")
    resources: dict[str, dict[typing.Literal["min_ram", "accelerator", "cpu_count"], str]] = Field(
        default_factory=dict, description="by stage: Beam resource hints (min_ram, accelerator, cpu_count) in place of its own; "
        "heeded on Dataflow")
    workers: int = Field(1, ge=1, description="processes of the local runner")
    max_rejected: float = Field(0.05, ge=0, le=1, description="share of a stage's rows that may be rejected before the run "
                                "fails, after writing its report")
    pixels: bool = Field(True, description="open and check the images; false: a run on captions alone")
    compression: typing.Literal["lz4", "zstd"] | None = Field(
        None, description="of record batches; null keeps local reads free of copies")
    pairs: list[PairSource] = Field(min_length=1, description="collections of image-text pairs, at least one")
    images: list[PairSource] = Field(default_factory=list, description="collections of images without captions")
    texts: list[TextSource] = Field(default_factory=list, description="collections of text without images")
    captions: CleanRules = Field(default_factory=CleanRules, description="cleaning of captions")
    sentences: CleanRules = Field(default_factory=CleanRules, description="cleaning of the text collections' sentences")
    image_limits: ImageLimits = Field(default_factory=ImageLimits, description="which images are taken")
    limits: Limits = Field(default_factory=Limits, description="bounds on what one input may cost")
    exclude: ExclusionRules = Field(
        default_factory=ExclusionRules, description="images of downstream validation and test sets, left out")

    @field_validator("corpus")
    @classmethod
    def _a_place(cls, value: str) -> str:
        if "\0" in value:
            raise ValueError("a path cannot hold a null byte")
        protocol = value.partition("://")[0] if "://" in value else "file"
        if protocol not in fsspec.available_protocols():
            raise ValueError(f"{protocol!r} is no filesystem that fsspec knows")
        return value

    @model_validator(mode="after")
    def _names_differ(self) -> Config:
        for kind in ("pairs", "images", "texts"):
            names = [source.name for source in getattr(self, kind)]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{kind}: the name {twice[0]!r} is given to two collections; names make ids, so they must differ")
        for entry in STAGES:
            if entry.pixels and getattr(self, entry.key) and not self.pixels:
                raise ValueError(f"{entry.key} needs pixels: true, since it opens the images")
            if entry.instead_of and getattr(self, entry.key) and getattr(self, entry.instead_of):
                raise ValueError(f"{entry.instead_of} and {entry.key} exclude each other: both make the same tables")
        return self


# Settings of sources, lists and vocabularies that hold paths.
PLACES = frozenset({"captions", "images", "files", "shards", "flickr_files", "file", "vocabulary", "merges", "order"})
WITH_PLACES = ("exclude", *(entry.key for entry in STAGES if entry.settings))  # settings, beside those of collections, that may have some


def load_config(url: str, overrides: Sequence[str] = ()) -> Config:
    """Reads and validates a configuration.

    Args:
        url: the YAML file.
        overrides: `dotted.key=value` settings that replace the file's, values in YAML.

    Raises:
        ConfigError: the file is absent or no YAML mapping, a key is unknown, or a value is not allowed.
    """
    value, base = read_settings(url, overrides)
    return parse_config(value, base, url)


def parse_config(value: dict[str, Any], base: str, where: str = "the configuration") -> Config:
    """Validates settings; relative paths are taken from `base`. Raises ConfigError, naming `where`, the key and what is allowed."""
    try:
        placed = _placed(value, base)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return validated(Config, placed, where)


def _placed(value: dict[str, Any], base: str) -> dict[str, Any]:
    """The settings with relative paths taken from `base`."""
    def place(given: Any) -> Any:
        if isinstance(given, list):
            return [place(one) for one in given]
        if isinstance(given, dict):
            return within(given)
        return resolved(given, base) if isinstance(given, str) else given

    def within(settings: Any) -> Any:
        return {key: place(held) if key in PLACES else held for key, held in settings.items()} if isinstance(settings, dict) else settings

    placed = dict(value)
    for kind in ("pairs", "images", "texts"):
        if isinstance(value.get(kind), list):
            placed[kind] = [within(source) for source in value[kind]]
    for name in WITH_PLACES:
        if name in value:
            placed[name] = within(value[name])
    if "corpus" in value:
        placed["corpus"] = place(value["corpus"])
    return placed
