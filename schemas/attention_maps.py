"""What a trained network attends to in one pair; `model` makes it, `pipelines` shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class AttentionMaps(NamedTuple):
    """Attention within the joint sequence `[IMG] regions [CLS] tokens [SEP]` of a pair; S = R + T + 3.

    tokens: T pieces of the caption. boxes: float32 [R, 4] (xyxy, px), of an image of width x height px. classes: int32 [R], None if
    unknown. weights: float32 [layers, heads, S, S]; each row is a query's weights over the keys and sums to 1.
    """

    tokens: list[str]
    width: int
    height: int
    boxes: np.ndarray
    classes: np.ndarray | None
    weights: np.ndarray


class AttentionSource(NamedTuple):
    """A checkpoint that can be asked for its attention.

    step: updates that it was trained for. joint: whether it was trained on sequences of an image and a text at all. maps: by pair id and
    image id; None when the image has no regions, the caption is too long, or the pair was given no tokens.
    """

    step: int
    joint: bool
    maps: Callable[[str, str], AttentionMaps | None]
