"""Share of swap negatives that are still true of a synthetic scene with known ground truth: without guards, with captions only,
with labels, with labels and attributes.

    python -m benchmarks.swap_truth_scenes [--scenes 1000] [--parser embedded] [--truth 1]

The generator sees what a real corpus has: the captions of the image and, in the last variants, the names of its objects as a detector or an
annotator would give them, then their attributes as well. Negatives are then judged against the ground truth (`transforms/scenes/truth.py`):
true, false, or unclear (geometry near a threshold). Those outside the scenes' small grammar (another preposition, say) are counted
separately. The swaps' counterparts ("true count", and so on) are not part of "all": they should be true.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import numpy as np

from schemas.ids import counter_rng
from transforms.balance.counterparts import counterparts
from transforms.balance.denials import denials
from transforms.engines.parsers.load import caption_parser
from transforms.english.wordnet import lexicon
from transforms.graphs.vocabulary import prune, summarise
from transforms.scenes.language import captions
from transforms.scenes.layout import Scene, sample_scene
from transforms.scenes.parser import LanguageError, parse
from transforms.scenes.truth import judge
from transforms.scenes.world import KINDS
from transforms.swaps.context import ImageContext
from transforms.swaps.generate import negatives
from transforms.swaps.index import OK, Index
from transforms.swaps.settings import BalanceSettings, SwapSettings
from transforms.truth.judge import judge_of


class Unguarded(Index):
    """The vocabulary with the guards' queries disabled."""

    def _verdict(self, lemma: str, other: str) -> int:
        return OK

    def mentions(self, position: int) -> float:
        """Infinite, so that no attribute counts as usual."""
        return float("inf")

    def related(self, lemma: str) -> frozenset[int]:
        """Empty: no replacement is blocked as related."""
        return frozenset()


def unguarded(index: Index) -> Index:
    """Turns off the co-occurrence guards of an index; returns it."""
    index.both_do, index.both_have = {}, {}
    index.presence = np.zeros_like(index.presence)
    return index


def main() -> None:
    """Prints shares by kind for each variant."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--scenes", type=int, default=1000)
    options.add_argument("--parser", default="embedded")
    options.add_argument("--per-kind", type=int, default=20)
    options.add_argument("--seed", type=int, default=11)
    options.add_argument("--truth", type=float, default=SwapSettings().truth, help="limit of the judge of truth; 1: without")
    options.add_argument("--show", type=int, default=0, help="print up to this many negatives of the guarded variants that are still true")
    options.add_argument("--only", default="object,attribute,relation,count,order,negation", help="kinds to show")
    arguments = options.parse_args()
    scenes = [sample_scene(arguments.seed, at) for at in range(arguments.scenes)]
    texts = [[caption.text for caption in captions(scene, arguments.seed)] for scene in scenes]
    graphs = iter(caption_parser(arguments.parser).parse([text for own in texts for text in own]))
    parsed = [[next(graphs) for _ in own] for own in texts]
    flat_ids = [str(at) for at, own in enumerate(texts) for _ in own]
    counts = prune(summarise(flat_ids, [text for own in texts for text in own], [graph for own in parsed for graph in own]), 5, 4000)
    settings = SwapSettings(per_kind=arguments.per_kind, truth=arguments.truth, balance=BalanceSettings())  # with its limit for counts
    kinds = tuple(KINDS)
    ways: list[tuple[str, Index, bool]] = [
        ("no guards", unguarded(Unguarded(counts, lexicon())), False),
        ("captions", Index(counts, lexicon()), False),
        ("captions and labels", Index(counts, lexicon()), True),
        ("captions, labels and attributes", Index(counts, lexicon()), True),
    ]
    for name, index, labelled in ways:
        total: Counter[Any] = Counter()
        left = arguments.show if name != "no guards" else 0
        swaps = judge_of().swaps if name != "no guards" and arguments.truth < 1 else None
        for at, scene in enumerate(scenes):
            labels = Counter(item.kind for item in scene.objects) if labelled else None
            shown = _attributes(scene) if name.endswith("attributes") else None
            context = ImageContext(index, settings, texts[at], parsed[at], labels, kinds if labelled else (), shown)
            for number, (text, graph) in enumerate(zip(texts[at], parsed[at], strict=True)):
                if name == "no guards":
                    context = _blind(ImageContext(index, settings, [text], [graph]))
                rng = counter_rng(arguments.seed, "swaps", f"{at}-{number}")
                found = negatives(text, graph, index, context, settings, rng, judge=swaps)
                rng = counter_rng(arguments.seed, "counterparts", f"{at}-{number}")
                known = counterparts(text, graph, index, context, settings, rng, swaps)
                for one in (*denials(text, graph, found, arguments.per_kind), *known):
                    total[f"true {one.negative.kind}", verdict_of(one.text, scene)] += 1
                for negative in found:
                    verdict = verdict_of(negative.text, scene)
                    total[negative.kind, verdict] += 1
                    total["all", verdict] += 1
                    if verdict == "true" and left and negative.kind in arguments.only:
                        left -= 1
                        print(f"  {negative.kind}: {text}\n    -> {negative.text} [{negative.origin}]  {texts[at]} {labels}")
        report(name, total)


def verdict_of(text: str, scene: Scene) -> str:
    """Whether a text is true, false or unclear of a scene; "unread" if it is outside the scenes' grammar."""
    try:
        return judge(parse(text), scene)
    except LanguageError:
        return "unread"


def _attributes(scene: Scene) -> dict[str, set[str]]:
    """The attributes of the scene's objects by kind."""
    found: dict[str, set[str]] = {}
    for item in scene.objects:
        found.setdefault(item.kind, set()).update(item.attributes)
    return found


def _blind(context: ImageContext) -> ImageContext:
    """Empties a context of everything that guards check; returns it."""
    context.captions, context.words, context.blocked, context.plurals = set(), set(), set(), set()
    context.attributes, context.relations, context.counts = {}, {}, {}
    return context


def report(name: str, total: Counter[Any]) -> None:
    """Prints one variant's shares of true and unclear among parsed negatives, and the number not parsed."""
    print(name)
    for kind in sorted({kind for kind, _ in total}):
        read = sum(total[kind, verdict] for verdict in ("true", "false", "unclear"))
        share = total[kind, "true"] / max(1, read)
        unclear = total[kind, "unclear"] / max(1, read)
        print(
            f"  {kind:10} still true {total[kind, 'true']:6} / {read:7} = {share:7.3%}   unclear {unclear:6.2%}"
            f"   not parsed {total[kind, 'unread']}"
        )


if __name__ == "__main__":
    main()
