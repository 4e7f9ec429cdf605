"""Builds the stages that a configuration asks for."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pipelines.config import Config
from pipelines.stages import STAGES, Entry
from schemas.errors import ConfigError, SourceError
from transforms.core.frozen import frozen, has_stage
from transforms.core.stage import Stage, SummaryStage


def stages_of(config: Config) -> list[Stage]:
    """The stages of a corpus, each after the stages it reads.

    Raises ConfigError, naming the key, when a stage is unavailable: a package or model is missing, or two keys ask for the same stage.
    """
    stages: list[Stage] = []
    made_by: dict[str, str] = {}
    for entry in STAGES:
        keys = entry.keys or (entry.key,)
        if any(keys) and not any(getattr(config, key) for key in keys):
            continue
        try:
            for stage in _asked_for(entry, config, stages):
                if stage.name in made_by:
                    raise ValueError(f"{made_by[stage.name]} and {entry.key} are mutually exclusive: both make the stage {stage.name}")
                made_by[stage.name] = entry.key
                stages.append(stage)
        except (ValueError, OSError, SourceError, ImportError) as error:
            raise ConfigError(f"{entry.key or 'the configuration'}: {error}") from None
    wide = [stage.name for stage in stages if stage.corpus_wide]
    if isinstance(config.frozen, dict) and (unknown := sorted(set(config.frozen) - set(wide))):
        raise ConfigError(f"frozen: {unknown[0]!r} is not a corpus-wide stage of this corpus; those are: {', '.join(wide) or 'none'}")
    return stages


def _asked_for(entry: Entry, config: Config, before: Sequence[Stage]) -> list[Stage]:
    stages: list[Stage] = []
    for where in entry.stages:
        module, _, name = where.partition(":")
        kind: type[Stage] = getattr(import_module(module), name)
        if kind.augments != kind.name and kind.augments not in {stage.name for stage in before}:
            continue
        params = _params(entry, kind, config)
        if kind.applies(params):
            _check_packages(kind)
            stages.append(_held(kind(params, compression=config.compression).behind([*before, *stages]), config))
    return stages


def _held(stage: Stage, config: Config) -> Stage:
    """A corpus-wide stage with its output in the corpus that `frozen` names for it; other stages unchanged."""
    urls = config.frozen
    if not urls or not isinstance(stage, SummaryStage):
        return stage
    if isinstance(urls, str):
        return frozen(stage, urls) if has_stage(urls, stage.name) else stage
    return frozen(stage, urls[stage.name]) if stage.name in urls else stage


def _params(entry: Entry, kind: type[Stage], config: Config) -> Any:
    """The settings under the entry's key, or, for stages with other settings, the configuration's values by field name.

    A field that is not a key of the configuration gets the value under the entry's key.
    """
    own = getattr(config, entry.key) if entry.key else None
    if kind.params_type is entry.settings:
        return own
    return kind.params_type(
        **{name: getattr(config, name) if name in type(config).model_fields else own for name in kind.params_type.model_fields}
    )


def _check_packages(kind: type[Stage]) -> None:
    """Raises ImportError, with the install command, when packages that a stage requires are not installed."""
    missing = [name for name in kind.packages if not _is_installed(name)]
    if missing:
        target = f"'cmcl[{kind.extra}]'" if kind.extra else " ".join(missing)
        raise ImportError(f"the stage {kind.name} requires {', '.join(missing)}: pip install {target}")


def _is_installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False
