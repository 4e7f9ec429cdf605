"""Guarded negatives of one caption, kind by kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from schemas.rejects import Reason
from transforms.scene_graph.nodes import Graph
from transforms.swaps.affirmed import affirmed
from transforms.swaps.attributes import swap_attributes
from transforms.swaps.context import ImageContext
from transforms.swaps.counts_order_negation import swap_counts, swap_negation, swap_order
from transforms.swaps.draft import Draft, Negative
from transforms.swaps.index import Index
from transforms.swaps.objects import swap_objects
from transforms.swaps.relations import swap_relations
from transforms.swaps.settings import SwapSettings
from transforms.truth.swaps import SwapJudge

_MAKERS: dict[str, Callable[[Draft], None]] = {
    "object": swap_objects, "attribute": swap_attributes, "relation": swap_relations, "count": swap_counts, "order": swap_order,
    "negation": swap_negation,
}  # fmt: skip


def negatives(
    caption: str,
    graph: Graph,
    index: Index,
    context: ImageContext,
    settings: SwapSettings,
    rng: np.random.Generator,
    refuse: Callable[[Reason, str], None] = lambda reason, detail: None,
    judge: SwapJudge | None = None,
) -> list[Negative]:
    """Negatives of a caption, grouped by kind in the order of `settings.kinds`, at most `per_kind` of each.

    `refuse` is called for every candidate that a guard or the judge refuses. A pure function of its arguments and the state of `rng`.
    """
    draft = Draft(caption, graph, index, context, settings, rng, refuse, judge)
    if draft.denied_from < len(caption):
        draft.graph = affirmed(graph, draft.denied_from)
    for kind in settings.kinds:
        _MAKERS[kind](draft)
    return draft.negatives
