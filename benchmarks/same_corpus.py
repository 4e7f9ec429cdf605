"""Builds one corpus in many ways and compares it with that of a single worker: workers, partitions, runners, kills, additions.

    python -m benchmarks.same_corpus FOLDER [--scenes 6] [--photos 4] [--kills 30] [--partitions 4 16 64] [--workers 1 4]

Every stage takes part, with the demo's settings, the judge of truth, balanced swaps and tokens, on drawn scenes and, where present, COCO
photos: regions by the embedded detector, back-translation by the embedded translators, retrieved images and texts. "killed": SIGKILL to
the process groups of runs, at moments spread from the start of a corpus to its end; ten per corpus. "grown": a corpus
that lacks two images and has two others and changed captions, built by a single worker, becomes the wanted one on that runner.

The corpus hash covers rows, not files, so it is the same for any number of partitions; with the same number, all table files are compared
as well. Called again, it continues with what is finished in FOLDER. Exits with status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.kills import finished, hash_of
from pipelines.demo import SEED, settings
from pipelines.scenes import make_scenes

DATA = Path(os.environ.get("CMCL_DATA", "../shared/data"), "coco_val2017")
RUNNERS = ("local", "spark", "flink", "prism")
_KILLS = 10  # of one corpus
_DELAY_S = 0.5  # the longest time from the end of a task to a kill


def files_of(corpus: Path) -> dict[str, str]:
    """The SHA-256 of every table file."""
    return {str(path.relative_to(corpus)): hashlib.sha256(path.read_bytes()).hexdigest() for path in corpus.rglob("*.arrow")}


@dataclass
class Ways:
    """Builds the corpora, prints a row for each, and counts those that differ."""

    folder: Path
    hash: str = ""
    differing: int = 0

    def command(self, name: str, *options: str, config: str = "config.yaml") -> list[str]:
        """The command line of a run that builds the corpus `name`."""
        run = [sys.executable, "-m", "pipelines.cli", "run", str(self.folder / config), "--quiet"]
        return [*run, "--set", f"corpus={self.folder / name}", *options]

    def build(self, name: str, *options: str, config: str = "config.yaml") -> None:
        """Builds or completes a corpus. Raises SystemExit, with the end of its output, if the run fails."""
        done = subprocess.run(self.command(name, *options, config=config), capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{name}: {done.stderr[-4000:]}")

    def compare(self, name: str, begun: float) -> None:
        """Prints whether the corpus `name` is the wanted one."""
        corpus, whole = self.folder / name, self.folder / "whole"
        found, own, wanted = hash_of(corpus), files_of(corpus), files_of(whole)
        files = "rows only"
        if json.loads((corpus / "corpus.json").read_text())["partitions"] == json.loads((whole / "corpus.json").read_text())["partitions"]:
            apart = [path for path in own.keys() | wanted.keys() if own.get(path) != wanted.get(path)]
            files = f"{len(wanted) - len(apart)} of {len(wanted)} files equal"
            self.differing += bool(apart)
            for path in sorted(apart):
                print(f"    {path} differs")
        self.differing += found != self.hash
        outcome = "equal" if found == self.hash else "DIFFERENT"
        print(f"{name:<32} {found[:16]} {outcome:<10} {files:<26} {time.monotonic() - begun:7.0f} s", flush=True)

    def built(self, name: str, *options: str) -> None:
        """Builds and compares a corpus."""
        begun = time.monotonic()
        self.build(name, *options)
        self.compare(name, begun)

    def killed(self, name: str, moments: Sequence[int], draw: random.Random, workers: str) -> Counter[str]:
        """Builds a corpus in runs that are killed after these numbers of finished tasks, then compares it; returns kills by stage."""
        corpus, stages, begun = self.folder / name, Counter[str](), time.monotonic()
        shutil.rmtree(corpus, ignore_errors=True)
        for moment in moments:
            process = subprocess.Popen(
                self.command(name, "--workers", workers), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            while process.poll() is None and finished(corpus) < moment:
                time.sleep(0.01)
            time.sleep(draw.uniform(0, _DELAY_S))
            if process.poll() is not None:
                print(f"    {name}: a run ended before its kill, with status {process.returncode}")
                break
            below = psutil.Process(process.pid).children(recursive=True)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if psutil.wait_procs(below, timeout=60)[1]:
                raise RuntimeError(f"{name}: workers outlive their driver")
            latest = max(corpus.glob("*/*"), key=lambda path: path.stat().st_mtime_ns, default=Path("start-up/none"))
            stages[latest.parent.name] += 1
        self.build(name, "--workers", workers)
        self.compare(name, begun)
        return stages


def write_input(folder: Path, scenes: int, photos: int, partitions: int) -> None:
    """Draws the scenes, and writes the captions, the same before an addition, removal and change, and the configuration."""
    make_scenes(str(folder / "scenes"), scenes + 1, SEED, texts=40)
    make_scenes(str(folder / "photos"), scenes, SEED + 1, captions=False)
    sources: list[dict[str, Any]] = [dict(name="scenes", images=str(folder / "scenes" / "images"))]
    whole = [json.loads(next((folder / "scenes").glob("captions-*.json")).read_text())]
    if (DATA / "captions_val2017.json").is_file():
        captions = json.loads((DATA / "captions_val2017.json").read_text(encoding="utf-8"))
        there = {path.name for path in (DATA / "images").iterdir()}
        captions["images"] = [image for image in captions["images"] if image["file_name"] in there][: photos + 1]
        whole.append(captions)
        sources.append(dict(name="coco", images=str((DATA / "images").resolve())))
    else:
        print(f"no COCO captions at {DATA}: scenes only")
    for source, captions in zip(sources, whole, strict=True):
        images = [image["id"] for image in captions["images"]]
        source |= dict(format="coco", captions=str(folder / f"{source['name']}.json"))
        for name, chosen, edited in ((source["name"], images[:-1], None), (f"{source['name']}-before", images[1:], images[1])):
            notes = [dict(note) for note in captions["annotations"] if note["image_id"] in set(chosen)]
            for note in [note for note in notes if note["image_id"] == edited][:1]:
                note["caption"] = note["caption"].strip().rstrip(".") + " on a sunny day."
            kept = [image for image in captions["images"] if image["id"] in set(chosen)]
            _write(folder / f"{name}.json", json.dumps({"images": kept, "annotations": notes}))
    config = settings() | {
        "images": [dict(format="folder", name="photos", images=str(folder / "photos" / "images"))],
        "texts": [dict(format="text", name="stories", files=str(folder / "scenes" / "texts-*.txt"))],
        "pairs": sources,
        "partitions": partitions,
        "max_rejected": 1.0,
        "truth": {},
        "swaps": {"per_kind": 5, "balance": {}},
        "tokens": {"size": 500},
    }
    _write(folder / "config.yaml", yaml.safe_dump(config))
    for source in sources:
        source["captions"] = str(folder / f"{source['name']}-before.json")
    _write(folder / "before.yaml", yaml.safe_dump(config))


def _write(path: Path, text: str) -> None:
    """Leaves a file with this content alone, so its stamp does not make a finished corpus stale."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument("--partitions", type=int, nargs="+", default=[4, 16, 64], help="the first also with runners, kills and additions")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--runners", nargs="*", choices=RUNNERS, default=RUNNERS)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--killed-workers", type=int, default=2, help="of runs that are killed")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    first, draw = args.partitions[0], random.Random(args.seed)
    write_input(folder, args.scenes, args.photos, first)
    ways = Ways(folder)
    ways.build("whole", "--workers", "1")
    ways.hash, tasks = hash_of(folder / "whole"), finished(folder / "whole")
    print(f"one worker, {first} partitions: {tasks} tasks, {len(files_of(folder / 'whole'))} table files, hash {ways.hash}", flush=True)
    for runner in (runner for runner in args.runners if runner != "local"):
        ways.built(runner, "--runner", runner, "--workers", "2")
    for partitions in args.partitions:
        for workers in args.workers:
            if (partitions, workers) != (first, 1):
                ways.built(f"{partitions}-partitions-{workers}-workers", "--workers", str(workers), "--set", f"partitions={partitions}")
    if args.runners:
        ways.build("before", "--workers", "1", config="before.yaml")
    for runner in args.runners:
        name, begun = f"grown-{runner}", time.monotonic()
        if not (folder / name).exists():
            shutil.copytree(folder / "before", folder / name)
        ways.build(name, "--workers", "2", *(() if runner == "local" else ("--runner", runner)))
        ways.compare(name, begun)
    stages: Counter[str] = Counter()
    moments = [round(0.96 * tasks * at / args.kills) for at in range(args.kills)]
    corpora = max(1, args.kills // _KILLS)
    for at in range(corpora if args.kills else 0):
        stages += ways.killed(f"killed-{at}", moments[at::corpora], draw, str(args.killed_workers))
    print(f"{stages.total()} kills: " + ", ".join(f"{stage} {count}" for stage, count in stages.items()))
    sys.exit(f"{ways.differing} comparisons differ" if ways.differing else int(stages.total() < args.kills))


if __name__ == "__main__":
    main()
