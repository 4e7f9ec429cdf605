"""Lays out the stages as a graph, for the overview: those that read nothing on the left, each other to the right of all it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.report.reading import StageView

_WIDE, _HIGH, _GAP_X, _GAP_Y = 172, 74, 44, 16


@dataclass(frozen=True)
class Node:
    """A stage's box: its top left corner, px, and what stands in it."""

    x: int
    y: int
    view: StageView
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Graph:
    """Boxes, and the SVG paths of the edges, in a picture of `width` x `height` px."""

    nodes: list[Node]
    edges: list[str]
    width: int
    height: int
    wide: int = _WIDE
    high: int = _HIGH


def layout(views: Sequence[StageView]) -> Graph:
    """The graph of stages; edges that follow from others are left out."""
    depth: dict[str, int] = {}
    reads: dict[str, set[str]] = {}
    for view in views:
        reads[view.name] = {name for name in view.reads if name in depth}
        depth[view.name] = 1 + max((depth[name] for name in reads[view.name]), default=-1)
    rows: dict[int, int] = {}
    places: dict[str, tuple[int, int]] = {}
    nodes = []
    for view in views:
        column = depth[view.name]
        row = rows[column] = rows.get(column, -1) + 1
        places[view.name] = column * (_WIDE + _GAP_X) + 4, row * (_HIGH + _GAP_Y) + 4
        nodes.append(Node(*places[view.name], view, _lines(view)))
    edges = [
        _path(places[name], places[view.name])
        for view in views
        for name in sorted(reads[view.name])
        if not any(name in _above(other, reads) for other in reads[view.name] - {name})
    ]
    columns, most = max(depth.values(), default=0) + 1, max(rows.values(), default=0) + 1
    return Graph(nodes, edges, columns * (_WIDE + _GAP_X) - _GAP_X + 8, most * (_HIGH + _GAP_Y) - _GAP_Y + 8)


def _above(name: str, reads: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    todo = [name]
    while todo:
        for one in reads.get(todo.pop(), ()):
            if one not in found:
                found.add(one)
                todo.append(one)
    return found


def _path(start: tuple[int, int], end: tuple[int, int]) -> str:
    x, y = start[0] + _WIDE, start[1] + _HIGH // 2
    to_x, to_y = end[0], end[1] + _HIGH // 2
    middle = to_x - _GAP_X // 2
    return f"M{x} {y}H{max(x, middle - 12)}C{middle} {y} {middle} {to_y} {to_x} {to_y}"


def _lines(view: StageView) -> tuple[str, ...]:
    if view.manifest is None:
        return (view.state,)
    counts = view.manifest.counts
    out = counts.rows_out.get(view.entry.main, 0) if view.entry.main else sum(counts.rows_out.values())
    lost = [f"{number:,} {word}" for number, word in ((counts.rejected, "rejected"), (counts.dropped, "dropped")) if number]
    state = "" if view.state == "current" else f"{view.state} · "
    flow = f"{counts.rows_in:,} in, {out:,} out" if counts.rows_in else f"{out:,} out"
    return tuple(filter(None, (flow, ", ".join(lost), f"{state}{duration(view.manifest.wall_s)}")))


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
