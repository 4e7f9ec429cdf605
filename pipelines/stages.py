"""The list of stages that a configuration asks for, in the order in which they run. A new stage is one entry here."""

from __future__ import annotations

from pipelines.config import Config
from transforms.ingest import IngestImages, IngestPairs, IngestTexts
from transforms.join import Join
from transforms.stage import Stage
from transforms.tfidf.stages import TfidfChampions, TfidfCounts, TfidfNegatives, TfidfVectors, TfidfVocabulary


def stages_of(config: Config) -> list[Stage]:
    """The stages of a corpus, each after those that it reads."""
    kept = {"compression": config.compression}
    stages: list[Stage] = [IngestPairs(collections=tuple(config.pairs), pixels=config.pixels, rules=config.captions,
                                       limits=config.image_limits, exclude=config.exclude, **kept)]
    if config.images:
        stages.append(IngestImages(collections=tuple(config.images), pixels=config.pixels, limits=config.image_limits,
                                   exclude=config.exclude, **kept))
    if config.texts:
        stages.append(IngestTexts(collections=tuple(config.texts), rules=config.sentences, **kept))
    rewrites: list[str] = []
    if config.tfidf:
        stages += [TfidfCounts(tfidf=config.tfidf, **kept), TfidfVocabulary(tfidf=config.tfidf, **kept),
                   TfidfVectors(tfidf=config.tfidf, **kept)]
        if config.tfidf.bound:
            stages.append(TfidfChampions(tfidf=config.tfidf, **kept))
        stages.append(TfidfNegatives(tfidf=config.tfidf, **kept))
        rewrites.append(TfidfNegatives.name)
    stages.append(Join(rewrites=tuple(rewrites), **kept))
    return stages
