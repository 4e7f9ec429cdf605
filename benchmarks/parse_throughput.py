"""Cost of graphs and swaps relative to bare parsing: captions per second of each, and their ratios.

    python -m benchmarks.parse_throughput [--captions 4000] [--parser embedded] [--per-kind 20]

All on one thread, on COCO captions or, if they are not found, on captions of synthetic scenes. Bare: `nlp.pipe` of the same
pipeline. The vocabulary is made beforehand from the same captions, as by the corpus-wide stage. Times are CPU seconds of this
process, the best of several alternating rounds, to reduce the effect of other load.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from schemas.ids import counter_rng
from schemas.tables import BATCH_ROWS
from transforms.core.gc_pause import gc_paused
from transforms.engines.parsers.load import BATCH, CaptionParser, SngParser, caption_parser
from transforms.english.wordnet import lexicon
from transforms.graphs.vocabulary import prune, summarise
from transforms.scene_graph.nodes import Graph
from transforms.scenes.language import captions as scene_captions
from transforms.scenes.layout import sample_scene
from transforms.swaps.context import ImageContext
from transforms.swaps.generate import negatives
from transforms.swaps.index import Index
from transforms.swaps.settings import SwapSettings
from transforms.swaps.stage import rewrite_batch


def load(data: Path, count: int) -> tuple[list[str], list[str]]:
    """Image ids and captions, grouped by image."""
    path = data / "coco_val2017" / "captions_val2017.json"
    if path.exists():
        notes = sorted(json.loads(path.read_text())["annotations"], key=lambda note: (note["image_id"], note["id"]))[:count]
        return [str(note["image_id"]) for note in notes], [" ".join(note["caption"].split()) for note in notes]
    rows = [(str(at), caption.text) for at in range(count // 5) for caption in scene_captions(sample_scene(1, at), 1)]
    return [image for image, _ in rows], [text for _, text in rows]


def graphs_of(parser: CaptionParser, texts: list[str]) -> list[Graph]:
    """One graph per caption, a record batch at a time, as in the stage."""
    found: list[Graph] = []
    for start in range(0, len(texts), BATCH_ROWS["graphs"]):
        with gc_paused():
            found += parser.parse(texts[start : start + BATCH_ROWS["graphs"]])
    return found


def swap(image_ids: list[str], texts: list[str], graphs: list[Graph], index: Index, settings: SwapSettings) -> int:
    """Makes all negatives as record batches; returns their number."""
    with gc_paused():  # as in the stage
        return _swap(image_ids, texts, graphs, index, settings)


def _swap(image_ids: list[str], texts: list[str], graphs: list[Graph], index: Index, settings: SwapSettings) -> int:
    start, total, found, ids = 0, 0, [], []
    for end in range(1, len(texts) + 1):
        if end < len(texts) and image_ids[end] == image_ids[start]:
            continue
        context = ImageContext(index, settings, texts[start:end], graphs[start:end])
        for row in range(start, end):
            found.append(negatives(texts[row], graphs[row], index, context, settings, counter_rng(1, "swaps", str(row))))
            ids.append(str(row))
        start = end
        if len(found) >= 512 or end == len(texts):
            total += rewrite_batch(ids, found).num_rows
            found, ids = [], []
    return total


def main() -> None:
    """Prints captions per second and ratios."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--captions", type=int, default=4000)
    options.add_argument("--parser", default="embedded")
    options.add_argument("--per-kind", type=int, nargs="+", default=[20, 5, 2])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--data", type=Path, default=Path(os.environ.get("CMCL_DATA", "../shared/data")))
    arguments = options.parse_args()
    image_ids, texts = load(arguments.data, arguments.captions)
    parser = caption_parser(arguments.parser)
    graphs = parser.parse(texts)
    index = Index(prune(summarise(image_ids, texts, graphs), 3, 4000), lexicon())
    few = texts[: max(1, len(texts) // 10)]
    published: SngParser | None = None
    try:
        published = SngParser(arguments.parser.removeprefix("spacy:"))
    except ValueError as error:
        print(f"no comparison with sng-parser: {error}")
    ways: dict[str, Callable[[], object]] = {
        "bare nlp.pipe": lambda: [None for _ in parser.nlp.pipe(texts, batch_size=BATCH)],
        "parse + graph": lambda: graphs_of(parser, texts),
    }
    counted: dict[str, int] = {}
    for per_kind in arguments.per_kind:
        settings = SwapSettings(per_kind=per_kind)

        def whole(settings: SwapSettings = settings, per_kind: int = per_kind) -> None:
            counted[f"whole, {per_kind} per kind"] = swap(image_ids, texts, graphs_of(parser, texts), index, settings)

        ways[f"whole, {per_kind} per kind"] = whole
    if published is not None:
        one_by_one = published
        ways["sng-parser, one by one"] = lambda: [one_by_one.published(text) for text in few]
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            start = time.process_time()
            way()
            size = len(few) if name.startswith("sng") else len(texts)
            best[name] = min(best[name], (time.process_time() - start) / size)
    bare = best["bare nlp.pipe"]
    for name, cost in best.items():
        extra = f", {counted[name] / len(texts):.1f} negatives per caption" if name in counted else ""
        print(f"{name:24} {1 / cost:8.0f} captions/s   {bare / cost:5.2f} of bare{extra}")
    if published is not None:
        ratio = best["sng-parser, one by one"] / best["parse + graph"]
        print(f"speed-up of parse + graph over sng-parser one sentence at a time: {ratio:.1f} x")


if __name__ == "__main__":
    main()
