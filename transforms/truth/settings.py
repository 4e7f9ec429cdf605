"""Settings of the judge of truth, and of the scene graphs that it shares with the swaps."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from transforms.core.params import NotFingerprinted, Params


class TruthSettings(Params):
    """The evidence that the judge has, and its weights. Labels are part of the evidence where the images have regions with class names.

    Raises pydantic.ValidationError, naming the key and the allowed values, on an unknown key or a value out of range.
    """

    encoder: Annotated[str | None, NotFingerprinted()] = Field(  # the encoder's fingerprint is recorded instead
        "embedded", description="sentence encoder: embedded, or sentence-transformers:PATH; null: judge without one"
    )
    parser: Annotated[str | None, NotFingerprinted()] = Field(
        "embedded", description="parser of the scene graphs, unless swaps are made, whose graphs are shared; null: judge without graphs"
    )
    threads: int = Field(1, ge=1, le=64, description="number of threads of the encoder; may change the last bits of its vectors")
    weights: Annotated[str | None, NotFingerprinted()] = Field(  # the weights themselves are recorded instead
        None, description="weights fitted by `python -m transforms.truth.fit`; null: those of this package"
    )
