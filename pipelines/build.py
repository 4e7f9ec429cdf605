"""From a configuration to its stages."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pipelines.config import Config
from pipelines.stages import STAGES, Entry
from schemas.errors import ConfigError, SourceError
from transforms.core.stage import Stage


def stages_of(config: Config) -> list[Stage]:
    """The stages of a corpus, each after those that it reads.

    Raises ConfigError, naming the key, when a stage cannot be had: a package or a model is missing, or two keys ask for one stage.
    """
    stages: list[Stage] = []
    made_by: dict[str, str] = {}
    for entry in STAGES:
        if entry.key and not getattr(config, entry.key):
            continue
        try:
            for stage in _asked_for(entry, config, stages):
                if stage.name in made_by:
                    raise ValueError(f"{made_by[stage.name]} and {entry.key} exclude each other: both make the stage {stage.name}")
                made_by[stage.name] = entry.key
                stages.append(stage)
        except (ValueError, OSError, SourceError, ImportError) as error:
            raise ConfigError(f"{entry.key or 'the configuration'}: {error}") from None
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
            stages.append(kind(params, compression=config.compression).behind([*before, *stages]))
    return stages


def _params(entry: Entry, kind: type[Stage], config: Config) -> Any:
    """What the key holds, or, where a stage wants more than that, the configuration's values of the same names.

    A field that is no key of the configuration gets the value of the entry's own key.
    """
    own = getattr(config, entry.key) if entry.key else None
    if kind.params_type is entry.settings:
        return own
    return kind.params_type(**{name: getattr(config, name) if name in type(config).model_fields else own
                               for name in kind.params_type.model_fields})


def _check_packages(kind: type[Stage]) -> None:
    """Raises ImportError, with the command that brings them, when packages that a stage requires are not installed."""
    missing = [name for name in kind.packages if not _is_installed(name)]
    if missing:
        bring = f"'cmcl[{kind.extra}]'" if kind.extra else " ".join(missing)
        raise ImportError(f"the stage {kind.name} requires {', '.join(missing)}: pip install {bring}")


def _is_installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False
