"""Selects candidates: well-formed sentences that differ from the caption in wording, make the same claims and are close in meaning.

Cheap checks come first: words, then scene graphs, then the sentence encoder for the remaining candidates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from rapidfuzz.distance import Levenshtein
from spacy.tokens import Doc

from schemas.rejects import Reason
from transforms.back_translation.candidates import Candidate
from transforms.back_translation.settings import BackTranslationSettings
from transforms.back_translation.texts import change, garbled, restored, words_of
from transforms.back_translation.truth import Reading, graphs_differ, thing_lost
from transforms.back_translation.words import words_differ
from transforms.engines.batches import apply_each
from transforms.engines.encoders.base import SentenceEncoder

_ENCODED = 8  # candidates of a caption whose similarity is computed; more are only spares


class Parser(Protocol):
    """The part of a caption parser's interface used here."""

    def documents(self, captions: Sequence[str]) -> Iterable[Doc]:
        """One document per text."""


class Positive(NamedTuple):
    """A kept candidate. `similarity` is its cosine with the caption, `change` the share of words that differ, `how` a rewording's name."""

    text: str
    pivot: int
    rank: int
    similarity: float
    change: float
    how: str = ""


@dataclass
class Choice:
    """The outcome for one caption. `spares`: as good as the positives, but beyond the number wanted. `candidates`: their number, and
    `again` that of the second attempt. `stand_ins`: whether words were replaced for translation."""

    positives: list[Positive] = field(default_factory=list)
    spares: list[Positive] = field(default_factory=list)
    refused: list[tuple[Reason, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    candidates: int = 0
    again: int = 0
    stand_ins: bool = False


class _Open(NamedTuple):
    """A candidate that has passed all checks so far."""

    text: str
    words: list[str]
    candidate: Candidate
    change: float


def choose(
    found: Mapping[str, Sequence[Candidate]],
    parser: Parser,
    encoder: SentenceEncoder,
    settings: BackTranslationSettings,
    readings: Readings | None = None,
) -> dict[str, Choice]:
    """The positives of each caption, best first, and the reason for dropping each other candidate. A pure function. `readings`: texts that
    are already parsed."""
    choices = {caption: Choice(candidates=len(candidates)) for caption, candidates in found.items()}
    left = {caption: _by_words(caption, candidates, settings, choices[caption]) for caption, candidates in found.items()}
    readings = readings or Readings(parser)
    left = _by_graphs(left, readings, choices)
    if settings.select == "different":
        left = {caption: _most_different(caption, candidates, readings, choices[caption]) for caption, candidates in left.items()}
    similarities = _similarities(left, encoder, choices)
    for caption, candidates in left.items():
        _pick(
            caption,
            [(similarities[caption, one.text], one) for one in candidates if (caption, one.text) in similarities],
            settings,
            choices[caption],
            readings,
        )
    return choices


def _by_words(caption: str, candidates: Sequence[Candidate], settings: BackTranslationSettings, choice: Choice) -> list[_Open]:
    """The candidates that pass the checks on words alone."""
    own, left, seen = words_of(caption), [], set()
    for candidate in sorted(candidates, key=lambda one: (one.rank, one.pivot)):
        text = restored(candidate.text, caption)
        if candidate.lost:
            choice.refused.append((Reason.STAND_IN_LOST, text))
            continue
        words = words_of(text)
        if tuple(words) in seen:
            choice.refused.append((Reason.REPEATED_TEXT, text))
            continue
        seen.add(tuple(words))
        nonsense = garbled(text, caption)
        if nonsense:
            choice.refused.append((Reason.GARBLED, f"{nonsense}: {text}"))
            continue
        changed = change(own, words)
        if changed < settings.min_change or not changed:
            choice.refused.append((Reason.UNCHANGED, f"{changed:.2f}: {text}"))
            continue
        problem = words_differ(own, words)
        if problem:
            choice.refused.append((problem[0], f"{problem[1]}: {text}"))
            continue
        left.append(_Open(text, words, candidate, changed))
    return left


class Readings:
    """Parsed texts, and error messages for texts that could not be parsed."""

    def __init__(self, parser: Parser):
        self._parser = parser
        self.of: dict[str, Reading] = {}
        self.why: dict[str, str] = {}

    def add(self, texts: Iterable[str]) -> None:
        """Parses the new texts among these, sorted: batches must not depend on the order in which texts arrive."""
        new = sorted(set(texts) - self.of.keys() - self.why.keys(), key=lambda text: (len(text), text))
        documents, failed = apply_each(lambda batch: list(self._parser.documents(batch)), new)
        self.why.update((new[index], problem) for index, problem in failed.items())
        self.of.update((text, Reading.of(document)) for text, document in zip(new, documents, strict=True) if document is not None)


def _by_graphs(left: Mapping[str, list[_Open]], readings: Readings, choices: Mapping[str, Choice]) -> dict[str, list[_Open]]:
    """The candidates that pass the checks on scene graphs. Captions without candidates are not parsed, nor are candidates that lack
    one of their caption's objects."""
    readings.add(caption for caption, candidates in left.items() if candidates)
    kept: dict[str, list[_Open]] = {}
    for caption, candidates in left.items():
        kept[caption] = []
        for one in candidates:
            problem = thing_lost(readings.of[caption], one.words) if caption in readings.of else None
            if problem:
                choices[caption].refused.append((problem[0], f"{problem[1]}: {one.text}"))
            else:
                kept[caption].append(one)
    readings.add(one.text for caption, candidates in kept.items() if caption in readings.of for one in candidates)
    return {caption: list(_agreeing(caption, candidates, readings, choices[caption])) for caption, candidates in kept.items()}


def _agreeing(caption: str, candidates: Sequence[_Open], readings: Readings, choice: Choice) -> Iterator[_Open]:
    """Candidates whose scene graph matches the caption's and that add no grammatical errors."""
    for one in candidates:
        broken = next((text for text in (caption, one.text) if text in readings.why), None)
        if broken is not None:
            choice.failures.append(f"parser: {readings.why[broken]}: {broken}")
            continue
        original, paraphrase = readings.of[caption], readings.of[one.text]
        problem = graphs_differ(original, paraphrase)
        if problem is None and (new := paraphrase.faults - original.faults):
            problem = Reason.GARBLED, min(new)
        if problem is None and (bare := (paraphrase.bare - original.bare) & original.with_article):
            problem = Reason.GARBLED, f"{min(bare)} without an article"
        if problem is None and (more := paraphrase.definite & original.bare):
            problem = Reason.GARBLED, f"the {min(more)}"
        if problem is None and paraphrase.opens_bare and original.tokens.lower(0) in ("a", "an"):
            problem = Reason.GARBLED, "no article before the first word"
        if problem:
            choice.refused.append((problem[0], f"{problem[1]}: {one.text}"))
        else:
            yield one


def _similarities(left: Mapping[str, list[_Open]], encoder: SentenceEncoder, choices: Mapping[str, Choice]) -> dict[tuple[str, str], float]:
    """Cosine of each candidate with its caption, by (caption, text), except those that the encoder fails on."""
    texts = sorted(
        {text for caption, candidates in left.items() if candidates for text in (caption, *(one.text for one in candidates))},
        key=lambda text: (len(text), text),
    )
    vectors, failed = apply_each(lambda batch: list(encoder.encode(batch)), texts)
    why = {texts[index]: problem for index, problem in failed.items()}
    known = dict(zip(texts, vectors, strict=True))
    found = {}
    for caption, candidates in left.items():
        for one in candidates:
            broken = next((text for text in (caption, one.text) if known[text] is None), None)
            if broken is not None:
                choices[caption].failures.append(f"encoder: {why[broken]}: {broken}")
            else:
                found[caption, one.text] = _cosine(known[caption], known[one.text])  # type: ignore[arg-type]
    return found


def _cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Cosine of two vectors of length 1. Not `np.dot`: BLAS adds in an order of its own on each kind of CPU."""
    return float(np.add.reduce(first.astype(np.float64) * second))


def _difference(one: tuple[Sequence[str], Sequence[str]], other: tuple[Sequence[str], Sequence[str]]) -> float:
    """How much two texts, as (words, tags), differ in words and in syntax, 0 to 1."""
    return (change(one[0], other[0]) + Levenshtein.normalized_distance(one[1], other[1])) / 2


def _most_different(caption: str, candidates: list[_Open], readings: Readings, choice: Choice) -> list[_Open]:
    """At most `_ENCODED` candidates, those furthest from the caption in each pivot: encoding is slow."""
    if len(candidates) <= _ENCODED:
        return candidates
    own = words_of(caption), readings.of[caption].tokens.tags
    far = {one.text: _difference(own, (one.words, readings.of[one.text].tokens.tags)) for one in candidates}
    ordered = sorted(candidates, key=lambda one: (-far[one.text], one.candidate.pivot, one.text))
    seen: Counter[int] = Counter()
    turns: list[tuple[int, int, _Open]] = []
    for one in ordered:
        turns.append((seen[one.candidate.pivot], len(turns), one))
        seen[one.candidate.pivot] += 1
    ordered = [one for _, _, one in sorted(turns, key=lambda turn: turn[:2])]
    choice.refused.extend((Reason.SURPLUS, one.text) for one in ordered[_ENCODED:])
    return ordered[:_ENCODED]


def _pick(caption: str, open_: list[tuple[float, _Open]], settings: BackTranslationSettings, choice: Choice, readings: Readings) -> None:
    """Selects candidates as `select` says, skipping those too close in wording to one already taken."""
    close = [pair for pair in open_ if pair[0] < settings.min_similarity]
    choice.refused.extend((Reason.DISSIMILAR, f"{similarity:.3f}: {one.text}") for similarity, one in close)
    left = sorted(
        (pair for pair in open_ if pair[0] >= settings.min_similarity),
        key=lambda pair: (-pair[0], pair[1].candidate.rank, pair[1].candidate.pivot, pair[1].text),
    )
    different = settings.select == "different"
    taken = [(words_of(caption), readings.of[caption].tokens.tags)] if left else []
    used: Counter[int] = Counter()
    while left:
        if different:
            far = {one.text: min(_difference(other, (one.words, readings.of[one.text].tokens.tags)) for other in taken) for _, one in left}
            left.sort(key=lambda pair: (used[pair[1].candidate.pivot], -far[pair[1].text]))
        similarity, one = left.pop(0)
        if any(change(words, one.words) < settings.min_change for words, _ in taken[1:]):
            choice.refused.append((Reason.NEAR_POSITIVE, one.text))
            continue
        taken.append((one.words, readings.of[one.text].tokens.tags))
        used[one.candidate.pivot] += 1
        kept = choice.positives if len(choice.positives) < settings.positives else choice.spares
        kept.append(Positive(one.text, one.candidate.pivot, one.candidate.rank, similarity, one.change, one.candidate.how))
