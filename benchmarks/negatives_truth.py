"""Share of TF-IDF hard negatives that are actually true of the image: synthetic scenes, with and without guards.

    python -m benchmarks.negatives_truth [--scenes 2000] [--k 20]

Every negative is a caption of another scene; its parse is judged against the scene that it is a negative for
(`transforms.scenes`). The guards see only captions, never the ground truth. "Without guards" means no ceiling and no margin: only
captions of the image itself are left out.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections import Counter
from pathlib import Path

from pipelines.config import parse_config
from pipelines.run import run
from pipelines.scenes import make_scenes
from schemas.corpus import Corpus
from transforms.scenes import Scene, judge, parse

UNGUARDED = {"ceiling": 1.0, "margin": 0.0, "margin_floor": 1.0, "near_text": 1.0}


def verdicts(folder: Path, scenes: dict[str, Scene], k: int, guards: dict[str, float]) -> Counter[str]:
    """The number of negatives that are true, false or unclear for their image."""
    config = parse_config(
        {
            "corpus": str(folder / f"corpus-{len(guards)}"),
            "partitions": 4,
            "pixels": False,
            "tfidf": {"k": k, **guards},
            "pairs": [{"format": "coco", "name": "scenes", "captions": str(folder / "captions-*.json")}],
        },
        str(folder),
    )
    run(config)
    corpus, found = Corpus(config.corpus, 4), Counter[str]()
    for partition in range(4):
        pairs = corpus.open("pairs", "pairs", partition).read()
        image_of = dict(zip(pairs["pair_id"].to_pylist(), pairs["image_id"].to_pylist(), strict=True))
        rewrites = corpus.open("tfidf", "rewrites", partition).read()
        for pair_id, text in zip(rewrites["pair_id"].to_pylist(), rewrites["text"].to_pylist(), strict=True):
            found[judge(parse(text), scenes[image_of[pair_id]])] += 1
    return found


def main() -> None:
    """Runs both and prints the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--k", type=int, default=20)
    args = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        make_scenes(folder, args.scenes, 23, pixels=False)
        scenes = {}
        for path in sorted(folder.glob("truth-*.jsonl")):
            for line in path.read_text(encoding="utf-8").splitlines():
                scene = Scene.from_json(json.loads(line))
                scenes[f"scenes/{scene.index}"] = scene
        shares = {}
        for name, guards in (("without guards", UNGUARDED), ("with guards", {})):
            found = verdicts(folder, scenes, args.k, guards)
            total = sum(found.values())
            shares[name] = found["true"] / total
            print(f"{name}: {total} negatives, {found['true'] / total:.2%} true of the image, {found['unclear'] / total:.2%} unclear")
        print(f"ratio of with guards to without guards: {shares['with guards'] / shares['without guards']:.2f}")


if __name__ == "__main__":
    main()
