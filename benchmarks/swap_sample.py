"""Random swap negatives of COCO captions for manual inspection, sampled evenly over kinds.

python -m benchmarks.swap_sample [--count 50] [--parser embedded] [--seed 0] [--data ../shared/data]
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections import defaultdict
from pathlib import Path

from schemas.ids import counter_rng
from transforms.engines.parsers.load import caption_parser
from transforms.english.wordnet import lexicon
from transforms.graphs.vocabulary import prune, summarise
from transforms.swaps.context import ImageContext
from transforms.swaps.draft import Negative
from transforms.swaps.generate import negatives
from transforms.swaps.index import Index
from transforms.swaps.settings import KINDS, SwapSettings


def main() -> None:
    """Prints kind, level, caption and negative."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--count", type=int, default=50)
    options.add_argument("--images", type=int, default=400, help="number of random images to sample from")
    options.add_argument("--parser", default="embedded")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--data", type=Path, default=Path(os.environ.get("CMCL_DATA", "../shared/data")))
    arguments = options.parse_args()
    path = arguments.data / "coco_val2017" / "captions_val2017.json"
    if not path.exists():
        raise SystemExit(f"{path} not found: set CMCL_DATA or --data to the test data folder")
    captions: dict[int, list[str]] = defaultdict(list)
    for note in json.loads(path.read_text())["annotations"]:
        captions[note["image_id"]].append(" ".join(note["caption"].split()))
    rows = [(str(image), text) for image in sorted(captions) for text in captions[image]]
    graphs = caption_parser(arguments.parser).parse([text for _, text in rows])
    index = Index(prune(summarise([image for image, _ in rows], [text for _, text in rows], graphs), 5, 4000), lexicon())
    of_image: dict[str, list[int]] = defaultdict(list)
    for row, (image, _) in enumerate(rows):
        of_image[image].append(row)
    rng, settings = random.Random(arguments.seed), SwapSettings()
    found: dict[str, list[tuple[str, Negative]]] = defaultdict(list)
    for image in rng.sample(sorted(of_image), arguments.images):
        own = of_image[image]
        context = ImageContext(index, settings, [rows[row][1] for row in own], [graphs[row] for row in own])
        for row in own:
            own_rng = counter_rng(arguments.seed, "swaps", str(row))
            for negative in negatives(rows[row][1], graphs[row], index, context, settings, own_rng):
                found[negative.kind].append((rows[row][1], negative))
    for at in range(arguments.count):
        caption, negative = rng.choice(found[KINDS[at % len(KINDS)]])
        print(f"{at + 1:3} {negative.kind}/{negative.level}: {caption}\n    -> {negative.text}")


if __name__ == "__main__":
    main()
