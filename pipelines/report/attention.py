"""The page about a checkpoint's attention: maps of some pairs, and heads sorted by the patterns that UNITER names (arXiv 1909.11740, 4.4).

For each query that is a region or a token, the keys are divided into four: special tokens (vertical), itself and its two neighbours
(diagonal), the rest of its own kind (block), the other kind (reversed block). A pattern's share is the mean weight of its keys, regions
and tokens counting equally; a head's pattern is the one that exceeds what equal weights would give it most. UNITER calls heads without
a pattern heterogeneous: here, those in which none exceeds it by a tenth.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.report.escape import as_script, write_file
from pipelines.report.sample import Chosen
from schemas.attention_maps import AttentionMaps, AttentionSource
from schemas.ids import placement

PAIRS = 24
PATTERNS = ("vertical", "diagonal", "block", "reversed block", "heterogeneous")
_CLEAR = 0.1
_MOST_WEIGHTS = 24_000_000  # of all maps together, a byte each


@dataclass(frozen=True)
class Head:
    """A head: layer and number from 1, its pattern, and the share of each pattern, beside that of equal weights."""

    layer: int
    number: int
    pattern: str
    shares: dict[str, float]


@dataclass(frozen=True)
class Attention:
    """What the page shows. step: updates of the checkpoint. pairs: how many have maps. equal: shares that equal weights would have."""

    step: int
    joint: bool
    pairs: int
    heads: list[Head]
    equal: dict[str, float]

    @property
    def counts(self) -> dict[str, int]:
        """Heads by pattern."""
        return {pattern: sum(head.pattern == pattern for head in self.heads) for pattern in PATTERNS}


def write_attention(folder: str, source: AttentionSource, chosen: Chosen, seed: int) -> Attention:
    """Writes the maps of a seeded sample of the gallery's pairs below `folder`, and returns what the page says.

    There are fewer than 24 where fewer have regions and tokens, or their maps would take more than 24 MB.
    """
    order = sorted(range(len(chosen.ids)), key=lambda number: (placement(f"attention {seed} {chosen.ids[number]}"), number))
    pairs: list[list[Any]] = []
    shares: list[np.ndarray] = []
    equal: list[np.ndarray] = []
    size = 0
    for number in order:
        maps = source.maps(chosen.ids[number], chosen.image_ids[chosen.images[number]])
        if maps is None:
            continue
        size += maps.weights.size
        if pairs and size > _MOST_WEIGHTS:
            break
        write_file(folder, f"data/attention/{len(pairs):04d}.js", as_script("map", len(pairs), _packed(maps)))
        pairs.append([chosen.ids[number], chosen.captions[number], chosen.images[number]])
        shares.append(pattern_shares(maps))
        equal.append(pattern_shares(maps._replace(weights=np.full((1, 1, *maps.weights.shape[2:]), 1 / maps.weights.shape[-1]))))
        if len(pairs) == PAIRS:
            break
    baseline = np.mean(equal, 0)[0, 0] if equal else np.zeros(4)
    heads = _heads(np.mean(shares, 0), baseline) if shares else []
    told = [[head.layer, head.number, head.pattern] for head in heads]
    write_file(folder, "data/attention.js", as_script("attention", 0, {"pairs": pairs, "heads": told, "patterns": PATTERNS}))
    return Attention(source.step, source.joint, len(pairs), heads, dict(zip(PATTERNS, baseline.tolist(), strict=False)))


def pattern_shares(maps: AttentionMaps) -> np.ndarray:
    """The share of each of the four patterns, float [layers, heads, 4]; they sum to 1."""
    size, regions = maps.weights.shape[-1], len(maps.boxes)
    kind = np.full(size, 2)  # of each position: region 0, token 1, special token 2
    kind[1 : 1 + regions], kind[2 + regions : size - 1] = 0, 1
    place = np.arange(size)
    near = np.abs(place[:, None] - place) <= 1
    same = kind[:, None] == kind
    parts = np.stack([np.broadcast_to(kind == 2, near.shape), same & near, same & ~near, ~same])
    parts[1:] &= kind != 2
    by_query = np.einsum("lhqk,pqk->lhpq", maps.weights, parts.astype(maps.weights.dtype))
    return np.mean([by_query[..., kind == one].mean(-1) for one in (0, 1) if (kind == one).any()], 0)


def _heads(shares: np.ndarray, equal: np.ndarray) -> list[Head]:
    """Heads by pattern, those with the largest share of it first."""
    found = []
    for layer, row in enumerate(shares):
        for number, own in enumerate(row):
            over = own - equal
            pattern = PATTERNS[int(over.argmax())] if over.max() >= _CLEAR else PATTERNS[-1]
            found.append(Head(layer + 1, number + 1, pattern, dict(zip(PATTERNS, own.tolist(), strict=False))))
    return sorted(found, key=lambda head: (PATTERNS.index(head.pattern), -head.shares.get(head.pattern, 0.0), head.layer, head.number))


def _packed(maps: AttentionMaps) -> dict[str, Any]:
    """A pair's maps as JSON: `weights` holds bytes [layers, heads, S, S], each in 255ths of its row's maximum, in `tops`, float32."""
    tops = maps.weights.max(-1, keepdims=True)
    weights = np.round(255 * maps.weights / np.maximum(tops, np.finfo(np.float32).tiny)).astype(np.uint8)
    classes: Sequence[int] = [] if maps.classes is None else maps.classes.tolist()
    return {
        "tokens": maps.tokens,
        "w": maps.width,
        "h": maps.height,
        "boxes": np.nan_to_num(maps.boxes.astype(np.float64), nan=0, posinf=0, neginf=0).round(1).tolist(),
        "classes": classes,
        "weights": base64.b64encode(weights.tobytes()).decode(),
        "tops": base64.b64encode(tops.astype("<f4").tobytes()).decode(),
    }
