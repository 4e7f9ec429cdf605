"""The state that all kinds of swaps share while they make negatives of one caption."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from schemas.rejects import Reason
from transforms.english.denials import asserted_until
from transforms.english.morphology import article, like
from transforms.graphs.vocabulary import determiner_of
from transforms.scene_graph.nodes import Graph, ObjectNode
from transforms.swaps.context import ImageContext
from transforms.swaps.edits import Edit, apply_edits
from transforms.swaps.index import Index
from transforms.swaps.settings import SwapSettings
from transforms.truth.swaps import SwapJudge
from transforms.truth.trees import MILLION

_OPENING = " \t\"'“‘([*-•"
_SENTENCE = re.compile(r"(?:^|[.!?:]|(?:^|\s)\d+\))\Z")
_SMALL = frozenset(
    "a an and as at but by down for from in into is it its near next of off on onto or out over the to top under up with".split()
)


def is_title(caption: str) -> bool:
    """Whether a caption of three or more words is in title case: all are capitalised, or all but articles, prepositions and the like. Not
    one all in capitals."""
    words = [word for word in caption.split() if word[:1].isalpha()]
    large = [word for word in words if word.lower().strip(".,") not in _SMALL]
    return any(len(given) > 2 and all(word[0].isupper() for word in given) for given in (words, large)) and not caption.isupper()


def as_title(text: str, small: bool) -> str:
    """The text in title case; small: articles, prepositions and the like keep their small letters."""
    words = text.split(" ")
    return " ".join(word if small and word.lower() in _SMALL else word[:1].upper() + word[1:] for word in words)


class Negative(NamedTuple):
    """A caption made false. `origin` names the original and its replacement; `score` is the swap's hardness; `presence` is the
    guards' estimated probability that the replacement is in the picture; `truth` is the judge's probability that the text is true, in
    millionths."""

    text: str
    level: str
    kind: str
    edits: tuple[Edit, ...]
    origin: str
    score: float
    presence: float
    why: str
    truth: int | None = None


class Draft:
    """One caption with its graph, its image's context, its random generator and the negatives so far."""

    __slots__ = (
        "caption",
        "graph",
        "index",
        "context",
        "settings",
        "rng",
        "negatives",
        "texts",
        "refuse",
        "remaining",
        "denied_from",
        "shouting",
        "titled",
        "small",
        "articles",
        "judge",
        "limit",
        "count_limit",
    )

    def __init__(
        self,
        caption: str,
        graph: Graph,
        index: Index,
        context: ImageContext,
        settings: SwapSettings,
        rng: np.random.Generator,
        refuse: Callable[[Reason, str], None],
        judge: SwapJudge | None = None,
    ):
        self.caption = caption
        self.graph = graph
        self.index = index
        self.context = context
        self.settings = settings
        self.rng = rng
        self.refuse = refuse
        self.judge = judge
        self.limit = int(MILLION * (1.0 if settings.truth is None else settings.truth))
        self.count_limit = max(self.limit, int(MILLION * settings.balance.count_truth) if settings.balance else 0)
        self.negatives: list[Negative] = []
        self.texts: set[str] = set()
        self.denied_from = asserted_until(caption)
        self.shouting = caption.isupper()
        self.titled = is_title(caption)
        self.small = any(word in _SMALL for word in caption.split())
        self.articles: dict[int, Any] = {}
        self.remaining = dict.fromkeys(settings.kinds, settings.per_kind)

    def add(
        self,
        kind: str,
        level: str,
        edits: tuple[Edit, ...],
        origin: str,
        score: float,
        presence: float,
        why: str,
        evidence: Callable[[], tuple[int, ...]],
    ) -> bool:
        """Adds a negative unless it is a duplicate, one of the image's captions, or too likely true; True if it was added.

        `evidence`: what the judge is told (`transforms/swaps/evidence.py`). Nothing is added where spans overlap: a parse may nest one
        object's phrase in another's.
        """
        if len(edits) > 1 and any(after[0] < before[1] for before, after in pairwise(sorted(edits))):
            return False
        if self.shouting or self.titled:  # otherwise case alone would give the negative away
            edits = tuple((start, end, text.upper() if self.shouting else as_title(text, self.small)) for start, end, text in edits)
        text = apply_edits(self.caption, edits)
        if text in self.texts:
            self.refuse(Reason.REPEATED_TEXT, origin)
            return False
        if text.lower().rstrip(" .") in self.context.captions:
            self.refuse(Reason.SAME_TEXT, origin)
            return False
        self.texts.add(text)
        truth = None
        if self.judge is not None:
            truth = self.judge.millionths("object" if kind == "relation" and level == "phrase" else kind, evidence())
            if truth > (self.count_limit if kind == "count" else self.limit):
                self.refuse(Reason.JUDGED_TRUE, origin)
                return False
        self.negatives.append(Negative(text, level, kind, edits, origin, score, presence, why, truth))
        self.remaining[kind] -= 1
        return True

    def wants(self, kind: str) -> bool:
        """Whether more negatives of this kind are wanted."""
        return self.remaining.get(kind, 0) > 0

    def gumbel(self, size: int) -> np.ndarray:
        """Gumbel noise for sampling without replacement, float64 [size], scaled by the temperature."""
        return self.rng.gumbel(0.0, self.settings.temperature, size)  # by the C library: numpy's own logarithms differ between CPUs

    def words(self, start: int, end: int, words: str) -> Edit:
        """An edit that puts `words` in a span, capitalised like the text it replaces."""
        return start, end, like(self.caption[start:end], words, self.starts_sentence(start))

    def starts_sentence(self, start: int) -> bool:
        """Whether a sentence starts there, after signs or a number of a list."""
        return _SENTENCE.search(self.caption[:start].rstrip(_OPENING)) is not None

    def article_edit(self, start: int, following: str) -> tuple[Edit, ...]:
        """The edit that makes the article before `start` fit `following`; empty if there is no article or it already fits."""
        found = self.articles.get(start, ())
        if found == ():
            found = self.articles[start] = self._article_before(start)
        if found is None:
            return ()
        cut, end, word = found
        fitting = article(following)
        return () if word == fitting else (self.words(cut, end, fitting),)

    def _article_before(self, start: int) -> tuple[int, int, str] | None:
        """Start, end and lower-case form of the indefinite article right before `start`; None if there is none."""
        before = self.caption[:start].rstrip(" ")
        if len(before) == start:
            return None
        cut = len(before)
        while cut and before[cut - 1].isalpha():
            cut -= 1
        word = before[cut:].lower()
        if word not in ("a", "an") or (cut and not before[cut - 1].isspace() and before[cut - 1] not in "\"'“‘(-"):
            return None
        return cut, len(before), word

    def determiner(self, thing: ObjectNode) -> str:
        """The kind of determiner that the object's phrase begins with: "a", "bare" or "other"."""
        return determiner_of(self.caption, thing.phrase_start, thing.start) if thing.phrase_start < thing.start else "bare"
