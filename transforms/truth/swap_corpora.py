"""Swaps whose truth is known, or estimated from captions that their generator does not see, to fit and to check the judge of swaps on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from schemas.ids import counter_rng
from transforms.balance.counterparts import counterparts
from transforms.engines.parsers.load import caption_parser
from transforms.english.wordnet import lexicon
from transforms.graphs.vocabulary import prune, summarise
from transforms.scene_graph.nodes import Graph
from transforms.scenes.language import captions
from transforms.scenes.layout import Scene, sample_scene
from transforms.scenes.parser import LanguageError, parse
from transforms.scenes.truth import judge
from transforms.scenes.world import KINDS
from transforms.swaps.context import ImageContext
from transforms.swaps.generate import negatives
from transforms.swaps.index import Index
from transforms.swaps.settings import SwapSettings
from transforms.truth.corpora import Sample, boxes_in, captions_in
from transforms.truth.held_out import HeldOut, subject_of
from transforms.truth.swaps import FAMILIES, SwapJudge

_SHOWN = (1, 3)  # captions that the generator sees
_MENTIONED = 0.5  # share of captions that mention something that is there


class Recorder(SwapJudge):
    """Refuses nothing, and remembers the evidence that it was given, by number: the probability that it answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[int, ...]]] = []

    def millionths(self, family: str, evidence: tuple[int, ...]) -> int:
        """The number of the evidence."""
        self.asked.append((family, evidence))
        return len(self.asked) - 1


class _Rows:
    """Collects judged evidence by family."""

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[tuple[int, ...], float, int]]] = defaultdict(list)

    def add(self, asked: tuple[str, tuple[int, ...]], truth: float, image: int) -> None:
        self.rows[asked[0]].append((asked[1], truth, image))

    def samples(self) -> dict[str, Sample]:
        found = {}
        for family, rows in self.rows.items():
            evidence, truth, image = zip(*rows, strict=True)
            columns = np.array(evidence, np.int32).T
            named = dict(zip(FAMILIES[family], columns, strict=True))
            found[family] = Sample(named, np.array(truth, np.float64), np.ones(len(rows)), np.array(image, np.int64))
        return found


def scene_swaps(count: int, seed: int) -> dict[str, Sample]:
    """Swaps of scenes' captions by family, with and without labels, judged by the scenes' records; what is unclear is left out."""
    worlds = [sample_scene(seed, at) for at in range(count)]
    texts = [[caption.text for caption in captions(scene, seed)] for scene in worlds]
    graphs = _parsed(texts)
    index, settings, found = _index(texts, graphs), SwapSettings(truth=None), _Rows()
    for at, scene in enumerate(worlds):
        for labels in (None, Counter(item.kind for item in scene.objects)):
            context = ImageContext(index, settings, texts[at], graphs[at], labels, tuple(KINDS) if labels else ())
            for number, (text, graph) in enumerate(zip(texts[at], graphs[at], strict=True)):
                recorder, rng = Recorder(), counter_rng(seed, "swaps", f"{at}-{number}")
                made = [(one.text, one.truth) for one in negatives(text, graph, index, context, settings, rng, judge=recorder)]
                known = counterparts(text, graph, index, context, settings, rng, recorder)
                made += [(one.negative.text, one.negative.truth) for one in known]
                for words, asked in dict([*made, *((one.text, one.truth) for one in known)]).items():
                    verdict = _verdict(words, scene)
                    if verdict in ("true", "false"):
                        found.add(recorder.asked[asked or 0], float(verdict == "true"), at)
    return found.samples()


def _verdict(text: str, scene: Scene) -> str:
    try:
        return judge(parse(text), scene)
    except LanguageError:
        return "unread"


def photo_swaps(path: Path, seed: int, boxes: Path | None = None, limit: int = 2000) -> dict[str, Sample]:
    """Swaps of the captions of the first `limit` photos by family, with their estimated probability of being true.

    The generator sees one or three captions; the vocabulary is that of the other photos. A swap that a held-out caption or a box supports
    is true. As some of the others are, too, the probability is that share divided by the chance that something is mentioned. path, boxes:
    as for `transforms.truth.corpora.photos`.
    """
    own, labels = captions_in(path), boxes_in(boxes) if boxes else {}
    names = sorted(own, key=lambda name: (name not in labels, name.zfill(12)))
    graphs = _parsed([own[name] for name in names])
    index, found = _index([own[name] for name in names[limit:] or names], graphs[limit:] or graphs), _Rows()
    for at, name in enumerate(names[:limit]):
        for shown in _SHOWN:
            _held_out(found, at, own[name], graphs[at], labels.get(name), shown, index, seed)
    return found.samples()


def _held_out(
    found: _Rows,
    at: int,
    texts: Sequence[str],
    graphs: Sequence[Graph],
    boxes: Mapping[str, int] | None,
    shown: int,
    index: Index,
    seed: int,
) -> None:
    """Adds the swaps of one photo's captions; `shown` of them are seen, the others are evidence."""
    settings, count = SwapSettings(truth=None), len(texts)
    if count <= shown:
        return
    mentioned = 1 - (1 - _MENTIONED) ** (count - shown)
    for given in range(count):
        seen, unseen = np.split((given + np.arange(count)) % count, [shown])
        evidence = HeldOut([graphs[one] for one in unseen], [texts[one] for one in unseen], boxes)
        context, recorder = ImageContext(index, settings, [texts[one] for one in seen], [graphs[one] for one in seen]), Recorder()
        rng = counter_rng(seed, "swaps", f"{at}-{given}-{shown}")
        for negative in negatives(texts[given], graphs[given], index, context, settings, rng, judge=recorder):
            claim = subject_of(negative, graphs[given]) if negative.kind != "negation" else None
            if claim is not None:
                truth = evidence.true(negative.kind, negative.level, *claim) / mentioned
                found.add(recorder.asked[negative.truth or 0], min(1.0, truth), at)


def _parsed(texts: Sequence[Sequence[str]]) -> list[list[Graph]]:
    graphs = iter(caption_parser("embedded").parse([text for own in texts for text in own]))
    return [[next(graphs) for _ in own] for own in texts]


def _index(texts: Sequence[Sequence[str]], graphs: Sequence[Sequence[Graph]]) -> Index:
    ids = [str(at) for at, own in enumerate(texts) for _ in own]
    settings = SwapSettings()
    counts = summarise(ids, [text for own in texts for text in own], [graph for own in graphs for graph in own])
    return Index(prune(counts, settings.min_count, settings.max_objects), lexicon())
