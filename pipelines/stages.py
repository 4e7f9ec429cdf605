"""The list of stages that a configuration asks for, in the order in which they run. A new stage is one entry here."""

from __future__ import annotations

from collections.abc import Callable

from pipelines.config import Config
from schemas.errors import ConfigError
from transforms.ingest import IngestImages, IngestPairs, IngestTexts
from transforms.join import Join
from transforms.stage import Stage
from transforms.tfidf.stages import TfidfChampions, TfidfCounts, TfidfNegatives, TfidfVectors, TfidfVocabulary


def stages_of(config: Config) -> list[Stage]:
    """The stages of a corpus, each after those that it reads."""
    packed = config.compression
    stages: list[Stage] = [IngestPairs(collections=tuple(config.pairs), pixels=config.pixels, rules=config.captions,
                                       limits=config.image_limits, exclude=config.exclude, compression=packed)]
    if config.images:
        stages.append(IngestImages(collections=tuple(config.images), pixels=config.pixels, limits=config.image_limits,
                                   exclude=config.exclude, compression=packed))
    if config.texts:
        stages.append(IngestTexts(collections=tuple(config.texts), rules=config.sentences, compression=packed))
    rewrites: list[str] = []
    if config.tfidf:
        bounded = [TfidfChampions] if config.tfidf.bound else []
        kinds: list[Callable[..., Stage]] = [TfidfCounts, TfidfVocabulary, TfidfVectors, *bounded, TfidfNegatives]
        stages += [kind(tfidf=config.tfidf, compression=packed) for kind in kinds]
        rewrites.append(TfidfNegatives.name)
    if config.swaps:
        stages += _swaps(config)
        rewrites.append("swaps")
    stages.append(Join(rewrites=tuple(rewrites), compression=packed))
    return stages


def _swaps(config: Config) -> list[Stage]:
    from transforms.graphs import ParseCaptions  # spaCy takes a second to import: only when it is asked for
    from transforms.swaps.stage import SwapNegatives
    from transforms.vocabulary import CountVocabulary

    assert config.swaps
    packed, swaps = config.compression, config.swaps
    try:
        graphs = ParseCaptions(parser=swaps.parser, compression=packed)
    except ValueError as error:
        raise ConfigError(f"swaps.parser: {error}") from None
    return [graphs, CountVocabulary(min_count=swaps.min_count, max_objects=swaps.max_objects, compression=packed),
            SwapNegatives(swaps=swaps, compression=packed)]
