"""Guarded negatives of one caption, kind by kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from schemas.rejects import Reason
from transforms.scene_graph.nodes import Graph
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


def affirmed(graph: Graph, end: int) -> Graph:
    """The relations, attributes and counts before `end`; objects after it are made irreplaceable.

    Objects keep their indices: one after `end` gets a head noun that is never replaced.
    """
    objects = [thing if thing.end <= end else thing._replace(head="view") for thing in graph.objects]
    return Graph(
        objects,
        [a for a in graph.attributes if a.end <= end and graph.objects[a.object].end <= end],
        [r for r in graph.relations if r.end <= end and all(graph.objects[n].end <= end for n in (r.subject, r.object))],
        [c for c in graph.counts if graph.objects[c.object].end <= end],
    )


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
