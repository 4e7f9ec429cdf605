"""Attention maps of a trained network for single pairs, computed by `model` and shown by `pipelines`."""

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
    """A source of a checkpoint's attention maps.

    step: number of updates in training. joint: whether it was trained on joint sequences of image and text. maps: by pair id and image id;
    None if the image has no regions, the caption is too long, or the pair has no tokens.
    """

    step: int
    joint: bool
    maps: Callable[[str, str], AttentionMaps | None]
