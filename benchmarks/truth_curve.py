"""TF-IDF negatives that are true of the image against how hard they are, for each way of refusing candidates.

    python -m benchmarks.truth_curve [--scenes 400] [--seed 77001] [--k 20] [--depth 100]
    python -m benchmarks.truth_curve --photos CAPTIONS.csv [--images 600] ...

Each caption keeps its `k` most similar captions of other images that are not refused, out of `depth`. Printed for each way and limit: the
share of negatives that are true of the image (scenes; unclear ones are left out), their mean cosine divided by that of unguarded ones, and
the share of captions that keep `k`. Without --photos: scenes, whose truth is known; with it, only the two others. Ways: the stage's guards
without a judge, the greatest similarity of the sentence encoder, and the judge with some of its evidence: graphs alone, with the encoder,
with labels, with both.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sparse_dot_topn import sp_matmul_topn

from transforms.scenes.language import captions
from transforms.scenes.layout import Scene, sample_scene
from transforms.scenes.parser import parse
from transforms.scenes.truth import judge
from transforms.scenes.world import KINDS
from transforms.tfidf.settings import TfidfSettings
from transforms.truth.corpora import Captions, captions_in
from transforms.truth.judge import COSINE, ENCODER, GRAPHS, LABELS, judge_of
from transforms.truth.trees import MILLION

_EVIDENCE = {"graphs": GRAPHS, "graphs, labels": (*GRAPHS, *LABELS), "encoder, graphs": (*ENCODER, *GRAPHS),
             "encoder, graphs, labels": (*ENCODER, *GRAPHS, *LABELS)}  # fmt: skip
_LIMITS = (0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2)


@dataclass(frozen=True)
class Lists:
    """Candidates of C captions, the most similar first: text int64 [C, depth], -1: none; cosine float64 [C, depth]."""

    text: np.ndarray
    cosine: np.ndarray

    def kept(self, refused: np.ndarray, k: int) -> np.ndarray:
        """The first k of each caption that are not `refused`; bool [C, depth]."""
        able = (self.text >= 0) & ~refused
        return able & (np.cumsum(able, axis=1) <= k)


def lists_of(held: Captions, depth: int) -> Lists:
    """The most similar captions of other images, each text once."""
    found = sp_matmul_topn(held.weights, held.weights.T.tocsr(), top_n=2 * depth + 20, sort=True)
    text, cosine = np.full((len(held.image), depth), -1), np.zeros((len(held.image), depth))
    for row in range(len(held.image)):
        span = slice(found.indptr[row], found.indptr[row + 1])
        seen = {held.texts[other] for other in range(held.starts[held.image[row]], held.starts[held.image[row] + 1])}
        chosen = []
        for at, other in enumerate(found.indices[span].tolist()):
            if held.texts[other] not in seen and held.image[other] != held.image[row] and len(chosen) < depth:
                seen.add(held.texts[other])
                chosen.append(at)
        text[row, : len(chosen)], cosine[row, : len(chosen)] = found.indices[span][chosen], found.data[span][chosen]
    return Lists(text, cosine)


def guard_limits(held: Captions) -> np.ndarray:
    """The greatest cosine that the stage's guards allow for each caption, float64 [C]."""
    settings, limits = TfidfSettings(), np.zeros(len(held.image))
    for low, high in zip(held.starts, held.starts[1:], strict=False):
        among = (held.weights[low:high] @ held.weights[low:high].T).toarray()
        np.fill_diagonal(among, 0.0)
        margin = np.maximum(settings.margin_floor, (1 - (settings.margin or 0.0)) * among.max(axis=1))
        limits[low:high] = np.minimum(margin, settings.ceiling)
    return limits


def ways(held: Captions, lists: Lists) -> Iterator[tuple[str, np.ndarray]]:
    """Each way and limit with what it refuses, bool [C, depth]."""
    yield "unguarded", np.zeros(lists.text.shape, bool)
    yield "guards", lists.cosine > guard_limits(held)[:, None]
    row, column = np.nonzero(lists.text >= 0)
    pairs, back = np.unique(held.image[row] * len(held.texts) + lists.text[row, column], return_inverse=True)
    evidence = held.evidence(pairs // len(held.texts), pairs % len(held.texts))
    encoder = [("encoder", evidence["similarity_max"] / 1000, (0.5, 0.6, 0.7, 0.8, 0.9))] if "similarity_max" in evidence else []
    for name, score, limits in [
        *encoder,
        *(
            (f"judge: {name}", judge_of().millionths({one: evidence[one] for one in (*names, *COSINE)}) / MILLION, _LIMITS)
            for name, names in _EVIDENCE.items()
            if evidence.keys() >= set(names)
        ),
    ]:
        for limit in limits:
            refused = np.zeros(lists.text.shape, bool)
            refused[row, column] = (score > limit)[back]
            yield f"{name} {limit}", refused


def verdicts(held: Captions, lists: Lists, worlds: list[Scene]) -> np.ndarray:
    """1: true of the image, 0: false, -1: unclear, not judged; int8 [C, depth]."""
    graphs = [parse(text) for text in held.texts]
    known: dict[tuple[int, int], int] = {}
    found = np.full(lists.text.shape, -1, np.int8)
    for row, column in zip(*np.nonzero(lists.text >= 0), strict=True):
        pair = int(held.image[row]), int(lists.text[row, column])
        if pair not in known:
            known[pair] = {"true": 1, "false": 0, "unclear": -1}[judge(graphs[pair[1]], worlds[pair[0]])]
        found[row, column] = known[pair]
    return found


def main() -> None:
    """Prints a row per way and limit."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--scenes", type=int, default=400)
    options.add_argument("--seed", type=int, default=77001)
    options.add_argument("--photos", type=Path)
    options.add_argument("--images", type=int, default=600)
    options.add_argument("--k", type=int, default=20)
    options.add_argument("--depth", type=int, default=100)
    options.add_argument("--encoder", default="embedded", help="sentence encoder; empty: none")
    arguments = options.parse_args()
    if arguments.photos:
        held, known = Captions(list(captions_in(arguments.photos).values())[: arguments.images], encoder=arguments.encoder or None), None
        lists = lists_of(held, arguments.depth)
    else:
        worlds = [sample_scene(arguments.seed, at) for at in range(arguments.scenes)]
        texts = [[caption.text for caption in captions(scene, arguments.seed)] for scene in worlds]
        held = Captions(
            texts, (), [Counter(item.kind for item in scene.objects) for scene in worlds], tuple(KINDS), arguments.encoder or None
        )
        lists = lists_of(held, arguments.depth)
        known = verdicts(held, lists, worlds)
    hardest = lists.cosine[lists.kept(np.zeros(lists.text.shape, bool), arguments.k)].mean()
    for name, refused in ways(held, lists):
        kept = lists.kept(refused, arguments.k)
        full = (kept.sum(axis=1) == arguments.k).mean()
        true = f"true {(known[kept & (known >= 0)] == 1).mean():7.3%}  " if known is not None else ""
        print(f"{name:34} {true}mean cosine {lists.cosine[kept].mean() / hardest:.3f} of the unguarded  captions with all k {full:7.2%}")


if __name__ == "__main__":
    main()
