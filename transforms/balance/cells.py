"""Cells: fixed, equal intervals of the rows' placement, whose captions are balanced together.

Their number depends only on the number of pairs, so neither workers nor partitions affect what is selected. A cell may extend over several
partitions; the one in which it begins processes it.
"""

from __future__ import annotations


def cells_of(pairs: int, size: int) -> int:
    """The number of cells of a corpus with `pairs` pairs, about `size` in each."""
    return max(1, round(pairs / size))


def owner(cell: int, cells: int, partitions: int) -> int:
    """The partition in which a cell begins."""
    return cell * partitions // cells


def overlapping(part: int, parts: int, others: int) -> range:
    """Which of `others` equal intervals of a line overlap the interval `part` of `parts`."""
    return range(part * others // parts, -(-(part + 1) * others // parts))
