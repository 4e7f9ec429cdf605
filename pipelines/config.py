"""The configuration of a corpus: one YAML file, validated before any work.

Every model forbids unknown keys; an error names the key, what is wrong with it, and the nearest key that exists.
Relative paths are taken from the folder of the file.
"""

from __future__ import annotations

import difflib
import os
import types
import typing
from collections.abc import Hashable, Sequence
from typing import Any

import fsspec
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from schemas import files
from schemas.errors import ConfigError
from transforms.back_translation.settings import BackTranslationSettings
from transforms.engines.detectors.settings import DetectorSettings
from transforms.images.probe import ImageLimits
from transforms.ingest.clean import CleanRules
from transforms.ingest.exclusions import ExclusionRules
from transforms.ingest.limits import Limits
from transforms.ingest.sources import PairSource, TextSource
from transforms.regions.files.stage import RegionFileSettings
from transforms.swaps.settings import SwapSettings
from transforms.tfidf.settings import TfidfSettings
from transforms.tokens.settings import TokenSettings


class Config(BaseModel):
    """One corpus: what goes in, what is made of it, and where it goes.

    Raises (through `load_config`) ConfigError for unknown keys and wrong values.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    corpus: str = Field(min_length=1, description="where the corpus is made: a folder or any fsspec URL")
    seed: int = Field(0, ge=0, lt=2**63, description="the seed of every random choice")
    partitions: int = Field(16, ge=1, le=2**20, description="files that each table is cut in, and tasks of each stage")
    resources: dict[str, dict[typing.Literal["min_ram", "accelerator", "cpu_count"], str]] = Field(
        default_factory=dict, description="by stage: Beam resource hints (min_ram, accelerator, cpu_count) in place of its own")
    workers: int = Field(1, ge=1, description="processes of the local runner")
    max_rejected: float = Field(0.05, ge=0, le=1, description="share of a stage's rows that may be rejected before the run fails")
    pixels: bool = Field(True, description="open and check the images; false: a run on captions alone")
    compression: typing.Literal["lz4", "zstd"] | None = Field(
        None, description="of record batches; null keeps local reads free of copies")
    pairs: list[PairSource] = Field(min_length=1, description="collections of image-text pairs")
    images: list[PairSource] = Field(default_factory=list, description="collections of images without captions")
    texts: list[TextSource] = Field(default_factory=list, description="collections of text without images")
    captions: CleanRules = Field(default_factory=CleanRules, description="cleaning of captions")
    sentences: CleanRules = Field(default_factory=CleanRules, description="cleaning of the text collections' sentences")
    image_limits: ImageLimits = Field(default_factory=ImageLimits, description="which images are taken")
    limits: Limits = Field(default_factory=Limits, description="bounds on what one input may cost")
    exclude: ExclusionRules = Field(
        default_factory=ExclusionRules, description="images of downstream validation and test sets, left out")
    regions: DetectorSettings | None = Field(
        None, description="Faster R-CNN regions of every image; {} for the embedded detector, null leaves them out")
    region_files: RegionFileSettings | None = Field(None, description="regions out of files that you hold, in place of a detector")
    swaps: SwapSettings | None = Field(
        None, description="phrase- and word-level hard negatives from scene graphs; {} for the defaults, null leaves them out")
    back_translation: BackTranslationSettings | None = Field(
        None, description="sentence-level positives, translated there and back; {} for the defaults, null leaves them out")
    tokens: TokenSettings | None = Field(
        None, description="token ids of all texts, which training reads; {} trains SentencePiece, null leaves them out")
    tfidf: TfidfSettings | None = Field(default_factory=TfidfSettings, description="hard negatives; null leaves them out")

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
        if self.regions and self.region_files:
            raise ValueError("regions and region_files exclude each other: detect regions, or read them from files")
        if self.regions and not self.pixels:
            raise ValueError("regions needs pixels: true, since the detector opens the images")
        return self


# Settings of sources, lists and vocabularies that hold paths.
PLACES = frozenset({"captions", "images", "files", "shards", "flickr_files", "file", "vocabulary", "merges", "order"})
WITH_PLACES = ("exclude", "region_files", "tokens")  # settings, beside those of collections, that have some of these


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping, which YAML parsers commonly let the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise ConfigError(f"line {key_node.start_mark.line + 1}: a key must be plain text, not a list or mapping")
            if key in seen:
                raise ConfigError(f"line {key_node.start_mark.line + 1}: the key {key!r} stands twice")
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_config(url: str, overrides: Sequence[str] = ()) -> Config:
    """Reads and validates a configuration.

    Args:
        url: the YAML file.
        overrides: `dotted.key=value` settings that replace the file's, values in YAML.

    Raises:
        ConfigError: the file is absent or no YAML mapping, a key is unknown, or a value is not allowed.
    """
    fs, path = files.filesystem(url)
    try:
        with fs.open(path, "rb") as file:
            value = yaml.load(file.read().decode("utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration at {url}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{url} is not YAML: {error}") from None
    except ConfigError as error:
        raise ConfigError(f"{url}: {error}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{url} must hold a mapping of settings, not {type(value).__name__}")
    for override in overrides:
        _override(value, override)
    base = os.path.dirname(os.path.abspath(url)) if files.is_local(url) else url.rpartition("/")[0]
    return parse_config(value, base, url)


def parse_config(value: dict[str, Any], base: str, where: str = "the configuration") -> Config:
    """Validates settings; relative paths are taken from `base`. Raises ConfigError, naming `where`, the key and what is allowed."""
    try:
        return Config.model_validate(_placed(value, base))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    except ValidationError as error:
        lines = [_explain(dict(problem)) for problem in error.errors()]
        raise ConfigError(f"{where}: " + "\n".join(lines)) from None


def _placed(value: dict[str, Any], base: str) -> dict[str, Any]:
    """The settings with relative paths taken from `base`."""
    def place(given: Any) -> Any:
        if isinstance(given, list):
            return [place(one) for one in given]
        if isinstance(given, dict):
            return within(given)
        if not isinstance(given, str) or not given or "://" in given or os.path.isabs(given):
            return given
        if given.startswith("~"):
            home = os.path.expanduser(given)
            if home.startswith("~"):
                user = given.partition("/")[0]
                raise ConfigError(f"{given}: there is no home folder of {user}: write the path out, or ./{user} for a name that starts so")
            return home
        return os.path.normpath(os.path.join(base, given)) if "://" not in base else files.join(base, given)

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


def _override(value: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set takes key=value, not {override!r}")
    *parents, last = path.split(".")
    here: Any = value
    for name in parents:
        try:
            here = here[int(name)] if isinstance(here, list) else here.setdefault(name, {})
        except (ValueError, IndexError):
            raise ConfigError(f"--set {override}: {name!r} is not a position of a list") from None
        if not isinstance(here, dict | list):
            raise ConfigError(f"--set {override}: {name!r} holds no settings")
    try:
        here[int(last) if isinstance(here, list) else last] = yaml.safe_load(text)
    except (ValueError, IndexError, yaml.YAMLError):
        raise ConfigError(f"--set {override}: cannot be set") from None


def _explain(problem: dict[str, Any]) -> str:
    path = ".".join(str(part) for part in problem["loc"]) or "the configuration"
    if problem["type"] == "extra_forbidden":
        allowed = sorted(_allowed(problem["loc"][:-1]))
        near = difflib.get_close_matches(str(problem["loc"][-1]), allowed, 1, 0.0)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"{path}: unknown key; {hint}Known keys: {', '.join(allowed)}"
    if problem["type"] == "missing":
        return f"{path}: is needed"
    given = repr(problem.get("input"))
    given = given if len(given) <= 80 else given[:77] + "..."
    return f"{path}: {problem['msg'].removeprefix('Value error, ')} (given: {given})"


def _allowed(path: Sequence[Any]) -> set[str]:
    """The keys that the model at this place of the configuration has."""
    here: list[Any] = [Config]
    for part in path:
        steps: list[Any] = []
        for model in here:
            if part in model.model_fields:
                steps += _models(model.model_fields[part].annotation)
            elif isinstance(part, str) and any(part in typing.get_args(field.annotation) for field in model.model_fields.values()):
                steps.append(model)  # the tag of a union
        if not isinstance(part, int):
            here = steps
    return {name for model in here for name in model.model_fields}


def _models(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, list, tuple, typing.Annotated):
        return [model for argument in typing.get_args(annotation) for model in _models(argument)]
    return []
