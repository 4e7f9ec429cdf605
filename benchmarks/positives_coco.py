"""Back-translation of COCO's 25,014 validation captions: captions with positives, their similarity and change, and dropped candidates.

    python -m benchmarks.positives_coco CAPTIONS.json [--images 300 [--skip 300]] [--workers 2] [--examples 30] [--set KEY=VALUE ...]

Runs the stages `pairs`, `translator_words` and `back_translation` on an ordinary caption-only corpus in a temporary folder. With --images,
the corpus has only that many images, in the order of a hash of their ids, after --skip others; so the vocabulary is theirs, too.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import tempfile
import time
from collections import Counter
from hashlib import blake2b
from pathlib import Path
from typing import Any

import yaml

from pipelines.config import parse_config
from pipelines.run import run
from schemas.corpus import Corpus

_PARTITIONS = 16


def rows_of(corpus: Corpus) -> list[tuple[str, dict[str, Any]]]:
    """(caption, rewrite) of every positive."""
    found = []
    for partition in range(corpus.partitions):
        pairs = corpus.open("pairs", "pairs", partition).read()
        caption_of = dict(zip(pairs["pair_id"].to_pylist(), pairs["caption"].to_pylist(), strict=True))
        found += [(caption_of[row["pair_id"]], row) for row in corpus.open("back_translation", "rewrites", partition).read().to_pylist()]
    return found


def some_images(annotations: Path, out: Path, skip: int, count: int) -> Path:
    """Writes the annotations of `count` images after the first `skip`, in the order of a hash of their ids; returns `out`."""
    notes = json.loads(annotations.read_text(encoding="utf-8"))
    ordered = sorted(notes["images"], key=lambda image: blake2b(str(image["id"]).encode()).digest())[skip : skip + count]
    chosen = {image["id"] for image in ordered}
    kept = [note for note in notes["annotations"] if note["image_id"] in chosen]
    out.write_text(json.dumps(notes | {"images": ordered, "annotations": kept}), encoding="utf-8")
    return out


def main() -> None:
    """Runs the benchmark."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("annotations", type=Path)
    options.add_argument("--images", type=int, default=0, help="0: all")
    options.add_argument("--skip", type=int, default=0)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--examples", type=int, default=30)
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of back_translation")
    arguments = options.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    how = {key: yaml.safe_load(value) for key, _, value in (pair.partition("=") for pair in arguments.set)}
    with tempfile.TemporaryDirectory() as root:
        annotations = arguments.annotations.absolute()
        if arguments.images:
            annotations = some_images(annotations, Path(root) / "captions.json", arguments.skip, arguments.images)
        config = parse_config(
            {
                "corpus": f"{root}/corpus",
                "partitions": _PARTITIONS,
                "workers": arguments.workers,
                "pixels": False,
                "tfidf": None,
                "back_translation": how,
                "pairs": [{"format": "coco", "name": "coco", "captions": str(annotations)}],
            },
            root,
        )
        start = time.perf_counter()
        run(config)
        seconds = time.perf_counter() - start
        corpus = Corpus(config.corpus, _PARTITIONS)
        manifest = corpus.manifest("back_translation")
        assert manifest
        rows, counts = rows_of(corpus), manifest.counts
    numbers = counts.numbers
    print(
        f"{counts.rows_in} captions, {numbers['texts_translated']:.0f} translated, {seconds:.0f} s with {arguments.workers} workers, "
        f"{counts.engine_ms / 1000:.0f} s in engines"
    )
    for many in range(1, config.back_translation.positives + 1 if config.back_translation else 1):
        with_many = numbers.get(f"pairs_with_{many}", 0)
        print(f"at least {many}: {with_many:.0f} captions ({with_many / counts.rows_in:.1%})")
    scores = [{score["name"]: score["value"] for score in row["scores"]} for _, row in rows]
    for name in ("similarity", "change"):
        print(f"mean {name}: {sum(score[name] for score in scores) / max(1, len(scores)):.3f}")
    print("kinds:", dict(Counter(row["kind"] for _, row in rows)))
    print("dropped:", ", ".join(f"{reason} {count}" for reason, count in sorted(counts.reasons.items(), key=lambda item: -item[1])))
    for caption, row in random.Random(0).sample(rows, min(arguments.examples, len(rows))):
        print(f"  {caption}\n      {row['text']}")


if __name__ == "__main__":
    main()
