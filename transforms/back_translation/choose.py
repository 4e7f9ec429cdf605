"""Selects candidates: well-formed sentences that differ from the caption in wording, make the same claims and are close in meaning.

Cheap checks come first: words, then scene graphs, then the sentence encoder for the remaining candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from spacy.tokens import Doc

from schemas.rejects import Reason
from transforms.back_translation.candidates import Candidate
from transforms.back_translation.settings import BackTranslationSettings
from transforms.back_translation.texts import change, garbled, restored, words_of
from transforms.back_translation.truth import Reading, graphs_differ, thing_lost
from transforms.back_translation.words import words_differ
from transforms.engines.batches import apply_each
from transforms.engines.encoders.base import SentenceEncoder


class Parser(Protocol):
    """The part of a caption parser's interface used here."""

    def documents(self, captions: Sequence[str]) -> Iterable[Doc]:
        """One document per text."""


class Positive(NamedTuple):
    """A kept candidate. `similarity` is its cosine with the caption, `change` the share of words that differ."""

    text: str
    pivot: int
    rank: int
    similarity: float
    change: float


@dataclass
class Choice:
    """The outcome for one caption's candidates."""

    positives: list[Positive] = field(default_factory=list)
    refused: list[tuple[Reason, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class _Open(NamedTuple):
    """A candidate that has passed all checks so far."""

    text: str
    words: list[str]
    candidate: Candidate
    change: float


def choose(
    found: Mapping[str, Sequence[Candidate]], parser: Parser, encoder: SentenceEncoder, settings: BackTranslationSettings
) -> dict[str, Choice]:
    """The positives of each caption, best first, and the reason for dropping each other candidate. A pure function."""
    choices = {caption: Choice() for caption in found}
    left = {caption: _by_words(caption, candidates, settings, choices[caption]) for caption, candidates in found.items()}
    left = _by_graphs(left, parser, choices)
    similarities = _similarities(left, encoder, choices)
    for caption, candidates in left.items():
        _pick(
            caption,
            [(similarities[caption, one.text], one) for one in candidates if (caption, one.text) in similarities],
            settings,
            choices[caption],
        )
    return choices


def _by_words(caption: str, candidates: Sequence[Candidate], settings: BackTranslationSettings, choice: Choice) -> list[_Open]:
    """The candidates that pass the checks on words alone."""
    own, left, seen = words_of(caption), [], set()
    for candidate in sorted(candidates, key=lambda one: (one.rank, one.pivot)):
        text = restored(candidate.text, caption)
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


class _Readings:
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


def _by_graphs(left: Mapping[str, list[_Open]], parser: Parser, choices: Mapping[str, Choice]) -> dict[str, list[_Open]]:
    """The candidates that pass the checks on scene graphs. Captions without candidates are not parsed, nor are candidates that lack
    one of their caption's objects."""
    readings = _Readings(parser)
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


def _agreeing(caption: str, candidates: Sequence[_Open], readings: _Readings, choice: Choice) -> Iterator[_Open]:
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


def _pick(caption: str, open_: list[tuple[float, _Open]], settings: BackTranslationSettings, choice: Choice) -> None:
    """Takes candidates by descending similarity, skipping those too close in wording to one already taken."""
    kept: list[list[str]] = []
    for similarity, one in sorted(open_, key=lambda pair: (-pair[0], pair[1].candidate.rank, pair[1].candidate.pivot, pair[1].text)):
        if similarity < settings.min_similarity:
            choice.refused.append((Reason.DISSIMILAR, f"{similarity:.3f}: {one.text}"))
        elif any(change(words, one.words) < settings.min_change for words in kept):
            choice.refused.append((Reason.NEAR_POSITIVE, one.text))
        elif len(kept) == settings.positives:
            choice.refused.append((Reason.SURPLUS, one.text))
        else:
            kept.append(one.words)
            choice.positives.append(Positive(one.text, one.candidate.pivot, one.candidate.rank, similarity, one.change))
