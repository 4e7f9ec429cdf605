"""Masks and mismatches: the seeded random choices of MLM, MRM, seq2seq and ITM.

Pure functions of arrays and a NumPy generator, called by the collator, so a batch is complete when it reaches the model.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from model.batch import IGNORED, Vocabulary
from schemas.settings import Settings


class Masking(Settings):
    """How much is masked, and in which form."""

    tokens: float = Field(0.15, ge=0, le=1, description="share of a text's tokens that are predicted")
    spans: bool = Field(False, description="mask spans of geometric length (UNIMO) instead of single tokens (UNITER)")
    span_p: float = Field(0.2, gt=0, le=1, description="parameter of the geometric distribution of span lengths; not published for UNIMO")
    span_limit: int = Field(10, ge=1, description="maximum length of a span, in tokens")
    regions: float = Field(0.15, ge=0, le=1, description="share of an image's regions that are hidden")
    overlap: float = Field(0.3, ge=0, le=1, description="IoU with a hidden region above which a region is hidden as well")
    fragments: float = Field(0.25, gt=0, lt=1, description="maximum share of a text's tokens that are cut out for seq2seq")
    mismatched: float = Field(0.5, ge=0, le=1, description="share of ITM decisions whose image and text do not belong together")
    hard: bool = Field(False, description="ITM: mismatch a pair with its own hard negatives, if any, instead of random ones")


def mask_tokens(
    ids: np.ndarray, lengths: np.ndarray, how: Masking, vocabulary: Vocabulary, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """BERT's masking of T texts: 80 % of the chosen tokens become `[MASK]`, 10 % a random token, 10 % stay; the tokens of a span alike.

    `[CLS]` and `[SEP]` are never chosen; in a text with any token at least one is chosen, unless `how.tokens` is 0.

    Args:
        ids: int64 [T, L]. lengths: int64 [T], with `[CLS]` and `[SEP]`.

    Returns masked ids and labels (`IGNORED` where nothing is predicted), both int64 [T, L].
    """
    masked, labels = ids.copy(), np.full_like(ids, IGNORED)
    for row, length in enumerate(lengths):
        for span in _spans(int(length) - 2, how, rng):
            cells = np.array(span) + 1
            labels[row, cells] = ids[row, cells]
            fate = rng.random()
            if fate < 0.8:
                masked[row, cells] = vocabulary.mask
            elif fate < 0.9:
                masked[row, cells] = _random_tokens(len(cells), vocabulary, rng)
    return masked, labels


def _spans(tokens: int, how: Masking, rng: np.random.Generator) -> list[list[int]]:
    """Disjoint spans of positions in [0, tokens) that add up to the share `how.tokens`, rounded, at least one position."""
    budget = min(tokens, max(1, round(how.tokens * tokens))) if how.tokens and tokens > 0 else 0
    if not how.spans:
        return [[int(position)] for position in rng.permutation(tokens)[:budget]] if budget else []
    taken: set[int] = set()
    spans: list[list[int]] = []
    while len(taken) < budget:
        length = min(int(rng.geometric(how.span_p)), how.span_limit, budget - len(taken))
        start = int(rng.integers(tokens))
        span = [position for position in range(start, min(start + length, tokens)) if position not in taken]
        if span:
            taken.update(span)
            spans.append(span)
    return spans


def _random_tokens(count: int, vocabulary: Vocabulary, rng: np.random.Generator) -> np.ndarray:
    """Ordinary tokens, int64 [count]: special ones are drawn again."""
    special = np.array([vocabulary.pad, vocabulary.cls, vocabulary.sep, vocabulary.mask])
    drawn = rng.integers(vocabulary.size, size=count)
    while (again := np.isin(drawn, special)).any():
        drawn[again] = rng.integers(vocabulary.size, size=int(again.sum()))
    return drawn


def mask_regions(boxes: np.ndarray, counts: np.ndarray, how: Masking, rng: np.random.Generator) -> np.ndarray:
    """Which regions are hidden: a share of each image's, at least one, and all that overlap one of those by more than `how.overlap`.

    Args:
        boxes: float [I, R, 4 or more], x1, y1, x2, y2 first, in any unit. counts: int64 [I].

    Returns bool [I, R].
    """
    hidden: np.ndarray = np.zeros(boxes.shape[:2], bool)
    for row, count in enumerate(counts):
        budget = min(int(count), max(1, round(how.regions * int(count)))) if how.regions else 0
        if budget:
            chosen = rng.permutation(int(count))[:budget]
            own = boxes[row, :count, :4].astype(np.float64)
            hidden[row, :count] = (overlaps(own[chosen], own) > how.overlap).any(0)
            hidden[row, chosen] = True
    return hidden


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes x1, y1, x2, y2: float64 [n, 4] and [m, 4] give [n, m]; 0 where both are empty."""
    corner = np.maximum(first[:, None, :2], second[None, :, :2])
    sides = np.clip(np.minimum(first[:, None, 2:], second[None, :, 2:]) - corner, 0, None)
    shared = sides.prod(-1)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def cut_fragments(
    ids: np.ndarray, lengths: np.ndarray, how: Masking, vocabulary: Vocabulary, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cuts fragments of geometric length out of N texts, up to the share `how.fragments`, and appends them to the rest.

    Args:
        ids: int64 [N, L]. lengths: int64 [N]. A text of one token keeps it, and has nothing to generate.

    Returns ids int64 [N, L], lengths, sources (both int64 [N]) and labels int64 [N, L], as `model.batch.Fragments` has them.
    """
    laid, labels, sources = np.full_like(ids, vocabulary.pad), np.full_like(ids, IGNORED), np.zeros_like(lengths)
    for row, length in enumerate(lengths):
        tokens = ids[row, 1 : length - 1]
        budget = max(1, int(how.fragments * len(tokens))) if len(tokens) > 1 else 0
        cut = np.zeros(len(tokens), bool)
        spans = how.model_copy(update={"tokens": budget / max(1, len(tokens)), "spans": True})
        for span in _spans(len(tokens), spans, rng) if budget else []:
            cut[span] = True
        source, target = np.concatenate([[ids[row, 0]], tokens[~cut], [vocabulary.sep]]), tokens[cut]
        sources[row] = len(source)
        laid[row, :length] = np.concatenate([source, target])
        if len(target):
            labels[row, len(source) - 1 : length] = np.concatenate([target, [vocabulary.sep]])
    return laid, lengths.copy(), sources, labels


def draw_mismatches(
    image_keys: np.ndarray,
    text_keys: np.ndarray,
    known: set[tuple[int, int]],
    negatives: tuple[np.ndarray, np.ndarray],
    how: Masking,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One ITM decision per pair: the pair itself, or its image with another text, or its text with another image of the batch.

    A pair stays matched if nothing in the batch is certain not to belong to it.

    Args:
        image_keys, text_keys: int64 [P], of the pairs. known: (image row, text row) below P that are known to belong together.
        negatives: rows of the batch's texts, and the pair of each, int64 [n] both.

    Returns image rows, text rows (int64 [P]) and labels (float32 [P]).
    """
    count = len(image_keys)
    images, texts, labels = np.arange(count), np.arange(count), np.ones(count, np.float32)
    for pair in np.flatnonzero(rng.random(count) < how.mismatched):
        hard = negatives[0][negatives[1] == pair] if how.hard else negatives[0][:0]
        if len(hard):
            texts[pair], labels[pair] = rng.choice(hard), 0
            continue
        away = (image_keys != image_keys[pair]) & (text_keys != text_keys[pair])
        swap_text = rng.random() < 0.5
        candidates = [other for other in np.flatnonzero(away) if ((pair, other) if swap_text else (other, pair)) not in known]
        if candidates:
            (texts if swap_text else images)[pair] = candidates[int(rng.integers(len(candidates)))]
            labels[pair] = 0
    return images, texts, labels
