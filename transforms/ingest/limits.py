"""Bounds on what the sources inflate, open and loop over, so that no input can take a run's memory or time for nothing."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """What one input may cost. They are far above what real collections need; an input beyond one is an error that names it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    line_bytes: int = Field(default=4 << 20, ge=1, description="a line or paragraph of text; a longer one is rejected")
    member_bytes: int = Field(default=1 << 20, ge=1, description="a .txt or .json member of a tar; a longer one is rejected")
    whole_bytes: int = Field(default=4 << 30, ge=1, description="a file that is read whole: JSON, lists of exclusions")
    inflated_bytes: int = Field(default=1 << 40, ge=1, description="what a compressed file may unpack to")
    inflation: int = Field(
        default=300, ge=1, description="how many times its size a compressed file may unpack to, once that is more than 64 MiB")
    zip_members: int = Field(default=100_000, ge=1, description="files in a zip")
    header_bytes: int = Field(default=64 << 10, ge=512, description="a tar member's long name or pax header")
    header_chain: int = Field(default=16, ge=1, description="headers before one tar member")
    listed: int = Field(default=50_000_000, ge=1, description="files and folders of one folder of images, links followed")
    rows_per_byte: int = Field(
        default=64, ge=1, description="rows that a Parquet file may declare for each of its bytes, once they are more than a million")
