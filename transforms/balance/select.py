"""Selects candidates kind by kind, and measures how well they can be distinguished from true texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from transforms.balance.blind import Blind, halves, ranked
from transforms.balance.embeddings import Embeddings
from transforms.balance.fit import Fit
from transforms.balance.flows import balanced
from transforms.balance.ngrams import TextPair, differences
from transforms.balance.scenes import Encoded, Scenes, spread
from transforms.swaps.settings import BalanceSettings, SwapSettings

# By how much the tolerance is stricter for kinds whose few words (numbers, prepositions) each weigh more in a text-only ranker, or whose
# candidates are few.
STRICTER = {"attribute": 2.5, "relation": 4.5, "count": 6.5, "order": 2.3, "negation": 2}


@dataclass
class Selected:
    """Which candidates of a cell are kept, bool [n]; by kind, numbers and blind accuracy before and after, if measured."""

    kept: np.ndarray
    figures: dict[str, Any]


def select(candidates: pa.Table, captions: pa.Table, settings: SwapSettings, measured: bool, vectors: np.ndarray | None = None) -> Selected:
    """Selects among a cell's candidates, kind by kind.

    Args:
        candidates: rows of `candidates`, in the order of `captions`.
        captions: rows of `pairs`: the cell's.
        settings: `balance` must be set.
        measured: whether to measure blind accuracy.
        vectors: embeddings of the captions, float32 [n, width]; None: they are encoded where an encoder is set.
    """
    balance = settings.balance
    assert balance is not None
    kept = np.zeros(candidates.num_rows, dtype=bool)
    figures: dict[str, Any] = {}
    if not candidates.num_rows:
        return Selected(kept, figures)
    texts = captions["caption"].to_pylist()
    fit = Fit(texts, captions["image_id"].to_pylist())
    embeddings = Embeddings(balance.encoder, texts, vectors) if balance.encoder and (measured or balance.embeddings) else None
    scenes = Scenes(texts, embeddings.captions) if embeddings and balance.embeddings else None
    blind = Blind(balance.sample, embeddings)
    rows = pc.index_in(candidates["pair_id"], captions["pair_id"].combine_chunks()).to_numpy()
    kinds = candidates["kind"].cast(pa.string())
    for kind in settings.kinds:
        own = np.flatnonzero(pc.equal(kinds, kind).to_numpy(zero_copy_only=False))
        if not len(own):
            continue
        pairs = text_pairs(candidates.take(own), captions["caption"].take(rows[own]).to_pylist())
        groups, most = rows[own], settings.per_kind
        if kind == "negation":  # each at most once, with one of its denials
            negations = pc.dictionary_encode(candidates["text"].take(own).combine_chunks()).indices.to_numpy()
            groups, most = np.cumsum(np.diff(negations, prepend=-1) != 0), 1
        matrix = differences(pairs)
        features = sp.hstack([matrix, fit.differences(pairs)], format="csr")
        tolerance = balance.tolerance / STRICTER.get(kind, 1)
        chosen = balanced(features, groups, most, tolerance)
        if scenes and embeddings:
            near = Encoded(pairs, rows[own], scenes, embeddings, balance.encoded, int(chosen.sum()))
            for _ in range(near.rounds):
                along = near.features(chosen)
                if along is not None:
                    chosen = balanced(sp.hstack([features, sp.csr_matrix(along)], format="csr"), groups, most, tolerance)
        images = captions["image_id"].take(rows[own]).to_pylist()
        unbalanced = _unbalanced(matrix, chosen, images, balance)
        kept[own] = chosen = chosen & (not unbalanced)
        if measured:
            figures[kind] = {"candidates": len(own), "kept": int(chosen.sum())} | ({"unbalanced": unbalanced} if unbalanced else {})
            for name, those in (("before", first_of(groups, most)), ("after", chosen)):
                figures[kind] |= blind.measured(name, matrix, pairs, images, np.flatnonzero(those))
    if figures:
        figures["all"] = {"captions": captions.num_rows, "kept": int(kept.sum())} | blind.together()
    return Selected(kept, figures)


def _unbalanced(matrix: sp.csr_matrix, chosen: np.ndarray, images: list[str], balance: BalanceSettings) -> float | None:
    """The blind accuracy of the chosen ones if it is above the limit by more than two standard errors, else None."""
    if balance.limit is None:
        return None
    own = spread(np.flatnonzero(chosen), balance.sample)
    trained = halves([images[row] for row in own.tolist()])
    accuracy = ranked(matrix[own], trained, 0.1) if len(own) else None
    if accuracy is None:
        return None
    return accuracy if accuracy - 1 / np.sqrt((~trained).sum()) > balance.limit else None


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
