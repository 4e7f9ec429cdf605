"""Round-trip translation: the candidates that the translators produce, before any is judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from transforms.back_translation.settings import BackTranslationSettings, Pivot
from transforms.back_translation.stand_ins import Draft, put_back
from transforms.engines.batches import apply_each
from transforms.engines.translators.base import Decoding, Hypothesis, Translator
from transforms.engines.translators.load import name_of, spec_fingerprint, translator

WINDOW = 4096  # texts passed to an engine at once; it forms its batches from them


class Candidate(NamedTuple):
    """A back-translated text. `pivot` is the pivot's index in the settings, `rank` its rank among that pivot's texts, 0 the best.

    lost: a stand-in did not come back exactly once, so `text` still has the stand-ins. how: the name of a rewording, which no pivot made.
    """

    text: str
    pivot: int
    rank: int
    lost: bool = False
    how: str = ""


@dataclass
class Found:
    """The candidates of one caption, and the failures of pivots."""

    candidates: list[Candidate] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def windows(texts: Sequence[str]) -> Iterator[list[str]]:
    """Distinct texts, shortest first, split into windows. Windows and batches do not depend on the order of `texts`."""
    ordered = sorted(set(texts), key=lambda text: (len(text), text))
    for start in range(0, len(ordered), WINDOW):
        yield ordered[start : start + WINDOW]


def translate_all(
    engine: Translator, texts: Sequence[str], decoding: Decoding, key: str
) -> tuple[dict[str, list[Hypothesis]], dict[str, str]]:
    """Translations by text, each text translated once, and error messages for texts that the engine fails on.

    `key` and a text determine the seed for its samples.
    """
    found: dict[str, list[Hypothesis]] = {}
    failed: dict[str, str] = {}
    for window in [[text] for text in sorted(set(texts))] if decoding.top_k else windows(texts):  # a sample depends on its text alone
        seed = int.from_bytes(blake2b("\0".join([key, *window]).encode(), digest_size=4).digest(), "little")
        results, problems = apply_each(lambda batch, seed=seed: engine.translate(batch, decoding, seed), window)  # type: ignore[misc]
        for index, (text, result) in enumerate(zip(window, results, strict=True)):
            if result is None:
                failed[text] = f"{engine.name}: {problems[index]}"
            else:
                found[text] = result
    return found, failed


def back_translate(
    captions: Sequence[str], settings: BackTranslationSettings, seed: int, drafts: Sequence[Mapping[str, Draft]] = ()
) -> dict[str, Found]:
    """The candidates of each caption, by caption; captions must be distinct. `drafts`: for each pivot, what is translated instead of a
    caption, with its stand-ins, which are put back."""
    found = {caption: Found() for caption in captions}
    for number, way in enumerate(settings.ways()):
        own_drafts = drafts[number] if drafts else {}
        sources = {caption: own_drafts.get(caption) or Draft(caption, ()) for caption in captions}
        there = translator(way.forward, settings.compute_type, settings.threads)
        back = translator(way.back, settings.compute_type, settings.threads)
        texts = [source.text for source in sources.values()]
        forward, failed = translate_all(there, texts, settings.forward, f"{seed}\0{way.name}\0forward")
        between = [hypothesis.text for results in forward.values() for hypothesis in results if hypothesis.text.strip()]
        backward, lost = translate_all(back, between, settings.backward, f"{seed}\0{way.name}\0back")
        for caption, own in found.items():
            source = sources[caption]
            if source.text in failed:
                own.failures.append(failed[source.text])
            rank = 0
            for hypothesis in forward.get(source.text, ()):
                if not hypothesis.text.strip():  # refused and counted later, as a text without words
                    own.candidates.append(Candidate("", number, rank))
                    rank += 1
                if hypothesis.text in lost:
                    own.failures.append(lost[hypothesis.text])
                for result in backward.get(hypothesis.text, ()):
                    text = put_back(result.text, source.stand_ins)
                    own.candidates.append(Candidate(result.text if text is None else text, number, rank, text is None))
                    rank += 1
    return found


def unmoved(settings: BackTranslationSettings, search: Decoding | None = None) -> bool:
    """Whether what comes back for a text is the same, bit for bit, whatever texts are translated beside it. Loads the translators.

    search: by default the settings' searches, there and back.
    """
    used = [
        (translator(spec, settings.compute_type, settings.threads), search or decoding)
        for way in settings.ways()
        for spec, decoding in ((way.forward, settings.forward), (way.back, settings.backward))
    ]
    return all(hasattr(engine, "alone") and engine.alone(decoding) for engine, decoding in used)  # one that does not say depends on them


def fingerprints(settings: BackTranslationSettings) -> list[tuple[str, str, str]]:
    """(name, forward fingerprint, back fingerprint) of each pivot, without loading. Raises TranslatorError if one is unavailable."""
    return [
        (way.name, spec_fingerprint(way.forward, settings.compute_type), spec_fingerprint(way.back, settings.compute_type))
        for way in settings.ways()
    ]


def origin_of(way: Pivot, settings: BackTranslationSettings) -> str:
    """A rewrite's origin: the pivot, and both models with the first digits of their fingerprints."""
    models = [f"{name_of(spec)}@{spec_fingerprint(spec, settings.compute_type)[:8]}" for spec in (way.forward, way.back)]
    return f"{way.name}: {' > '.join(models)}"
