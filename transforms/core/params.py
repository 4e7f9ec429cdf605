"""Base classes of stages' settings: immutable, no unknown keys, with markers for settings that do not affect the output."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict


class Params(BaseModel):
    """Base class of a stage's settings.

    Raises pydantic.ValidationError, naming the key and what is allowed, on an unknown key or a value out of range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoParams(Params):
    """The settings of a stage that has none."""


@dataclass(frozen=True)
class NotFingerprinted:
    """Marks a setting (`Annotated[int, NotFingerprinted()]`) that does not affect the output, or is fingerprinted in another form."""


def fingerprinted(params: BaseModel, only: Collection[str] | None = None) -> dict[str, Any]:
    """The settings that a fingerprint covers, JSON-serialisable: all unmarked ones or, with `only`, those of them that it names."""
    marked = {
        name for name, field in type(params).model_fields.items() if any(isinstance(mark, NotFingerprinted) for mark in field.metadata)
    }
    return params.model_dump(mode="json", include=None if only is None else set(only), exclude=marked)
