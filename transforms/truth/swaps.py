"""The judge of swaps: the probability that a swap is true of its image, from evidence about what it changes.

The judge of whole texts is of no use here, since a swap repeats most of a caption. A set of trees per family of
swaps is asked about one swap at a time, while it is drafted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transforms.truth.trees import Trees, as_trees

# By family of swaps, the names of the evidence, in order. Relations that bring a new object are judged as objects are.
_COMMON = ("words", "captions", "labels")
FAMILIES: dict[str, tuple[str, ...]] = {
    "object": (*_COMMON, "presence", "usual", "frequency", "fit", "steps", "kind", "plural", "phrase"),
    "attribute": (*_COMMON, "usual", "own", "both", "frequency", "group", "several", "against", "given", "beside", "disputed"),
    "relation": (*_COMMON, "with_object", "with_subject", "both", "frequency", "verb", "known"),
    "count": (*_COMMON, "difference", "value", "known", "labelled", "usual"),
    "order": (*_COMMON, "form", "reverse_subject", "reverse_object", "known"),
    "negation": (*_COMMON, "form", "several", "several_objects"),
    "known": (*_COMMON, "kind"),  # a true text, the counterpart of a swap
}


class SwapJudge:
    """Scores swaps by what they change. Equal evidence is scored once."""

    def __init__(self, weights: Mapping[str, Any]):
        """`weights` by family, as `transforms.truth.fit` writes them. Raises ValueError or KeyError when they are not valid."""
        self._trees: dict[str, Trees] = {family: as_trees(names, weights[family]) for family, names in FAMILIES.items()}
        self._known: dict[tuple[str, tuple[int, ...]], int] = {}

    def millionths(self, family: str, evidence: tuple[int, ...]) -> int:
        """The probability, in millionths, that a swap is true of its image. `evidence`: as `FAMILIES` names it."""
        found = self._known.get((family, evidence))
        if found is None:
            found = self._known[family, evidence] = self._trees[family].score_one(evidence)
        return found
