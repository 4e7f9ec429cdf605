"""Constant-time access to retrieved images and texts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

from schemas.corpus import Corpus
from schemas.errors import CorpusError
from schemas.regions import Regions, open_regions
from schemas.store import RowFile
from schemas.tables import TEXTS

FILES_HELD = 64


class Matched:
    """The images and texts that the matches in a corpus's `examples` refer to; files are opened on first use, and some are kept open.

    A match is an item of `matches_image` or `matches_text`, or a row of `matches`. Raises as `RowFile` does, and CorpusError when a
    match refers to a row with another id.
    """

    def __init__(self, corpus: Corpus):
        self._regions = lru_cache(FILES_HELD)(partial(open_regions, corpus, "image_regions"))
        self._texts = lru_cache(FILES_HELD)(partial(_texts, corpus))

    def regions(self, match: Mapping[str, Any]) -> Regions:
        """The regions of a matched image."""
        file = self._regions(match["partition"])
        found = file[match["row"]]
        _check(match, found.image_id, file)
        return found

    def text(self, match: Mapping[str, Any]) -> str:
        """A matched sentence, from its table."""
        file = self._texts(match["partition"])
        batch, row = file.locate(match["row"])
        _check(match, file.batch(batch)["text_id"][row].as_py(), file)
        return str(file.batch(batch)["text"][row].as_py())


def _texts(corpus: Corpus, partition: int) -> RowFile:
    return RowFile(corpus.table_url("texts", "texts", partition), "texts", TEXTS, corpus.content("texts", "texts", partition))


def _check(match: Mapping[str, Any], found: str, file: RowFile) -> None:
    wanted = match.get("id", match.get("matched_id"))
    if found != wanted:
        raise CorpusError(f"{file.url}: row {match['row']} is {found!r}, but a match expects {wanted!r}: run `cmcl verify` on the corpus")
