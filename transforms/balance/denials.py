"""True denials, the counterparts of negations: "a man not riding a horse" beside "a man not riding a skateboard", of a man on a skateboard.

Without them, every "not" and "without" would mark a negative. A denial denies a swap: what the guards found to be absent from the picture
is denied truthfully.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from transforms.balance.counterparts import Counterpart
from transforms.scene_graph.nodes import Graph
from transforms.swaps.draft import Negative
from transforms.swaps.edits import Edit, apply_edits
from transforms.truth.trees import MILLION


def denials(caption: str, graph: Graph, negatives: Sequence[Negative], most: int) -> list[Counterpart]:
    """For each negation among a caption's negatives, in order, up to `most` true denials of the same form."""
    found: list[Counterpart] = []
    texts = {negative.text for negative in negatives}
    for negation in negatives:
        if negation.kind != "negation":
            continue
        own: list[Counterpart] = []
        for swap in negatives:
            edits = _combined(graph, negation.edits[0], swap) if len(own) < most else ()
            text = apply_edits(caption, edits) if edits else ""
            if text and text not in texts:
                texts.add(text)
                truth = None if swap.truth is None else MILLION - swap.truth
                own.append(Counterpart(negation, text, edits, f"{negation.origin}, {swap.origin}", truth))
        found += own
    return found


def _combined(graph: Graph, denial: Edit, swap: Negative) -> tuple[Edit, ...]:
    """The edits that deny the swap in the place of what it replaces; empty unless it replaces all that the negation denies."""
    start, end, words = denial
    first = swap.edits[0]
    if swap.kind == "attribute" and len(swap.edits) == 1 and (start, start) == (end, first[0]):  # "not running" for "sleeping"
        denied = any(a.start == start and a.place in ("clause", "predicate") for a in graph.attributes)
        return ((start, first[1], words + first[2]),) if denied else ()
    things = {relation.object for relation in graph.relations if relation.start in (start, end) and relation.voice != "inverse"}
    if swap.kind != "object" or len(things) != 1:
        return ()
    relation = next(relation for relation in graph.relations if relation.start in (start, end))
    thing = graph.objects[things.pop()]
    within = all(max(end, relation.end) <= edit[0] and thing.phrase_start <= edit[0] and edit[1] <= thing.end for edit in swap.edits)
    edits = (denial, *swap.edits)
    return edits if within and all(one[1] <= other[0] for one, other in pairwise(edits)) else ()
