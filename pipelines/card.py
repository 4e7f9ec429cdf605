"""`cmcl card`: writes the dataset card of a corpus, `README.md` in its folder.

The card is the header and one block between two markers. Everything outside the block, and every key of the header that does not follow
from the corpus, belongs to the user and is kept. A `README.md` without the markers is not ours and is never overwritten.
"""

from __future__ import annotations

from typing import Any

import yaml

from pipelines.card_header import card_tables, header
from pipelines.card_settings import CardSettings
from pipelines.card_text import datasheet
from pipelines.lock import corpus_lock
from schemas import files
from schemas.corpus import CARD, CARD_BEGIN, CARD_END, Corpus, Index, is_card
from schemas.errors import CorpusError

_MAX_BYTES = 4 << 20


def write_card(corpus: Corpus, index: Index, stated: CardSettings) -> list[str]:
    """Writes or updates the card; returns what is missing from it, one sentence each.

    stated: facts that only the user knows (licence, languages, sources). The same corpus and settings give the same bytes.

    Raises CorpusError when README.md is not a card, is damaged or is a link, or another process holds the corpus; OSError when the
    folder is not writable.
    """
    with corpus_lock(corpus.url) as barred:
        if barred:
            raise barred
        before, kept, after = _existing(corpus.url)
        troubles: list[str] = []
        tables = card_tables(corpus, index, troubles)
        known = {"pretty_name": stated.title, "license": stated.license, "language": stated.language}
        head = {**kept, **{key: value for key, value in known.items() if value}, **header(tables)}
        block = datasheet(corpus, index, tables, stated, troubles)
        text = (
            f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=130)}---\n{before}"
            f"{CARD_BEGIN}\n{block}{CARD_END}{after}"
        )
        with files.atomic_write(files.join(corpus.url, CARD)) as sink:
            sink.write(text.encode())
    return troubles


def stated_of(given: str) -> CardSettings | None:
    """The key `card` of a configuration file; None when `given` is a corpus instead."""
    from pipelines.config import load_config

    return load_config(given).card if given.endswith((".yaml", ".yml")) else None


def _existing(url: str) -> tuple[str, dict[str, Any], str]:
    """The existing card's text before our block, its header, and its text after the block."""
    path = files.join(url, CARD)
    entry = next((entry for entry in files.entries(url) if entry.name == CARD), None)
    if entry is None:
        return "\n", {}, "\n"
    if entry.kind != "file":
        raise CorpusError(f"{path} is not a plain file: move it away")
    if entry.size > _MAX_BYTES or not is_card(path):
        raise CorpusError(
            f"{path} was not written by `cmcl card` (it lacks the lines {CARD_BEGIN} and {CARD_END}, or has more than "
            "4 MiB), so it is not overwritten: move it away"
        )
    with files.open_read(path) as file:
        lines = file.read().decode().split("\n")
    start, end = lines.index(CARD_BEGIN), lines.index(CARD_END)
    before, after = "".join(f"{line}\n" for line in lines[:start]), "".join(f"\n{line}" for line in lines[end + 1 :])
    if not before.startswith("---\n"):
        return before, {}, after
    head, mark, rest = before[4:].partition("\n---\n")
    try:
        kept = yaml.safe_load(head)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = str(error).splitlines()[0]
        raise CorpusError(f"{path}: its header is not valid YAML ({said}): correct it, or move the file away") from None
    if not mark or not isinstance(kept, dict):
        raise CorpusError(f"{path}: its header is not a YAML mapping between two lines `---`: correct it, or move it away")
    return rest, kept, after
