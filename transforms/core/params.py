"""Settings of stages: closed, immutable, and marked where a value leaves no trace in what is made."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict


class Params(BaseModel):
    """Base of the settings of a stage.

    Raises pydantic.ValidationError, naming the key and what is allowed, on an unknown key or a value out of range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoParams(Params):
    """Of a stage that has nothing to set."""


@dataclass(frozen=True)
class NotFingerprinted:
    """Marks a setting (`Annotated[int, NotFingerprinted()]`) that changes no byte of the output, or that something else stands for."""


def fingerprinted(params: BaseModel, only: Collection[str] | None = None) -> dict[str, Any]:
    """The settings that count, JSON-able: all but those that are marked, or, of these, `only` the named ones."""
    marked = {name for name, field in type(params).model_fields.items()
              if any(isinstance(mark, NotFingerprinted) for mark in field.metadata)}
    return params.model_dump(mode="json", include=None if only is None else set(only), exclude=marked)
