"""The stage that parses the sentences of the text collections, for the judge of truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pyarrow as pa
from pydantic import BaseModel

from schemas.tables import TEXT_GRAPHS
from transforms.graphs.stage import GraphParams, ParseCaptions
from transforms.retrieval.settings import RetrievalSettings


class TextGraphParams(GraphParams):
    """The settings of the parser, and whether retrieved texts are judged."""

    retrieval: RetrievalSettings | None = None


class ParseTexts(ParseCaptions):
    """Writes `text_graphs`: one row per sentence, in the order of the texts. A sentence that the parser fails on becomes a reject."""

    name = "text_graphs"
    main_table = "text_graphs"
    augments = "texts"
    internal = True
    rows_by = ("text_id",)
    params_type: ClassVar[type[BaseModel]] = TextGraphParams
    parsed = ("texts", "text_id", "text")

    @classmethod
    def applies(cls, params: GraphParams) -> bool:
        """Where the judge is asked about retrieved texts, and uses graphs."""
        texts = params.retrieval.texts if isinstance(params, TextGraphParams) and params.retrieval else None
        return texts is not None and texts.min_truth is not None and super().applies(params)

    @property
    def writes(self) -> Mapping[str, pa.Schema]:
        """The graphs, by text."""
        return {"text_graphs": TEXT_GRAPHS}
