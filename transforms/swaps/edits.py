"""Character-span edits of a caption: applied and undone."""

from __future__ import annotations

from collections.abc import Sequence

Edit = tuple[int, int, str]  # start, end (code points of the caption, end exclusive), the replacement text


def apply_edits(caption: str, edits: Sequence[Edit]) -> str:
    """The caption with these spans replaced. Raises ValueError when spans overlap, exceed the caption or are out of order."""
    if len(edits) == 1:
        start, end, text = edits[0]
        if 0 <= start <= end <= len(caption):
            return f"{caption[:start]}{text}{caption[end:]}"
    parts, last = [], 0
    for start, end, text in edits:
        if not last <= start <= end <= len(caption):
            raise ValueError(f"edit ({start}, {end}) does not follow {last} within {len(caption)} characters")
        parts.append(caption[last:start])
        parts.append(text)
        last = end
    parts.append(caption[last:])
    return "".join(parts)


def undo_edits(text: str, edits: Sequence[Edit], originals: Sequence[str]) -> str:
    """The caption that `edits` turned into `text`; `originals` are the texts that the edits replaced, one per edit."""
    parts, last, shift = [], 0, 0
    for (start, end, new), old in zip(edits, originals, strict=True):
        parts.append(text[last : start + shift])
        parts.append(old)
        last = start + shift + len(new)
        shift += len(new) - (end - start)
    parts.append(text[last:])
    return "".join(parts)
