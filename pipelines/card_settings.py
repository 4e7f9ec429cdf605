"""The part of a dataset card that only the user knows. No stage depends on it, so changing it rebuilds nothing."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class CardSettings(BaseModel):
    """Settings of the dataset card, none of which is ever guessed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str | None = Field(default=None, description="the dataset's name")
    license: list[str] = Field(default_factory=list, description="licences, as identifiers that the Hugging Face Hub knows")
    language: list[str] = Field(default_factory=list, description="languages of the captions and texts, as ISO 639 codes")
    sources: dict[str, str] = Field(default_factory=dict, description="by collection: where it comes from, its licence, how to cite it")
    restricted: list[str] = Field(default_factory=list, description="what must not be redistributed")
