"""Settings of scene graphs and swaps."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from transforms.core.params import NotFingerprinted, Params

KINDS = ("object", "attribute", "relation", "count", "order", "negation")
LEVELS = ("word", "phrase")


class SwapSettings(Params):
    """How many negatives of which kind, how careful the guards are, and what the graphs are parsed with.

    Raises pydantic.ValidationError, naming the key and what is allowed, on an unknown key or a value out of range.
    """

    parser: Annotated[str, NotFingerprinted()] = Field(  # its own fingerprint stands for it
        "embedded", description="embedded, spacy:NAME_OR_PATH, or sng:NAME_OR_PATH for the rules of sng-parser")
    min_count: int = Field(5, ge=1, description="mentions that an object, attribute or relation needs to become a replacement")
    max_objects: int = Field(4000, ge=1, le=20_000, description="objects of the vocabulary at most, the commonest")
    per_kind: int = Field(20, ge=1, le=1000, description="negatives a caption and kind, at most; fewer where the caption allows fewer")
    kinds: tuple[str, ...] = Field(KINDS, min_length=1, description="which kinds")
    # An estimate: the share of images with one of the caption's objects that also name the replacement, times `missed` for each further
    # caption that does not name it, times `undetected` where the detector could have found it and did not.
    presence: float = Field(
        0.01, gt=0, le=1, description="a replacement more likely than this to be in the picture unmentioned is refused")
    missed: float = Field(0.5, gt=0, le=1, description="how often a caption passes over an object that is there")
    undetected: float = Field(0.2, gt=0, le=1, description="how often a detector passes over an object that is there")
    temperature: float = Field(0.7, ge=0, le=10, description="of the draw among candidates; 0 takes the hardest")
    record_refusals: bool = Field(True, description="write a row for each refused candidate, several a caption; else they are counted")

    @field_validator("kinds")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [kind for kind in value if kind not in KINDS]
        if unknown:
            raise ValueError(f"kinds {unknown} are none of {list(KINDS)}")
        return value
