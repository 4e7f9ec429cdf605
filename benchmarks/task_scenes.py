"""The tasks on images and texts, on synthetic scenes: a pretrained network against the same one from scratch.

    python -m benchmarks.ablation_scenes FOLDER ... && cmcl ablate FOLDER/headline.yaml
    python -m benchmarks.task_scenes FOLDER RUN OUT [--seeds 3] [--steps 500] [--tasks NAME ...]

RUN: a pretrained run, such as FOLDER/runs/in_batch/seed-0, whose model settings both arms have. Tasks are trained on the scenes of
FOLDER/train and measured on those of FOLDER/unseen. A second call skips finished runs and resumes the others. Arms share batches and
seeds. OUT/table.md has each metric, its 95 % interval over scenes and seeds (over seeds alone for captions, whose metrics
are not means over rows; none if there is one), the paired difference, the same with every region masked (their boxes remain), and two
answers that look at nothing: a random one (chance) and the best constant one.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model import checkpoint
from model.config import TrainSettings
from model.data.loader import ShardLoader
from model.data.settings import DataSettings
from model.data.shards import Shards
from model.downstream import TaskRows, answered, batches_of
from model.metrics import by_group, interval
from model.tasks import task_of
from model.tasks.base import Row, Task
from model.tasks.generation import Generation
from model.tasks.refexp import HIT, Refexp, iou
from model.tasks.text_metrics import caption_scores
from model.tasks.vcr import Vcr
from model.train import train
from model.trials import CorpusImages

Unseen = tuple[str, str]  # a corpus, and the folder of a task's files about its images
TASKS: dict[str, tuple[str, dict[str, Any]]] = {  # by name in the table, the task and its settings
    "vqa": ("vqa", {"folder": "vqa"}),
    "snli_ve": ("snli_ve", {"folder": "snli_ve", "evaluate": ["dev"]}),
    "nlvr2": ("nlvr2", {"folder": "nlvr2", "images": "images.json", "evaluate": ["dev"]}),
    "vcr": ("vcr", {"folder": "vcr"}),
    "refexp": ("refexp", {"folder": "refexp"}),
    "refexp_true_boxes": ("refexp", {"folder": "refcoco", "refs": "refs(unc).p", "boxes": "truth"}),
    "coco_captions": ("coco_captions", {"folder": "coco_captions", "target_tokens": 26, "beams": 3}),
}
ARMS = ("pretrained", "scratch")


def settings_of(args: argparse.Namespace, name: str, arm: str, seed: int) -> TrainSettings:
    """The training of a task from one of the arms."""
    task, own = TASKS[name]
    start = str(args.start.absolute())
    return TrainSettings.model_validate(
        {
            "task": task,
            task: {**own, "source": "scenes", "folder": str(args.folder / "train/tasks" / own["folder"])},
            "data": {
                "corpus": str(args.folder / "train/corpus"),
                "batch": {"pairs": 64},
                "max_tokens": 32,
                "token_buckets": [12, 16, 20, 24],
                "region_buckets": [8, 12, 16, 24],
            },
            "model": {**checkpoint.load(start, only="").state["settings"]["model"], "dropout": args.dropout},
            "start": start if arm == "pretrained" else None,
            "output": str(args.out / name / arm / f"seed-{seed}"),
            "seed": seed,
            "steps": args.steps,
            "optimizer": {"lr": args.lr, "head": args.head, "warmup": 0.1},
            "precision": args.precision,
            "checkpoint_every": 200,
            "keep": 1,
            "tensorboard": False,
        }
    )


def finished(settings: TrainSettings, unseen: Unseen) -> dict[str, Any]:
    """The result of a run, which is made if it is missing: metrics, and by scene (`scenes`) those that are means over rows."""
    path = Path(settings.output) / "result.json"
    if not path.exists():
        _, progress = train(settings, ShardLoader(batches_of(settings)))
        if progress.share(settings) < 1:
            raise SystemExit(143)  # it was asked to stop, and has saved
        result: dict[str, Any] = {}
        for held, task, _, rows, found in answered(settings.output, *unseen, hidden=True):
            for name, answers in found.items():
                result[name] = task.measure(answers, rows.rows, held.state["facts"]["labels"])
                if not isinstance(task, Generation):
                    result[name]["scenes"] = by_scene(task, rows.rows, answers, held.state["facts"]["labels"])
        path.write_text(json.dumps(result))
    held_result: dict[str, Any] = json.loads(path.read_text())
    return held_result


def by_scene(task: Task, rows: Sequence[Row], answers: np.ndarray, labels: Sequence[str]) -> dict[str, list[float]]:
    """By metric, one value a scene, whose mean is the metric over all rows; a row of two scenes counts for the first."""
    scenes = np.unique([row.images[0] for row in rows], return_inverse=True)[1]
    own = [np.flatnonzero(scenes == scene) for scene in range(scenes.max() + 1)]
    found = [task.measure(answers[places], [rows[at] for at in places], labels) for places in own]
    counts = np.array([len(places) for places in own])
    return {name: by_group(np.array([one[name] for one in found]) * counts, counts).tolist() for name in found[0] if name != "majority"}


def looking_at_nothing(settings: TrainSettings, unseen: Unseen) -> dict[str, dict[str, float]]:
    """The metrics of a random answer (`chance`) and of the best constant one (`constant`)."""
    task = task_of(settings)
    assert isinstance(task, Task)
    seen = TaskRows(task, task.splits("train"), settings.data, Shards(settings.data.corpus)).rows
    corpus, there = unseen
    task = type(task)(task.settings.model_copy(update={"folder": there}))
    data = settings.data.model_copy(update={"corpus": corpus})
    rows = TaskRows(task, task.splits("evaluate"), data, Shards(corpus)).rows
    if isinstance(task, Refexp):
        return _candidates(task, rows, data)
    if task.name == "coco_captions":
        captions = sorted(caption for row in seen for caption in row.target)
        drawn = np.random.default_rng(0).choice(captions, len(rows)).tolist()
        usual = max(sorted(set(captions)), key=captions.count)
        wanted, references = ("bleu4", "cider"), [row.target for row in rows]
        return {
            "chance": caption_scores(drawn, references, wanted),
            "constant": caption_scores([usual] * len(rows), references, wanted),
        }
    if isinstance(task, Vcr):
        return _placed(task, rows)
    labels = task.labels(seen)
    each = [task.measure(np.full(len(rows), place, float), rows, labels)["accuracy"] for place in range(len(labels))]
    return {"chance": {"accuracy": float(np.mean(each))}, "constant": {"accuracy": max(each)}}


def _placed(task: Vcr, rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Always choosing the answer and the rationale at some places: on average, and the best."""
    numbers = np.array([int(row.name.rpartition(":")[2]) for row in rows])
    answers = np.array([row.target.kind == "answer" for row in rows])
    each = [
        task.measure(np.where(answers, numbers == one, numbers == two).astype(float), rows, ()) for one, two in product(range(4), repeat=2)
    ]
    return {
        how: {name: float(best([one[name] for one in each])) for name in each[0]} for how, best in (("chance", np.mean), ("constant", max))
    }


def _candidates(task: Refexp, rows: Sequence[Row], data: DataSettings) -> dict[str, dict[str, float]]:
    """Choosing any candidate, and choosing the largest."""
    images, shares, largest = CorpusImages(data.corpus, task.settings.source), [], []
    for row in rows:
        held = images.find(row.images[0], None)
        assert not isinstance(held, str)
        shown = task.regions(row, held)
        boxes = torch.from_numpy(shown.boxes / np.array([shown.width, shown.height] * 2)).double()
        hits = (iou(boxes, torch.tensor(row.target, dtype=torch.float64)) >= HIT).numpy()
        shares.append(hits.mean())
        largest.append(hits[(boxes[:, 2:] - boxes[:, :2]).prod(1).argmax()])
    return {"chance": {"accuracy": float(np.mean(shares))}, "constant": {"accuracy": float(np.mean(largest))}}


def table(results: dict[tuple[str, str], list[dict[str, Any]]], blind: dict[str, dict[str, dict[str, float]]]) -> str:
    """Lines of Markdown: each task's metrics by arm, in percent."""
    lines = [
        "| task, metric | seeds | pretrained | from scratch | difference | image hidden: pretrained, from scratch | chance | constant |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in blind:
        arms = [results[name, arm] for arm in ARMS]
        for metric in [key for key in arms[0][0]["metrics"] if key not in ("majority", "scenes")]:
            shown, hidden = ([list(_values(arm, part, metric)) for arm in arms] for part in ("metrics", "metrics_image_hidden"))
            cells = [_cell(own) for own in shown] + [_cell(*shown, sign="+")]
            cells += [", ".join(f"{100 * interval(own, draws=1)[0]:.1f}" for own in hidden)]
            cells += [f"{100 * value:.1f}" if (value := blind[name][how].get(metric)) is not None else "" for how in ("chance", "constant")]
            lines.append(f"| {name} {metric} | {len(arms[0])} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _values(arm: Sequence[dict[str, Any]], part: str, metric: str) -> Iterator[np.ndarray]:
    for result in arm:
        yield np.array(result[part].get("scenes", {}).get(metric, [result[part][metric]]))


def _cell(values: Sequence[np.ndarray], against: Sequence[np.ndarray] | None = None, sign: str = "") -> str:
    """A mean, or a difference, and its interval, if there is more than one value."""
    mean, low, high = (100 * value for value in interval(values, against))
    return f"{mean:{sign}.1f}" + (f" ({low:.1f} to {high:.1f})" if len(values) * len(values[0]) > 1 else "")


def main() -> None:
    """Makes what is missing, seed after seed, and writes the table after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("folder", "start", "out"):
        parser.add_argument(name, type=lambda path: Path(path).absolute())
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--head", type=float, default=10, help="what the learning rate of the task's head is multiplied by")
    parser.add_argument("--dropout", type=float, default=0)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    results: dict[tuple[str, str], list[dict[str, Any]]] = {}
    blind: dict[str, dict[str, dict[str, float]]] = {}
    for seed in range(args.seeds):
        for name in args.tasks:
            unseen = str(args.folder / "unseen/corpus"), str(args.folder / "unseen/tasks" / TASKS[name][1]["folder"])
            for arm in ARMS:
                settings = settings_of(args, name, arm, seed)
                results.setdefault((name, arm), []).append(finished(settings, unseen))
                logging.info("%s, %s, seed %d is complete", name, arm, seed)
            if name not in blind:
                blind[name] = looking_at_nothing(settings, unseen)
            (args.out / "table.md").write_text(table(results, blind))


if __name__ == "__main__":
    main()
