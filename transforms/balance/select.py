"""Selects candidates kind by kind, and measures how well they can be distinguished from true texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from transforms.balance.blind import Blind
from transforms.balance.fit import Fit
from transforms.balance.flows import balanced
from transforms.balance.ngrams import TextPair, differences
from transforms.swaps.settings import SwapSettings

# By how much the tolerance is stricter for kinds whose few words (numbers, prepositions) each weigh more in a text-only ranker.
STRICTER = {"count": 3, "relation": 1.5}


@dataclass
class Selected:
    """Which candidates of a cell are kept, bool [n]; by kind, numbers and blind accuracy before and after, if measured."""

    kept: np.ndarray
    figures: dict[str, Any]


def select(candidates: pa.Table, captions: pa.Table, settings: SwapSettings, measured: bool) -> Selected:
    """Selects among a cell's candidates, kind by kind.

    Args:
        candidates: rows of `candidates`, in the order of `captions`.
        captions: rows of `pairs`: the cell's.
        settings: `balance` must be set.
        measured: whether to measure blind accuracy.
    """
    assert settings.balance is not None
    kept = np.zeros(candidates.num_rows, dtype=bool)
    figures: dict[str, Any] = {}
    fit = Fit(captions["caption"].to_pylist(), captions["image_id"].to_pylist())
    blind = Blind(settings.balance.sample, settings.balance.encoder)
    rows = pc.index_in(candidates["pair_id"], captions["pair_id"].combine_chunks()).to_numpy()
    kinds = candidates["kind"].cast(pa.string())
    for kind in settings.kinds:
        own = np.flatnonzero(pc.equal(kinds, kind).to_numpy(zero_copy_only=False))
        if not len(own):
            continue
        pairs = text_pairs(candidates.take(own), captions["caption"].take(rows[own]).to_pylist())
        groups, most = rows[own], settings.per_kind
        if kind == "negation":  # each at most once, with one of its denials
            texts = pc.dictionary_encode(candidates["text"].take(own).combine_chunks()).indices.to_numpy()
            groups, most = np.cumsum(np.diff(texts, prepend=-1) != 0), 1
        matrix = differences(pairs)
        features = sp.hstack([matrix, fit.differences(pairs)], format="csr")
        kept[own] = chosen = balanced(features, groups, most, settings.balance.tolerance / STRICTER.get(kind, 1))
        if measured:
            images = captions["image_id"].take(rows[own]).to_pylist()
            figures[kind] = {"candidates": len(own), "kept": int(chosen.sum())}
            for name, those in (("before", first_of(groups, most)), ("after", chosen)):
                figures[kind] |= blind.measured(name, matrix, pairs, images, np.flatnonzero(those))
    if figures:
        figures["all"] = {"captions": captions.num_rows, "kept": int(kept.sum())} | blind.together()
    return Selected(kept, figures)


def first_of(groups: np.ndarray, most: int) -> np.ndarray:
    """Which are among the first `most` of their group, bool [n]; `groups` ascend."""
    starts = np.flatnonzero(np.diff(groups, prepend=groups[0] - 1))
    rank: np.ndarray = np.arange(len(groups)) - np.repeat(starts, np.diff(np.append(starts, len(groups))))
    return rank < most


def text_pairs(candidates: pa.Table, captions: list[str]) -> list[TextPair]:
    """Each candidate with its true text: its counterpart, if it has one, else its caption."""
    found = []
    columns = (candidates[name].to_pylist() for name in ("text", "edits", "true_text", "true_edits"))
    for caption, text, edits, true, true_edits in zip(captions, *columns, strict=True):
        spans = edits + (true_edits or [])
        before, end = min(edit["start"] for edit in spans), max(edit["end"] for edit in spans)
        found.append(TextPair(true or caption, text, before, len(caption) - end))
    return found
