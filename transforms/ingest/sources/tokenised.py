"""Turns tokenised text, as in WikiText, into plain text."""

from __future__ import annotations

import re

# "hyphen", "comma" and "point" inside a word or number: "guest @-@ starring", "0 @.@ 7".
_INSIDE = re.compile(r" ?@([-,.])@ ?")
_BEFORE = re.compile(r" (?=[,.;:!?%)\]}]+(?: |$)|n't\b|'(?:s|m|d|re|ve|ll)\b|' )")
_AFTER = re.compile(r"(?<=[(\[{£$#]) +")
_QUOTE = re.compile(r' ?" ?')
_UNKNOWN = re.compile(r"(?:(?<=\s)|^)<unk>(?:\s|$)")


def is_tokenised_heading(line: str) -> bool:
    """Whether `line` is a WikiText heading: " = Title = ", " = = Section = = "."""
    text = line.strip()
    return len(text) > 3 and text.startswith("= ") and text.endswith(" =") and "\n" not in text


def detokenise(text: str, unknown: str = "keep") -> str:
    """`text` with WikiText's tokenisation undone by these rules.

    "@-@", "@,@" and "@.@" become the character inside, joined to both sides. No space before , . ; : ! ? % ) ] } and before 's, n't
    and the like; none after ( [ { and currency signs. Double quotes open and close alternately: no space after an opening one or
    before a closing one. `unknown`="remove" removes the words <unk>; "keep" leaves them for a tokeniser that knows them.
    """
    if unknown == "remove":
        text = _UNKNOWN.sub("", text)
    text = _INSIDE.sub(r"\1", " ".join(text.split()))
    parts = _QUOTE.split(text) if ' "' in text or text.startswith('" ') else [text]
    if len(parts) > 1:
        pieces, last = [parts[0]], parts[0][-1:]
        for number, part in enumerate(parts[1:]):
            opening = number % 2 == 0
            blank = " " if (last if opening else part) and (not opening or last not in ("(", "[", "{")) else ""
            pieces.append(f'{blank}"{part}' if opening else f'"{blank}{part}')
            last = pieces[-1][-1]
        text = "".join(pieces)
    return _AFTER.sub("", _BEFORE.sub("", text)).strip()
