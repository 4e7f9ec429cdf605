"""The list of stages that a configuration asks for, in the order in which they run. A new stage is one entry here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipelines.config import Config
from schemas.errors import ConfigError, SourceError
from transforms.core.stage import Stage
from transforms.examples import Join
from transforms.ingest.stages import IngestImages, IngestPairs, IngestTexts
from transforms.tfidf.stages import TfidfChampions, TfidfCounts, TfidfNegatives, TfidfVectors, TfidfVocabulary


def stages_of(config: Config) -> list[Stage]:
    """The stages of a corpus, each after those that it reads."""
    packed = config.compression
    stages: list[Stage] = [IngestPairs(collections=tuple(config.pairs), pixels=config.pixels, rules=config.captions,
                                       limits=config.image_limits, bounds=config.limits, exclude=config.exclude,
                                       alone=not config.images, compression=packed)]
    if config.images:
        stages.append(IngestImages(collections=tuple(config.images), pixels=config.pixels, limits=config.image_limits,
                                   bounds=config.limits, exclude=config.exclude, compression=packed))
    if config.texts:
        stages.append(IngestTexts(collections=tuple(config.texts), bounds=config.limits, rules=config.sentences, compression=packed))
    regions = _regions(config)
    stages += regions
    rewrites: list[str] = []
    if config.tfidf:
        bounded = [TfidfChampions] if config.tfidf.bound else []
        kinds: list[Callable[..., Stage]] = [TfidfCounts, TfidfVocabulary, TfidfVectors, *bounded, TfidfNegatives]
        stages += [kind(tfidf=config.tfidf, compression=packed) for kind in kinds]
        rewrites.append(TfidfNegatives.name)
    if config.swaps:
        stages += _swaps(config, regions)
        rewrites.append("swaps")
    if config.back_translation:
        stages.append(_back_translation(config))
        rewrites.append("back_translation")
    stages.append(Join(rewrites=tuple(rewrites), regions="regions" if regions else None, compression=packed))
    if config.tokens:
        stages += _tokens(config, regions)
    return stages


def _regions(config: Config) -> list[Stage]:
    """The regions of the pairs' images and of the images alone. Loads the detector, or opens the files, to know their widths."""
    if not (config.regions or config.region_files):
        return []
    kinds: list[Callable[..., Stage]]
    try:
        if config.regions:
            from transforms.regions.detect import DetectImageRegions, DetectRegions

            kinds = [DetectRegions.of, *([DetectImageRegions.of] if config.images else [])]
            return [kind(config.regions, config.image_limits, config.compression) for kind in kinds]
        from transforms.regions.files.stage import ImportImageRegions, ImportRegions

        kinds = [ImportRegions.of, *([ImportImageRegions.of] if config.images else [])]
        return [kind(config.region_files, config.compression) for kind in kinds]
    except (ValueError, OSError, SourceError) as error:
        raise ConfigError(f"{'regions' if config.regions else 'region_files'}: {error}") from None


def _swaps(config: Config, regions: Sequence[Stage]) -> list[Stage]:
    from transforms.graphs.stage import ParseCaptions  # spaCy takes a second to import: only when it is asked for
    from transforms.graphs.vocabulary import CountVocabulary
    from transforms.swaps.stage import Labels, SwapNegatives

    assert config.swaps
    packed, swaps = config.compression, config.swaps
    try:
        graphs = ParseCaptions(parser=swaps.parser, compression=packed)
    except ValueError as error:
        raise ConfigError(f"swaps.parser: {error}") from None
    info = getattr(regions[0], "info", None) if regions else None
    labels = Labels(regions[0].name, info.names, background=0) if info and info.names else None
    return [graphs, CountVocabulary(min_count=swaps.min_count, max_objects=swaps.max_objects, compression=packed),
            SwapNegatives(swaps=swaps, labels=labels, compression=packed)]


def _back_translation(config: Config) -> Stage:
    from transforms.back_translation.stage import BackTranslate  # spaCy, as above

    assert config.back_translation
    try:
        return BackTranslate(how=config.back_translation, compression=config.compression)
    except ValueError as error:
        raise ConfigError(f"back_translation: {error}") from None


def _tokens(config: Config, regions: Sequence[Stage]) -> list[Stage]:
    from transforms.tokens.stages import MakeTokenizer, Tokenise

    assert config.tokens
    packed, texts = config.compression, bool(config.texts)
    names = [stage.name for stage in regions]
    try:
        tokenizer = MakeTokenizer.of(config.tokens, texts, packed)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"tokens: {error}") from None
    return [tokenizer, Tokenise(texts, *(name if name in names else None for name in ("regions", "image_regions")), compression=packed)]
