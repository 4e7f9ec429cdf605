"""From marked-up or tokenised text to plain text: Markdown, and the tokenisation of WikiText."""

from __future__ import annotations

import re
from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?:.*\n)*?(?:---|\.\.\.)[ \t]*(?:\n|\Z)")

_HEADING = re.compile(r"\s*=( =)* .* =( =)*\s*")
# "hyphen", "comma" and "point" inside a word or number: "guest @-@ starring", "0 @.@ 7".
_INSIDE = re.compile(r" ?@([-,.])@ ?")
_BEFORE = re.compile(r" +(?=[,.;:!?%)\]}]+(?: |$)|n't\b|'(?:s|m|d|re|ve|ll)\b|' )")
_AFTER = re.compile(r"(?<=[(\[{£$#]) +")
_QUOTE = re.compile(r' ?" ?')
_UNKNOWN = re.compile(r"(?:(?<=\s)|^)<unk>(?:\s|$)")


def is_tokenised_heading(line: str) -> bool:
    """Whether `line` is a heading of WikiText: " = Title = ", " = = Section = = "."""
    return bool(_HEADING.fullmatch(line))


def detokenise(text: str, unknown: str = "keep") -> str:
    """`text` without the tokenisation of WikiText, by these rules.

    "@-@", "@,@" and "@.@" become their sign, joined to both sides. No blank before , . ; : ! ? % ) ] } and before 's, n't and the
    like; none after ( [ { and currency signs. Double quotes are opening and closing in turn: no blank after an opening one, none
    before a closing one. `unknown`="remove" takes out the words <unk>; "keep" leaves them for a tokeniser that knows them.
    """
    if unknown == "remove":
        text = _UNKNOWN.sub("", text)
    text = _INSIDE.sub(r"\1", " ".join(text.split()))
    parts = _QUOTE.split(text) if ' "' in text or text.startswith('" ') else [text]
    if len(parts) > 1:
        joined = parts[0]
        for number, part in enumerate(parts[1:]):
            opening = number % 2 == 0
            blank = " " if (joined if opening else part) and (not opening or not joined.endswith(("(", "[", "{"))) else ""
            joined += f'{blank}"{part}' if opening else f'"{blank}{part}'
        text = joined
    return _AFTER.sub("", _BEFORE.sub("", text)).strip()


def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")


def markdown_paragraphs(text: str, headings: bool = False) -> Iterator[tuple[int, str]]:
    """The paragraphs of Markdown `text` as plain text, each with the line (from 0) where it starts, line ends as blanks.

    Left out: front matter (YAML between `---` at the very start), code, HTML, tables, rules, images; headings unless `headings`.
    """
    front = _FRONT_MATTER.match(text)
    skipped = front.group().count("\n") if front else 0
    tokens = _parser().parse(text[front.end():] if front else text)
    inside: list[str] = []
    for token in tokens:
        if token.nesting == 1:
            inside.append(token.type)
        elif token.nesting == -1:
            inside.pop()
        elif token.type == "inline" and inside and token.map is not None:
            kind = inside[-1]
            if kind == "paragraph_open" or (headings and kind == "heading_open"):
                plain = " ".join(_inline(token.children or []).split())
                if plain:
                    yield skipped + token.map[0], plain


def _inline(tokens: list[Token]) -> str:
    parts = []
    for token in tokens:
        if token.type in ("text", "code_inline"):
            parts.append(token.content)
        elif token.type in ("softbreak", "hardbreak"):
            parts.append(" ")
    return "".join(parts)
