"""How data is quoted in messages: errors, details of rejects, what the command prints."""

from __future__ import annotations


def quoted(value: object, limit: int = 200) -> str:
    """`value` as text that is safe to print: at most about `limit` characters, on one line.

    Whatever has no shape of its own (controls, escape sequences, line ends, marks of direction, undecodable bytes) is shown as an
    escape, so that nothing in data can move a cursor, pass for a message of ours, or break one.
    """
    text = value if isinstance(value, str) else str(value)
    cut = text[:limit] + "..." if len(text) > limit else text
    return cut if cut.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in cut)
