"""What a caption asserts, as opposed to what it denies."""

from __future__ import annotations

import re

from transforms.scene_graph.nodes import Graph

_INEXACT = re.compile(
    r"(?<![^\W_])(?:(?:more|less|fewer) than|at (?:least|most)|over|about|around|almost|nearly|approximately|up to|maybe|perhaps|or)"
    r"\s+$",
    re.IGNORECASE,
)
# Besides those that are counted there are others, or everybody has as many.
_FURTHER = re.compile(r"(?<![^\W_])(?:others?|another|more|rest|additional|extra|each|every|apiece)(?![^\W_])", re.IGNORECASE)


def exact_counts(caption: str, graph: Graph) -> dict[str, int]:
    """The numbers that a caption gives of its objects, by head: all that the picture shows, as far as the caption tells."""
    if _FURTHER.search(caption):
        return {}
    return {graph.objects[one.object].head: one.value for one in graph.counts if not _INEXACT.search(caption[: one.start])}


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
