"""Extracts the plain text of paragraphs from Markdown."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.admon import admon_plugin
from mdit_py_plugins.footnote import footnote_plugin

_FRONT_MATTER = re.compile(r"\A(?:---[ \t]*\n(.*?)^(?:---|\.\.\.)|\+\+\+[ \t]*\n(.*?)^\+\+\+)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_FRONT_BYTES = 64 << 10
_CHECK_BOX = re.compile(r"\A\[[ xX]\][ \t]+")
_FOOTNOTE_MARK = re.compile(r"\[\^[^\]\s]{1,60}\]")
# Lines that open or close an admonition: Docusaurus and Pandoc (:::), GitHub and Obsidian ([!NOTE]).
_ADMONITION = re.compile(r"^(?::::.*|\[![A-Za-z-]{1,30}\].*)$(?:\n|\Z)", re.MULTILINE)
_MARKS = "[]()<>`*_!~&\\"
_MOST_MARKS = 1000  # per paragraph; with more the markup is kept as is, since parsing some of it takes quadratic time
_NESTING = r"(?:[ \t]*(?:>|[-+*](?=[ \t]|$)|\d{1,9}[.)](?=[ \t]|$)))"
_LEADING = re.compile(rf"^{_NESTING}*[ \t]*", re.MULTILINE)
_DEEP = re.compile(rf"^{_NESTING}{{250}}", re.MULTILINE)  # nested deeper in one line than anyone writes, and slow to parse


@cache
def _parser() -> MarkdownIt:
    """A block parser: inline markup is parsed separately, per paragraph. Nesting is limited only by the stack."""
    parser = MarkdownIt("commonmark", {"html": True, "maxNesting": 1_000_000}).enable("table").enable("strikethrough")
    return parser.use(footnote_plugin).use(admon_plugin).disable("inline")


def markdown_paragraphs(text: str, headings: bool = False, front_matter: bool = True) -> Iterator[tuple[int, str]]:
    """The paragraphs of Markdown `text` as plain text on one line, each with the number (from 0) of the line where it starts.

    Left out: front matter (YAML between `---`, TOML between `+++`, at the very start, if `front_matter`), code, HTML, tables,
    rules, images, footnotes, check boxes, admonition markers; headings and admonition titles unless `headings`.
    """
    skipped = _front_matter_lines(text) if front_matter else 0
    body = text.split("\n", skipped)[-1] if skipped else text
    environment: dict[str, Any] = {}
    try:
        tokens = _parser().parse(_LEADING.sub("", body) if _DEEP.search(body) else body, environment)
    except RecursionError:  # nested too deep to be parsed: remove the nesting markup
        environment = {}
        tokens = _parser().parse(_LEADING.sub("", body), environment)
    wanted = ("paragraph_open", "heading_open", "admonition_title_open") if headings else ("paragraph_open",)
    inside: list[str] = []
    for token in tokens:
        if token.nesting == 1:
            inside.append(token.type)
        elif token.nesting == -1:
            inside.pop()
        elif token.type == "inline" and inside and token.map is not None and inside[-1] in wanted:
            plain = _plain(token.content, environment, in_list="list_item_open" in inside[-2:])
            if plain:
                yield skipped + token.map[0], plain


def _front_matter_lines(text: str) -> int:
    """The number of lines of front matter at the start: settings between markers, as opposed to text between two rules."""
    match = _FRONT_MATTER.match(text)
    if match is None or match.end() > _FRONT_BYTES:
        return 0
    try:
        found = yaml.safe_load(match.group(1)) if match.group(1) is not None else tomllib.loads(match.group(2))
    except (yaml.YAMLError, tomllib.TOMLDecodeError, ValueError, RecursionError):
        return 0
    return match.group().count("\n") if found is None or isinstance(found, dict) else 0


def _plain(content: str, environment: dict[str, Any], in_list: bool) -> str:
    """The text of one paragraph without its markup."""
    content = _ADMONITION.sub("", content)
    if in_list:
        content = _CHECK_BOX.sub("", content)
    if sum(map(content.count, _MARKS)) <= _MOST_MARKS:
        tokens: list[Token] = []
        _parser().inline.parse(content, _parser(), environment, tokens)
        content = "".join(
            token.content if token.type in ("text", "text_special", "code_inline") else " "
            for token in tokens
            if token.type in ("text", "text_special", "code_inline", "softbreak", "hardbreak")
        )
    return " ".join(_FOOTNOTE_MARK.sub("", content).split())
