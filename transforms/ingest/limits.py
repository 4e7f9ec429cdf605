"""Limits on what sources decompress, open and iterate over, so a malicious or broken input cannot exhaust memory or time."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """Limits per input, far above what real collections need; exceeding one is an error that names it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    line_bytes: int = Field(default=4 << 20, ge=1, description="maximum length of a line or paragraph of text; longer ones are rejected")
    member_bytes: int = Field(
        default=1 << 20, ge=1, description="maximum size of a .txt or .json member of a tar; larger ones are rejected"
    )
    whole_bytes: int = Field(default=4 << 30, ge=1, description="maximum size of a file that is read as a whole: JSON, exclusion lists")
    inflated_bytes: int = Field(default=1 << 40, ge=1, description="maximum decompressed size of a file")
    inflation: int = Field(default=300, ge=1, description="maximum compression ratio, checked above 64 MiB of decompressed data")
    zip_members: int = Field(default=100_000, ge=1, description="maximum number of files in a zip archive")
    header_bytes: int = Field(default=64 << 10, ge=512, description="maximum size of a tar member's long name or pax header")
    header_chain: int = Field(default=16, ge=1, description="maximum number of headers before a tar member")
    listed: int = Field(default=50_000_000, ge=1, description="maximum number of files and folders in a folder of images, following links")
    rows_per_byte: int = Field(
        default=64, ge=1, description="maximum number of rows, or of values in lists, per byte of a Parquet file, checked above a million"
    )
