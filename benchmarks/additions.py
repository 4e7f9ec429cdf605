"""Cost of additions, removals and changes: CPU seconds of tasks, stage by stage, compared with a full run.

    python -m benchmarks.additions [--captions FILE] [--images 200] [--partitions 16] [--shares 0.01 0.1] [--frozen] [--translate]
    python -m benchmarks.additions --scenes 100 --frozen
    python -m benchmarks.additions --folder FOLDER ...    # keeps the corpora and their seconds: what is there is not built again

Everything runs in one process, after a first small run that loads the engines. Each corpus starts from another (`base`), so a difference is
made once; the one that an addition or a change ends in is compared with the full run's, byte for byte. "beyond start-up" is all that a run
costs, summaries, ingestion and manifests included, less what a run of three images costs beyond its tasks. Synthetic scenes have pixels,
and so regions, retrieved images and texts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pipelines.config import parse_config
from pipelines.run import RunReport, run
from pipelines.scenes import make_scenes
from transforms.core import beam

ROW_BY_ROW = ("graphs", "pair_words", "back_translation", "regions", "image_vectors", "text_vectors")
EVERYTHING = "everything"
_spent: defaultdict[str, float] = defaultdict(float)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser()
    data = os.environ.get("CMCL_DATA", "../shared/data")
    parser.add_argument("--captions", default=os.path.join(data, "coco_val2017/captions_val2017.json"))
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--scenes", type=int, default=0, help="synthetic scenes with pixels, instead of captions")
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.01, 0.1])
    parser.add_argument("--kinds", nargs="+", default=["addition", "change"], help="beside removals")
    parser.add_argument("--frozen", action="store_true", help="hold frequencies, vocabularies and tokenizer fixed, as in the full run")
    parser.add_argument("--check-removals", action="store_true", help="compare each with a run that makes everything, which takes as long")
    parser.add_argument("--translate", action="store_true", help="with back-translation, by the demo's settings")
    parser.add_argument("--folder", help="keep the corpora and their seconds here; a later call with the same input continues")
    args = parser.parse_args()
    _count_cpu()
    with nullcontext(args.folder) if args.folder else tempfile.TemporaryDirectory(prefix="cmcl-additions-") as folder:
        _same_input(Path(folder), args)
        if args.scenes and not os.path.isdir(os.path.join(folder, "scenes")):
            make_scenes(os.path.join(folder, "scenes"), args.scenes, 7, texts=100)
            make_scenes(os.path.join(folder, "photos"), 10, 8, captions=False)
        if args.scenes:
            args.captions, args.images = str(next(Path(folder, "scenes").glob("captions-*.json"))), args.scenes
        captions = json.loads(Path(args.captions).read_text(encoding="utf-8"))
        _measure(_Work(Path(folder), args, captions), [image["id"] for image in captions["images"][: args.images]], args)


def _same_input(folder: Path, args: argparse.Namespace) -> None:
    """Raises SystemExit if the folder has measurements of another input."""
    folder.mkdir(parents=True, exist_ok=True)
    own = json.dumps({name: getattr(args, name) for name in ("captions", "images", "scenes", "partitions", "translate")})
    path = folder / "input.json"
    if path.exists() and path.read_text() != own:
        raise SystemExit(f"{path}: measurements of {path.read_text()}: choose another folder")
    path.write_text(own)


def _measure(work: _Work, every: list[int], args: argparse.Namespace) -> None:
    work.build("warm", every[:3], again=True)
    small = work.build("small", every[3:6], again=True)
    work.start = small[EVERYTHING] - sum(seconds for name, seconds in small.items() if name != EVERYTHING)
    whole = work.build("full", every)
    work.frozen = "full" if args.frozen else None
    if args.frozen:  # the same tables, but frozen: the expected result of the additions
        work.build("fixed", every, base="full")
    target, mode = ("fixed", "frozen ") if args.frozen else ("full", "")
    for share in args.shares:
        number = max(1, round(len(every) * share))
        fewer, edited = f"{mode}removal {share}", f"{mode}edit {share}"
        spent = work.build(fewer, every[:-number], base=target)
        title = f"{mode}removal of {number} images in {len(every)}"
        if args.check_removals:
            work.build(f"{fewer} anew", every[:-number])
            title += f"; equal to a run without a base: {work.tables(fewer) == work.tables(f'{fewer} anew')}"
        work.show(title, spent, whole)
        if "change" in args.kinds:
            work.build(edited, every, number, base=target)
        for kind, before in (("addition", fewer), ("change", edited)):
            if kind in args.kinds:
                name = f"{mode}{kind} {share}"
                spent = work.build(name, every, base=before)
                same = work.tables(name) == work.tables(target)
                work.show(f"{mode}{kind} of {number} images in {len(every)}; equal to the full run: {same}", spent, whole)


_PIXELS: dict[str, Any] = {
    "regions": {},
    "images": [{"format": "folder", "name": "photos", "images": "photos/images"}],
    "texts": [{"format": "text", "name": "stories", "files": "scenes/texts-*.txt"}],
    "retrieval": {"images": {"k": 5}, "texts": {"k": 5}},
}
_IMAGES: dict[bool, dict[str, str]] = {False: {}, True: {"images": "scenes/images"}}


class _Work:
    """Builds corpora of subsets of the captions."""

    def __init__(self, folder: Path, args: argparse.Namespace, captions: dict[str, Any]):
        self._folder, self._args, self._captions = folder, args, captions
        self.frozen: str | None = None
        self.start = 0.0

    def build(self, name: str, chosen: list[int], edited: int = 0, base: str | None = None, again: bool = False) -> dict[str, float]:
        """Builds a corpus of some images, whose last `edited` have a changed caption; returns CPU seconds by stage.

        A corpus that an earlier call has built is taken as it is, unless `again`.
        """
        measured = self._folder / f"{name}.seconds"
        if measured.exists() and not again:
            return defaultdict(float, json.loads(measured.read_text()))
        shutil.rmtree(self._folder / name, ignore_errors=True)
        kept, changed = set(chosen), set(chosen[-edited:] if edited else [])
        notes = [dict(note) for note in self._captions["annotations"] if note["image_id"] in kept]
        for note in notes:
            if note["image_id"] in changed:
                note["caption"] = note["caption"].strip().rstrip(".") + " on a sunny day."
                changed.discard(note["image_id"])
        path = self._folder / f"{name}.json"
        path.write_text(json.dumps({"images": [one for one in self._captions["images"] if one["id"] in kept], "annotations": notes}))
        _spent.clear()
        start = time.process_time()
        report = run(self._config(name, path, base))
        _spent[EVERYTHING] = time.process_time() - start
        print(f"{name}: {_spent['everything']:.2f} s of CPU; rows made: {_made(report)}", flush=True)
        measured.write_text(json.dumps(_spent))
        return defaultdict(float, _spent)

    def _config(self, name: str, path: Path, base: str | None) -> Any:
        return parse_config(
            {
                "corpus": name,
                "base": base,
                "frozen": self.frozen,
                "partitions": self._args.partitions,
                **(_PIXELS if self._args.scenes else {"pixels": False}),
                "max_rejected": 1.0,
                "tfidf": {"k": 20},
                "swaps": {},
                "back_translation": {"pivot_beam": 1, "pivot_texts": 1, "beam": 4, "n_best": 4} if self._args.translate else None,
                "tokens": {"size": 1000},
                "pairs": [{"format": "coco", "name": "coco", "captions": [str(path)], **_IMAGES[bool(self._args.scenes)]}],
            },
            str(self._folder),
        )

    def tables(self, name: str) -> dict[str, bytes]:
        """All table files of a corpus."""
        folder = self._folder / name
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.arrow")}

    def show(self, title: str, spent: dict[str, float], whole: dict[str, float]) -> None:
        """Prints the seconds of two builds, and their ratio, by stage."""
        print(f"\n{title}\n{'stage':<20} {'full, s':>9} {'now, s':>9} {'ratio':>7}")
        local = (*ROW_BY_ROW, "swaps") if self.frozen else ROW_BY_ROW  # a vocabulary that has changed reaches every swap
        rows = {name: (whole[name], spent[name]) for name in whole if name != EVERYTHING}
        rows["row by row"] = tuple(sum(part[name] for name in local) for part in (whole, spent))
        rows["all tasks"] = tuple(sum(part[name] for name in part if name != EVERYTHING) for part in (whole, spent))
        rows["beyond start-up"] = tuple(part[EVERYTHING] - self.start for part in (whole, spent))
        for name, (full, now) in rows.items():
            if full:
                print(f"{name:<20} {full:>9.2f} {now:>9.2f} {now / full:>7.3f}")
        print(flush=True)


def _made(report: RunReport) -> str:
    return ", ".join(f"{manifest.stage} {manifest.made}" for manifest in report.ran if manifest.made)


def _count_cpu() -> None:
    """Makes tasks add their CPU seconds to `_spent`."""
    original = beam.run_task

    def timed(context: Any, stage: Any, *rest: Any) -> Any:
        start = time.process_time()
        try:
            return original(context, stage, *rest)
        finally:
            _spent[stage.name] += time.process_time() - start

    beam.run_task = timed


if __name__ == "__main__":
    main()
