"""Prepares an ablation on synthetic scenes: corpora to train and evaluate on, and files that say which captions are true of which images.

    python -m benchmarks.ablation_scenes FOLDER [--scenes 2000] [--alone 1000] [--texts 5000] [--unseen 500] [--dev 150] [--quick]
                                         [--flops 6e13] [--updates N] [--seeds 5]
    cmcl ablate FOLDER/settings.yaml        # learning rates, on the in-batch arm and the scenes of FOLDER/dev
    cmcl ablate FOLDER/headline.yaml        # full augmentation against in-batch pairs
    cmcl ablate FOLDER/leave_one_out.yaml   # the same, and full augmentation without one part of it
    cmcl ablate FOLDER/uniter.yaml          # UNITER's objectives, measured on retrieval and on four tasks, with Meta-Sum

FOLDER/train is augmented by the embedded engines, retrieval included. FOLDER/unseen and FOLDER/dev are other scenes, with hard negatives
and the tokenizer of the first; each has a truth.json. FOLDER/train/tasks and FOLDER/unseen/tasks are downstream tasks about the scenes.
FOLDER is kept: a second call only makes what is missing, and rewrites the configurations. --flops: budget of a run; --updates: those that
a run with full augmentation makes of it, for an in-batch arm of as many.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from pipelines.config import parse_config
from pipelines.run import run
from pipelines.scenes import make_scenes
from schemas.corpus import WHOLE, Corpus
from schemas.tokens import TOKENIZER
from transforms.scenes.graph import CaptionGraph
from transforms.scenes.layout import Scene
from transforms.scenes.task_files import task_files, write_tasks
from transforms.scenes.truth import is_true

SEED = 3101
TASK_STEPS = 400
TASKS: dict[str, dict[str, Any]] = {
    "vqa": {},
    "snli_ve": {"evaluate": ["dev"]},
    "nlvr2": {"evaluate": ["dev"], "images": "images.json"},
    "refexp": {},
}
QUICK = {"pivot_beam": 1, "pivot_texts": 1, "beam": 4, "n_best": 4}  # a sixth of the default number of candidates, as in the demo


NONE: dict[str, Any] = {"tfidf": 0, "object": 0, "attribute": 0, "relation": 0}
IN_BATCH: dict[str, Any] = {"data": {"positives": 0, "siblings": False, "negatives": NONE, "matched_images": 0, "matched_texts": 0}}
LEFT_OUT: dict[str, Any] = {
    "inside": {"objectives": {"cmcl": {"positives": "inside"}}},
    "no_back_translation": {"data": {"positives": 0, "siblings": False}},
    "no_tfidf": {"data": {"negatives": {"tfidf": 0}}},
    "no_phrase_swaps": {"data": {"negatives": {"relation": 0}}},
    "no_word_swaps": {"data": {"negatives": {"object": 0, "attribute": 0}}},
    "no_images": {"data": {"matched_images": 0}},
    "no_texts": {"data": {"matched_texts": 0}},
    "no_retrieval": {"data": {"matched_images": 0, "matched_texts": 0}},
}
MATCHING: dict[str, Any] = {"objectives": {"cmcl": None, "mlm": {}, "itm": {}}, "mixing": "one"}
FEATURES, LABELS, ALIGNMENT = {"mrfr": {"reduction": "uniter"}}, {"mrc_kl": {}}, {"wra": {}}
UNITER: dict[str, Any] = {
    "mlm_itm": MATCHING,
    **{
        name: {**MATCHING, "objectives": MATCHING["objectives"] | more}
        for name, more in (
            ("mrfr", FEATURES),
            ("mrc_kl", LABELS),
            ("both", FEATURES | LABELS),
            ("wra", FEATURES | LABELS | ALIGNMENT),
            ("joint_masking", {"mlm": {"joint": True}, "mrfr": {"reduction": "uniter", "joint": True}, "mrc_kl": {"joint": True}}),
        )
    },
}
STREAMS: dict[str, Any] = {
    "text_stream": {"data": {"mix": {"pairs": 5, "texts": 1}}, "objectives": {"mlm": {}}},
    "image_stream": {"data": {"mix": {"pairs": 5, "images": 1}}, "objectives": {"mrc_kl": {}}},
}


def configurations(flops: float, updates: int | None, seeds: int, lr: float) -> dict[str, dict[str, Any]]:
    """Settings of `cmcl ablate` by file name; paths are relative to FOLDER."""
    train = {
        "data": {
            "corpus": "train/corpus",
            "mix": {"pairs": 1},
            "batch": {"pairs": 16},
            "max_tokens": 28,
            "token_buckets": [12, 16, 20, 24],
            "region_buckets": [8, 12, 16, 24],
            "negatives": {kind: 1 for kind in NONE},
            "matched_images": 1,
            "matched_texts": 1,
        },
        "model": {"size": "tiny", "positions": 32, "dropout": 0},
        # Otherwise retrieved texts alone would satisfy the loss (docs/training.md).
        "objectives": {"cmcl": {"encoding": "separate", "in_batch": "companions", "positives": "outside"}},
        "optimizer": {"lr": lr},
        "flops": flops,
        "tensorboard": False,
    }
    shared = {"output": "runs", "against": "full", "seeds": list(range(seeds)), "rerank": 0, "train": train}
    test = {"corpus": "unseen/corpus", "truth": "unseen/truth.json"}
    headline = {"full": {}, "in_batch": IN_BATCH}
    if updates:
        headline["in_batch_equal_updates"] = {**IN_BATCH, "steps": updates}
    rates = {f"lr_{rate:g}": {**IN_BATCH, "optimizer": {"lr": rate}} for rate in (5e-4, 1e-3, 2e-3)}
    dev = {"corpus": "dev/corpus", "truth": "dev/truth.json", "output": "settings", "seeds": [100], "arms": rates, "against": "lr_0.001"}
    return {
        "settings": {**shared, **dev},
        "headline": {**shared, **test, "arms": headline},
        "leave_one_out": {**shared, **test, "arms": headline | LEFT_OUT | STREAMS},
        "uniter": {**shared, **test, "output": "uniter", "rerank": 32, "against": "mlm_itm", "arms": UNITER, **_tasks(train["data"])},
    }


def _tasks(data: dict[str, Any]) -> dict[str, Any]:
    """The fine-tunings of each run, on the scenes of FOLDER/train, measured on those of FOLDER/unseen."""
    held = {"corpus": data["corpus"], "batch": {"pairs": 32}, "max_tokens": 32, "token_buckets": data["token_buckets"]}
    shared = {"data": held, "steps": TASK_STEPS, "optimizer": {"lr": 5e-4}, "tensorboard": False}
    return {
        "tasks": {name: {**shared, name: {"source": "scenes", "folder": f"train/tasks/{name}", **own}} for name, own in TASKS.items()},
        "task_folders": {name: f"unseen/tasks/{name}" for name in TASKS},
    }


def make_tasks(folder: Path, seed: int, seen: bool) -> None:
    """The files of the downstream tasks about the scenes of a folder, for training (seen) or for evaluation."""
    count = sum(len(path.read_text().splitlines()) for path in (folder / "scenes").glob("truth-*.jsonl"))
    write_tasks(str(folder), task_files(seed, 0, count, 0 if seen else count))


def pairs_of(folder: Path, name: str) -> list[dict[str, Any]]:
    """The settings of a folder of scenes as a source of pairs."""
    return [{"format": "coco", "name": name, "captions": str(folder / "captions-*.json"), "images": str(folder / "images")}]


def make_training(folder: Path, scenes: int, alone: int, texts: int, quick: bool) -> Path:
    """The corpus to train on, with every augmentation; returns its tokenizer's file."""
    make_scenes(folder / "scenes", scenes, SEED, texts=texts)
    make_scenes(folder / "photos", alone, SEED + 1, captions=False)
    config = parse_config(
        {
            "corpus": str(folder / "corpus"),
            "seed": SEED,
            "partitions": 4,
            "pairs": pairs_of(folder / "scenes", "scenes"),
            "images": [{"format": "folder", "name": "photos", "images": str(folder / "photos/images")}],
            "texts": [{"format": "text", "name": "stories", "files": str(folder / "scenes/texts-*.txt"), "unit": "line"}],
            "tfidf": {"k": 20},
            "regions": {},
            "swaps": {"balance": {}},
            "truth": {},
            "back_translation": QUICK if quick else {},
            "retrieval": {"images": {"k": 10}, "texts": {"k": 10}},
            "tokens": {"size": 1000},
        },
        "/",
    )
    run(config)
    with Corpus(config.corpus, 4).open("tokenizer", "tokenizer", WHOLE, TOKENIZER) as file:
        held = file.read()
    path = folder / "sentencepiece.model"
    path.write_bytes(held["data"][held["file"].to_pylist().index("sentencepiece.model")].as_py())
    return path


def make_test(folder: Path, scenes: int, seed: int, tokenizer: Path) -> None:
    """A corpus of other scenes to evaluate on, and its truth file."""
    make_scenes(folder / "scenes", scenes, seed)
    config = parse_config(
        {
            "corpus": str(folder / "corpus"),
            "seed": SEED,
            "partitions": 2,
            "pairs": pairs_of(folder / "scenes", "scenes"),
            "tfidf": {"k": 2},
            "regions": {},
            "swaps": {"per_kind": 1},
            "truth": {},
            "tokens": {"vocabulary": str(tokenizer)},
        },
        "/",
    )
    run(config)
    (folder / "truth.json").write_text(json.dumps(truth_of(Corpus(config.corpus, 2), folder / "scenes")))


def truth_of(corpus: Corpus, folder: Path) -> dict[str, list[str]]:
    """By pair id, the images that its caption is clearly true of, each by one of its pair ids."""
    records = [json.loads(line) for path in sorted(folder.glob("truth-*.jsonl")) for line in path.read_text().splitlines()]
    scenes = {str(record["index"]): Scene.from_json(record) for record in records}
    graphs = {(str(record["index"]), one["text"]): CaptionGraph.from_json(one["graph"]) for record in records for one in record["captions"]}
    first: dict[str, str] = {}
    captions: dict[str, CaptionGraph] = {}
    for partition in range(corpus.partitions):
        for row in corpus.open("pairs", "pairs", partition).read(["pair_id", "image_id", "caption"]).to_pylist():
            scene = row["image_id"].partition("/")[2]
            first.setdefault(scene, row["pair_id"])
            captions[row["pair_id"]] = graphs[scene, row["caption"]]
    return {pair: [one for scene, one in first.items() if is_true(graph, scenes[scene])] for pair, graph in captions.items()}


def main() -> None:
    """Makes what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, number in (("scenes", 2000), ("alone", 1000), ("texts", 5000), ("unseen", 500), ("dev", 150)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--quick", action="store_true", help="fewer candidates in back-translation")
    parser.add_argument("--flops", type=float, default=6e13)
    parser.add_argument("--updates", type=int)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--lr", type=float, default=1e-3)
    args = parser.parse_args()
    folder = args.folder.absolute()
    tokenizer = make_training(folder / "train", args.scenes, args.alone, args.texts, args.quick)
    for seed, name in enumerate(("unseen", "dev"), start=SEED + 2):
        make_test(folder / name, getattr(args, name), seed, tokenizer)
    make_tasks(folder / "train", SEED, seen=True)
    make_tasks(folder / "unseen", SEED + 2, seen=False)
    for name, value in configurations(args.flops, args.updates, args.seeds, args.lr).items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(value, sort_keys=False))


if __name__ == "__main__":
    main()
