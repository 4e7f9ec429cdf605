"""Share of swap negatives that are still true of the photo: ours and uniform random swaps of the same kind, on COCO.

    python -m benchmarks.swap_truth_coco [--parser embedded] [--images 2000] [--data ../shared/data] [--judge FILE.csv] [--truth 1]

The generator sees one caption of an image; the other four captions and the boxes (if any) are the evidence
(`transforms/truth/held_out.py`). Vocabulary and co-occurrence come from images that are not judged. With `--judge`, the images of a CSV
file with columns image and caption (Flickr8k) are judged by their captions only, and all of COCO provides the vocabulary. The guards were
developed, and the judge of swaps was fitted, on the images that are judged by default; `--skip 2000` judges others. Negations cannot be
judged this way and are left out. Counts have the judge's limit for balanced swaps. Both swaps use the generator's spans, captions and
positions; the uniform swap draws its replacement uniformly from the corpus' objects, attributes, relations or numbers, other than the
original, without guards.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from schemas.ids import counter_rng
from transforms.engines.parsers.load import caption_parser
from transforms.english.wordnet import lexicon
from transforms.graphs.vocabulary import prune, summarise
from transforms.swaps.context import ImageContext
from transforms.swaps.draft import Negative
from transforms.swaps.generate import negatives
from transforms.swaps.index import Index
from transforms.swaps.settings import BalanceSettings, SwapSettings
from transforms.truth.held_out import HeldOut, subject_of
from transforms.truth.judge import judge_of


def load(folder: Path) -> tuple[dict[str, list[str]], dict[str, Counter[str]]]:
    """Captions by image, images with boxes first, and box labels by image."""
    captions: dict[int, list[str]] = defaultdict(list)
    for note in json.loads((folder / "captions_val2017.json").read_text())["annotations"]:
        captions[note["image_id"]].append(" ".join(note["caption"].split()))
    notes = json.loads((folder / "instances_val2017_subset.json").read_text())
    names = {category["id"]: category["name"] for category in notes["categories"]}
    boxes: dict[str, Counter[str]] = {str(image["id"]): Counter() for image in notes["images"]}
    for note in notes["annotations"]:
        boxes[str(note["image_id"])][names[note["category_id"]]] += 1
    order = sorted(captions, key=lambda image: (str(image) not in boxes, image))
    return {str(image): captions[image] for image in order}, boxes


def load_csv(path: Path) -> dict[str, list[str]]:
    """Captions by image from a CSV file with columns image and caption."""
    captions: dict[str, list[str]] = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            captions[row["image"]].append(" ".join(row["caption"].split()))
    return {image: captions[image] for image in sorted(captions)}


def main() -> None:
    """Prints the shares."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--parser", default="embedded")
    options.add_argument("--images", type=int, default=2000, help="number of images to judge, those with boxes first")
    options.add_argument("--skip", type=int, default=0, help="number of images to skip before those judged")
    options.add_argument("--judge", type=Path, help="judge the images of this CSV file instead of COCO's")
    options.add_argument("--per-kind", type=int, default=20)
    options.add_argument("--presence", type=float, default=SwapSettings().presence)
    options.add_argument("--truth", type=float, default=SwapSettings().truth, help="limit of the judge of truth; 1: without")
    options.add_argument("--seed", type=int, default=7)
    options.add_argument("--show", type=int, default=0, help="print up to this many of our negatives that count as true")
    options.add_argument("--only", default="object,attribute,relation,count,order", help="kinds to show")
    options.add_argument("--data", type=Path, default=Path(os.environ.get("CMCL_DATA", "../shared/data")))
    arguments = options.parse_args()
    folder = arguments.data / "coco_val2017"
    if not folder.exists():
        raise SystemExit(f"{folder} not found: set CMCL_DATA or --data to the test data folder")
    captions, boxes = load(folder)
    other = load_csv(arguments.judge) if arguments.judge else {}
    judged = list(other or captions)[arguments.skip :][: arguments.images]
    chosen = set(judged)
    rest = [image for image in captions if image not in chosen]
    captions |= other
    parser = caption_parser(arguments.parser)
    graphs = iter(parser.parse([caption for own in captions.values() for caption in own]))
    parsed = {image: [next(graphs) for _ in own] for image, own in captions.items()}
    counts = prune(
        summarise(
            [i for i in rest for _ in captions[i]],
            [c for i in rest for c in captions[i]],
            [g for i in rest for g in parsed[i]],
        ),
        5,
        4000,
    )
    index = Index(counts, lexicon())
    settings = SwapSettings(per_kind=arguments.per_kind, presence=arguments.presence, truth=arguments.truth, balance=BalanceSettings())
    swaps = judge_of().swaps if arguments.truth < 1 else None
    pools: dict[str, list[str]] = {
        "object": index.names,
        "attribute": sorted(index.attribute_count),
        "relation": sorted(index.relation_count),
        "count": [str(value) for value in range(1, 11)],
    }
    totals: dict[str, Counter[Any]] = {"ours": Counter(), "uniform": Counter()}
    shown = arguments.show
    for image in judged:
        for given, (caption, graph) in enumerate(zip(captions[image], parsed[image], strict=True)):
            others = [at for at in range(len(captions[image])) if at != given]
            judge = HeldOut([parsed[image][at] for at in others], [captions[image][at] for at in others], boxes.get(image))
            context = ImageContext(index, settings, [caption], [graph])
            rng = counter_rng(arguments.seed, "uniform", f"{image}-{given}")
            own = counter_rng(arguments.seed, "swaps", f"{image}-{given}")
            for negative in negatives(caption, graph, index, context, settings, own, judge=swaps):
                claim = subject_of(negative, graph) if negative.kind != "negation" else None
                if claim is None:
                    continue
                head, new, ends = claim
                verdict = judge.true(negative.kind, negative.level, head, new, ends)
                tally(totals["ours"], negative, verdict)
                if verdict and shown and negative.kind in arguments.only.split(","):
                    shown -= 1
                    print(
                        f"{negative.kind}/{negative.level}: {caption}\n  -> {negative.text}  [{negative.origin}]",
                        captions[image],
                    )
                if negative.kind in pools:
                    tally(totals["uniform"], negative, uniform_true(judge, negative, claim, pools, rng))
    report(totals, len(judged), sum(image in boxes for image in judged))


def uniform_true(
    judge: HeldOut,
    negative: Negative,
    claim: tuple[str, str, tuple[str, str]],
    pools: dict[str, list[str]],
    rng: np.random.Generator,
) -> bool:
    """The verdict on a uniform swap at the same position. For a phrase, its object is drawn."""
    head, new, ends = claim
    pool = pools["object"] if negative.level == "phrase" and negative.kind == "relation" else pools[negative.kind]
    old = negative.origin.partition(" > ")[0]
    while True:
        word = pool[int(rng.random() * len(pool))]
        if word != new and not old.endswith(word):
            return judge.true(negative.kind, negative.level, head, word, ends)


def tally(total: Counter[Any], negative: Negative, verdict: bool) -> None:
    """Counts a verdict for its kind, and in total over the kinds that the uniform swap also has."""
    for key in (f"{negative.kind}/{negative.level}", *(["all"] if negative.kind != "order" else [])):
        total[key, "n"] += 1
        total[key, "true"] += verdict


def report(totals: dict[str, Counter[Any]], images: int, boxed: int) -> None:
    """Prints shares by kind and the ratio."""
    print(f"{images} images judged, {boxed} of them with boxes")
    for key in sorted({key for key, _ in totals["ours"]}):
        line = f"{key:18}"
        for name, total in totals.items():
            if total[key, "n"]:
                line += f"  {name} {total[key, 'true']:6} / {total[key, 'n']:7} = {total[key, 'true'] / total[key, 'n']:7.3%}"
        print(line)
    shares = {name: total["all", "true"] / max(1, total["all", "n"]) for name, total in totals.items()}
    print(f"still true: ours {shares['ours']:.3%}, uniform {shares['uniform']:.3%}; ratio {shares['ours'] / shares['uniform']:.3f}")


if __name__ == "__main__":
    main()
