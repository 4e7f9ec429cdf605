"""From captions to positives: stand-ins, round trips, rewordings, the filters, and a second attempt where nothing passed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transforms.back_translation.candidates import Candidate, back_translate
from transforms.back_translation.choose import Choice, Parser, Readings, choose
from transforms.back_translation.rewording import rewordings
from transforms.back_translation.settings import BackTranslationSettings
from transforms.back_translation.stand_ins import Draft, Kept, draft
from transforms.engines.encoders.base import SentenceEncoder


def find_positives(
    captions: Sequence[str],
    settings: BackTranslationSettings,
    seed: int,
    parser: Parser,
    encoder: SentenceEncoder,
    known: Mapping[str, Kept] | None = None,
) -> dict[str, Choice]:
    """The positives of prepared, distinct captions. Those of a caption do not depend on other captions.

    known: pivot -> the words that it keeps (`known_words.read_known`); without it, captions are translated as they are.
    """
    readings = Readings(parser)
    if known or settings.rewordings:
        readings.add(captions)
    drafts = _drafts(captions, settings, readings, known, settings.min_kept)
    found = back_translate(captions, settings, seed, drafts)
    for caption, own in found.items():
        if settings.rewordings and caption in readings.of:
            own.candidates += _reworded(caption, readings, settings)
    choices = choose({caption: own.candidates for caption, own in found.items()}, parser, encoder, settings, readings)
    for caption, choice in choices.items():
        choice.failures[:0] = found[caption].failures
        choice.stand_ins = any(own[caption].stand_ins for own in drafts if caption in own)
    if settings.retry:
        _retry(choices, settings, seed, parser, encoder, known, readings)
    return choices


def _drafts(
    captions: Sequence[str],
    settings: BackTranslationSettings,
    readings: Readings,
    known: Mapping[str, Kept] | None,
    least: float,
    skip: int = 0,
) -> list[dict[str, Draft]]:
    """For each pivot, the captions with stand-ins, by caption."""
    if not known:
        return []
    return [
        {caption: draft(readings.of[caption], known[way.name], least, skip) for caption in captions if caption in readings.of}
        for way in settings.ways()
    ]


def _reworded(caption: str, readings: Readings, settings: BackTranslationSettings) -> list[Candidate]:
    """The rewordings of a caption; their pivot is the number of pivots."""
    pivot = len(settings.pivots)
    return [Candidate(text, pivot, rank, how=how) for rank, (how, text) in enumerate(rewordings(readings.of[caption].tokens))]


def _retry(
    choices: dict[str, Choice],
    settings: BackTranslationSettings,
    seed: int,
    parser: Parser,
    encoder: SentenceEncoder,
    known: Mapping[str, Kept] | None,
    readings: Readings,
) -> None:
    """Translates the captions without positives once more: stand-ins for every word that is ever lost, other ones than before, and more
    first translations; or, with `retry_top_k`, samples."""
    left = sorted(caption for caption, choice in choices.items() if not choice.positives)
    again = settings.again()
    found = back_translate(left, again, seed, _drafts(left, again, readings, known, 1.0, 1))
    second = choose({caption: own.candidates for caption, own in found.items()}, parser, encoder, settings, readings)
    for caption, choice in second.items():
        first = choices[caption]
        choice.refused[:0] = first.refused
        choice.failures[:0] = [*first.failures, *found[caption].failures]
        choice.again, choice.stand_ins = choice.candidates, first.stand_ins
        choice.candidates += first.candidates
        choices[caption] = choice
