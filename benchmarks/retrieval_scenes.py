"""Share of retrieved images that have at least two kinds of objects in common with the query: scenes, by the weight of objects.

    python -m benchmarks.retrieval_scenes FOLDER [--scenes 1000] [--seed 90417] [--k 10]

Pairs and image collection are different scenes; regions come from the embedded detector, the truth from the scenes' files, which no stage
reads. FOLDER is kept, so that a second call only evaluates.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from pipelines.config import parse_config
from pipelines.run import run
from pipelines.scenes import make_scenes
from schemas.corpus import Corpus

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
PARTITIONS = 4


def kinds_of(folder: Path) -> dict[str, set[str]]:
    """The kinds of objects in each scene, by its key: the number of an image with captions, the file name of one without."""
    scenes = [json.loads(line) for path in sorted(folder.glob("truth-*.jsonl")) for line in path.read_text().splitlines()]
    return {key: {one["kind"] for one in scene["objects"]} for scene in scenes for key in (scene["file_name"], str(scene["index"]))}


def made(folder: Path, scenes: int, seed: int) -> Corpus:
    """The corpus of the vectors of both collections, every score half visual, half objects."""
    make_scenes(str(folder / "scenes"), scenes, seed)
    make_scenes(str(folder / "photos"), scenes, seed + 1, captions=False)
    config = parse_config(
        {
            "corpus": str(folder / "corpus"),
            "partitions": PARTITIONS,
            "tfidf": None,
            "regions": {},
            "retrieval": {"texts": None, "images": {"object_weight": 0.5, "near_copy_bits": None}},
            "pairs": [
                {
                    "format": "coco",
                    "name": "scenes",
                    "captions": str(folder / "scenes/captions-*.json"),
                    "images": str(folder / "scenes/images"),
                }
            ],
            "images": [{"format": "folder", "name": "photos", "images": str(folder / "photos/images")}],
        },
        "/",
    )
    run(config)
    return Corpus(config.corpus, PARTITIONS)


def parts(corpus: Corpus, table: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids, and the visual and the object parts of the vectors, each of length 1."""
    ids: list[str] = []
    pieces, visual = [], 0
    for partition in range(corpus.partitions):
        with corpus.open("image_vectors", table, partition) as file:
            rows = file.read()
            if rows.num_rows:
                visual = int((file.schema.metadata or {})[b"visual"])
                ids += [one.partition("/")[2] for one in rows["id"].to_pylist()]
                pieces.append(rows["vector"].combine_chunks().values.to_numpy().reshape(rows.num_rows, -1).astype(np.float64))
    vectors = np.concatenate(pieces) * np.sqrt(2)
    return ids, vectors[:, :visual], vectors[:, visual:]


def main() -> None:
    """Prints precision at k for each weight, and by chance."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=90417)
    parser.add_argument("--k", type=int, default=10)
    args = parser.parse_args()
    corpus = made(args.folder, args.scenes, args.seed)
    ids, visual, objects = parts(corpus, "query_vectors")
    held, held_visual, held_objects = parts(corpus, "vectors")
    asked, there = kinds_of(args.folder / "scenes"), kinds_of(args.folder / "photos")
    relevant = np.array([[len(asked[one] & there[other]) >= 2 for other in held] for one in ids])
    print(f"{len(ids)} images against {len(held)}; chance {relevant.mean():.3f}")
    for weight in WEIGHTS:
        scores = (1 - weight) * visual @ held_visual.T + weight * objects @ held_objects.T
        best = np.argsort(-scores, axis=1, kind="stable")[:, : args.k]
        print(
            f"w {weight:.1f}  precision@{args.k} {np.take_along_axis(relevant, best, 1).mean():.3f}  "
            f"score of the last {np.median(np.take_along_axis(scores, best, 1)[:, -1]):.3f}"
        )


if __name__ == "__main__":
    main()
