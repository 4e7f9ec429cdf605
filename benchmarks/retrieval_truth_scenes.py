"""Retrieved texts on scenes with known truth: how many are true of the image, and whether a hidden caption of the image is found.

    python -m benchmarks.retrieval_truth_scenes FOLDER [--scenes 300] [--captions 2] [--seed 7741993] [--floor 0.4]
                                               [--limits 0.1 0.5]

Some captions of each scene are queries; another is hidden in the text collection, among those of all scenes. Truth: the share of retrieved
texts, without the scene's own, that are true, unclear and false of the scene (`transforms/scenes/truth.py`), by rank, without the judge and
with each limit (`retrieval.texts.min_truth`). Hidden caption: mean reciprocal rank by the stored vectors, by TF-IDF, and by chance.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from pipelines.config import parse_config
from pipelines.run import run
from schemas.corpus import Corpus
from transforms.retrieval.base import collection_of
from transforms.scenes.language import captions
from transforms.scenes.layout import Scene, sample_scene
from transforms.scenes.parser import LanguageError, parse
from transforms.scenes.truth import judge

RANKS = (1, 10, 100)
PARTITIONS = 4


def write_inputs(folder: Path, asked: list[list[str]], hidden: list[str]) -> None:
    """Captions of the scenes, and the collection."""
    folder.mkdir(parents=True, exist_ok=True)
    numbered = [(image, text) for image, own in enumerate(asked) for text in own]
    notes = [{"image_id": image, "id": number, "caption": text} for number, (image, text) in enumerate(numbered)]
    images = [{"id": index, "file_name": f"{index}.png"} for index in range(len(asked))]
    (folder / "captions.json").write_text(json.dumps({"images": images, "annotations": notes}))
    (folder / "texts.txt").write_text("\n\n".join(sentence(text) for text in hidden) + "\n")


def made(folder: Path, floor: float, least: float | None) -> Corpus:
    """The corpus of these inputs; with a limit, the judge decides."""
    config = parse_config(
        {
            "corpus": str(folder / "corpus"),
            "partitions": PARTITIONS,
            "pixels": False,
            "tfidf": None,
            "truth": {},
            "pairs": [{"format": "coco", "name": "scenes", "captions": str(folder / "captions.json")}],
            "texts": [{"format": "text", "name": "hidden", "files": str(folder / "texts.txt")}],
            "retrieval": {"images": None, "texts": {"floor": floor, "min_truth": least}},
        },
        "/",
    )
    run(config)
    return Corpus(config.corpus, PARTITIONS)


def sentence(caption: str) -> str:
    """A caption as a sentence of a text."""
    return caption[0].upper() + caption[1:].rstrip(".") + "."


def verdict(text: str, scene: Scene) -> str:
    """The verdict on a retrieved sentence: true, unclear, false or unread."""
    words = text.rstrip(".")
    try:
        return judge(parse(words[0].lower() + words[1:]), scene)
    except LanguageError:
        return "unread"


def rows(corpus: Corpus, stage: str, table: str) -> list[dict]:
    """All rows of a table."""
    return [row for partition in range(PARTITIONS) for row in corpus.open(stage, table, partition).read().to_pylist()]


def print_truth(corpus: Corpus, scenes: list[Scene], hidden: list[str], image_of: dict[str, int]) -> None:
    """The shares by rank."""
    found: dict[int, Counter[str]] = defaultdict(Counter)
    ranks: Counter[str] = Counter()
    for match in rows(corpus, "text_matches", "matches"):
        scene, pair = image_of[match["query_id"]], match["query_id"]
        if match["text"] != sentence(hidden[scene]):
            ranks[pair] += 1
            found[ranks[pair]][verdict(match["text"], scenes[scene])] += 1
    manifest = corpus.manifest("text_matches")
    print(f"  in the manifest: {dict(manifest.extra) | manifest.counts.numbers if manifest else {}}")
    for rank in RANKS:
        own, upto = found[rank], sum((found[one] for one in range(1, rank + 1)), Counter[str]())
        for name, counts in ((f"rank {rank}", own), (f"ranks 1 to {rank}", upto)):
            total = max(1, counts.total())
            shares = ", ".join(f"{counts[kind] / total:.2%} {kind}" for kind in ("true", "unclear", "false", "unread"))
            print(f"  {name:16} {counts.total():6} texts: {shares}")


def reciprocal_ranks(scores: np.ndarray, own: np.ndarray) -> float:
    """The mean reciprocal rank of column `own[i]` in row i; equals rank behind."""
    mine = scores[np.arange(len(own)), own][:, None]
    return float((1 / (scores >= mine).sum(axis=1)).mean())


def print_ranks(corpus: Corpus, hidden: list[str], image_of: dict[str, int]) -> None:
    """The ranks of the hidden captions."""
    collection = collection_of(corpus, "text_vectors")
    held = {row["text_id"]: row["text"] for row in rows(corpus, "texts", "texts")}
    positions = {held[one]: at for at, one in enumerate(collection.column("id", np.arange(len(collection))).to_pylist())}
    asked = {row["pair_id"]: row["caption"] for row in rows(corpus, "pairs", "pairs")}
    queries = [row for row in rows(corpus, "text_vectors", "query_vectors") if sentence(hidden[image_of[row["id"]]]) in positions]
    own = np.array([positions[sentence(hidden[image_of[row["id"]]])] for row in queries])
    wide = collection.take(np.arange(len(collection))).astype(np.float32)
    by_vectors = np.array([row["vector"] for row in queries], np.float32) @ wide.T
    terms = TfidfVectorizer().fit(list(positions))
    by_terms = (terms.transform([asked[row["id"]] for row in queries]) @ terms.transform(list(positions)).T).toarray()
    chance = float((1 / np.arange(1, len(positions) + 1)).mean())
    print(
        f"hidden caption among {len(positions)}, {len(queries)} queries: mean reciprocal rank {reciprocal_ranks(by_vectors, own):.3f} by "
        f"vectors, {reciprocal_ranks(by_terms, own):.3f} by TF-IDF, {chance:.4f} by chance"
    )


def main() -> None:
    """Prints both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--captions", type=int, default=2, help="of each scene that are queries, at most 4")
    parser.add_argument("--seed", type=int, default=7741993)
    parser.add_argument("--floor", type=float, default=0.4)
    parser.add_argument("--limits", type=float, nargs="*", default=[0.1, 0.5])
    args = parser.parse_args()
    scenes = [sample_scene(args.seed, index) for index in range(args.scenes)]
    texts = [[caption.text for caption in captions(scene, args.seed)] for scene in scenes]
    hidden = [own[0] for own in texts]
    write_inputs(args.folder, [own[1 : 1 + args.captions] for own in texts], hidden)
    everywhere = Counter(judge(parse(text), scenes[index - 1]) for index, text in enumerate(hidden))
    print("a caption drawn at random: " + ", ".join(f"{everywhere[kind] / len(hidden):.2%} {kind}" for kind in everywhere))
    for least in (None, *args.limits):
        corpus = made(args.folder, args.floor, least)
        image_of = {row["pair_id"]: int(row["image_id"].rpartition("/")[2]) for row in rows(corpus, "pairs", "pairs")}
        print("without the judge" if least is None else f"min_truth {least}")
        print_truth(corpus, scenes, hidden, image_of)
    print_ranks(corpus, hidden, image_of)


if __name__ == "__main__":
    main()
