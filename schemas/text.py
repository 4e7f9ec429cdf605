"""Quoting of data in messages: errors, details of rejects, the command's output."""

from __future__ import annotations


def quoted(value: object, limit: int = 200) -> str:
    """`value` as text that is safe to print: one line of about `limit` characters at most.

    Non-printable characters (controls, escape sequences, line ends, directional marks, undecodable bytes) are escaped, so that data can
    neither move the cursor nor forge or break a message.
    """
    text = value if isinstance(value, str) else str(value)
    return _escaped(text[:limit] + "..." if len(text) > limit else text, "")


def printable(text: str) -> str:
    """`text` of any length, safe to print: as `quoted`, but line ends and tabs stay."""
    return _escaped(text, "\n\t")


def _escaped(text: str, kept: str) -> str:
    return text if text.isprintable() else "".join(one if one.isprintable() or one in kept else ascii(one)[1:-1] for one in text)
