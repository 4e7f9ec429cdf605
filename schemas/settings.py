"""Settings from YAML, validated before any work; errors name the key, the value and what is allowed."""

from __future__ import annotations

import difflib
import os
import types
import typing
from collections.abc import Hashable, Sequence
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from schemas import files
from schemas.errors import ConfigError

MAX_BYTES, MAX_NODES = 4 << 20, 500_000  # of a settings file; nodes with aliases expanded
Model = TypeVar("Model", bound=BaseModel)


class Settings(BaseModel):
    """Settings of the trainer: unknown keys, infinite numbers, and true or false for a number are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_values(cls, value: Any, info: ValidationInfo) -> Any:
        wanted = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and {int, float} & {wanted, *typing.get_args(wanted)} and bool not in typing.get_args(wanted):
            raise ValueError(f"must be a number, not {value}")
        return value


class _Loader(yaml.SafeLoader):
    """Refuses duplicate keys in a mapping; most YAML parsers silently let the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise ConfigError(f"line {key_node.start_mark.line + 1}: a key must be plain text, not a list or mapping")
            if key in seen:
                raise ConfigError(f"line {key_node.start_mark.line + 1}: the key {key!r} is duplicated")
            seen.add(key)
        return super().construct_mapping(node, deep)


def _check_aliases(root: yaml.Node | None) -> None:
    """Raises ConfigError when aliases are recursive, or expand to too many nodes."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) in sizes:
            if not sizes[id(node)]:
                raise ConfigError(f"line {node.start_mark.line + 1}: an alias refers to a node that contains it")
            return sizes[id(node)]
        sizes[id(node)] = 0
        held = node.value if isinstance(node, yaml.CollectionNode) else []
        children = [part for pair in held for part in pair] if isinstance(node, yaml.MappingNode) else held
        sizes[id(node)] = 1 + sum(size(child) for child in children)
        return sizes[id(node)]

    if root is not None and size(root) > MAX_NODES:
        raise ConfigError(f"aliases expand to more than {MAX_NODES} settings")


def read_settings(url: str, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], str]:
    """Reads a YAML mapping of settings.

    Args:
        url: the YAML file.
        overrides: `dotted.key=value` settings that override the file's; values in YAML.

    Returns the settings, and the folder that their relative paths are relative to.

    Raises:
        ConfigError: the file is missing or not a YAML mapping, or an override cannot be set.
    """
    try:
        with files.open_read(url) as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigError(f"the file is larger than {MAX_BYTES} bytes")
        text = data.decode("utf-8")
        _check_aliases(yaml.compose(text, Loader=_Loader))
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        raise ConfigError(f"{url}: configuration not found") from None
    except OSError as error:
        raise ConfigError(f"{url}: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{url} is not valid YAML: {' '.join(str(error).split())[:500]}") from None
    except ConfigError as error:
        raise ConfigError(f"{url}: {error}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{url} must contain a mapping of settings, not {type(value).__name__}")
    for override in overrides:
        _override(value, override)
    base = os.path.dirname(os.path.abspath(url)) if files.is_local(url) else url.rpartition("/")[0]
    return value, base


def validated(model: type[Model], value: dict[str, Any], where: str) -> Model:
    """The settings as a model. Raises ConfigError, naming `where`, the key and what is allowed."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        lines = [_explain(model, dict(problem)) for problem in error.errors()]
        raise ConfigError(f"{where}: " + "; ".join(lines)) from None


def resolved(path: str, base: str) -> str:
    """A path or URL from the settings; a relative one is relative to the folder `base`.

    Raises ConfigError for the home folder of a nonexistent user.
    """
    if not path or "://" in path or os.path.isabs(path):
        return path
    if path.startswith("~"):
        home = os.path.expanduser(path)
        if home.startswith("~"):
            user = path.partition("/")[0]
            raise ConfigError(f"{path}: {user} has no home folder: write the full path, or ./{user} for a name that starts like this")
        return home
    return os.path.normpath(os.path.join(base, path)) if "://" not in base else files.join(base, path)


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
            raise ConfigError(f"--set {override}: {name!r} is not an index of the list") from None
        if not isinstance(here, dict | list):
            raise ConfigError(f"--set {override}: {name!r} has no settings")
    try:
        here[int(last) if isinstance(here, list) else last] = yaml.safe_load(text)
    except (ValueError, IndexError, yaml.YAMLError):
        raise ConfigError(f"--set {override}: cannot be set") from None


def _explain(model: type[BaseModel], problem: dict[str, Any]) -> str:
    path = ".".join(str(part) for part in problem["loc"]) or "the configuration"
    if problem["type"] == "extra_forbidden":
        allowed = sorted(_allowed(model, problem["loc"][:-1]))
        near = difflib.get_close_matches(str(problem["loc"][-1]), allowed, 1, 0.0)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"{path}: unknown key; {hint}Known keys: {', '.join(allowed)}"
    if problem["type"] == "missing":
        return f"{path}: is required"
    given = repr(problem.get("input"))
    given = given if len(given) <= 80 else given[:77] + "..."
    return f"{path}: {problem['msg'].removeprefix('Value error, ')} (given: {given})"


def _allowed(model: type[BaseModel], path: Sequence[Any]) -> set[str]:
    """The keys of the model at this path of the configuration."""
    here: list[Any] = [model]
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
