"""Cost of an incremental run: COCO's captions for 99 % of the images, then for all of them, then with one setting changed.

    python -m benchmarks.regeneration [--captions FILE] [--partitions 64] [--workers 2]

Prints, for each run, seconds and the number of tasks of each stage that ran, and one ratio: incremental run to full run.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from pipelines.config import parse_config
from pipelines.run import RunReport, run

SHARE = 0.01


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--captions", default=os.path.join(os.environ.get("CMCL_DATA", "../shared/data"), "coco_val2017/captions_val2017.json")
    )
    parser.add_argument("--partitions", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    captions = json.loads(Path(args.captions).read_text())
    images = captions["images"]
    new = {image["id"] for image in images[-round(len(images) * SHARE) :]}
    with tempfile.TemporaryDirectory(prefix="cmcl-regeneration-") as folder:
        for name, wanted in (("old", False), ("new", True)):
            part = {
                **captions,
                "images": [image for image in images if (image["id"] in new) == wanted],
                "annotations": [one for one in captions["annotations"] if (one["image_id"] in new) == wanted],
            }
            Path(folder, f"{name}.json").write_text(json.dumps(part))
        for tfidf in (None, {}):
            print(
                f"\nrow-local stages only, {args.partitions} partitions"
                if tfidf is None
                else "\nwith TF-IDF negatives, whose document frequencies depend on every caption"
            )
            compare(Path(folder), args, tfidf, len(new))


def compare(folder: Path, args: argparse.Namespace, tfidf: dict[str, Any] | None, new: int) -> None:
    """Full runs, an incremental run and a changed setting, with or without the corpus-wide stages."""
    touched = 1 - (1 - 1 / args.partitions) ** new

    def made(corpus: str, files: list[str], **changes: Any) -> RunReport:
        report = run(
            parse_config(
                {
                    "corpus": str(folder / corpus),
                    "partitions": args.partitions,
                    "pixels": False,
                    "tfidf": tfidf,
                    "pairs": [{"format": "coco", "name": "coco", "captions": [str(folder / name) for name in files]}],
                    **changes,
                },
                "/",
            ),
            workers=args.workers,
        )
        stages = ", ".join(f"{manifest.stage} {manifest.ran}" for manifest in report.ran)
        print(f"    {report.wall_s:6.1f} s  tasks run: {stages or 'none'}; stages up to date: {', '.join(report.skipped) or 'none'}")
        return report

    prefix = "rows" if tfidf is None else "all"
    print("full run on everything:")
    full = made(f"{prefix}-full", ["old.json", "new.json"])
    print("full run on 99 %:")
    made(f"{prefix}-grown", ["old.json"])
    print(f"1 % added ({new} images, expected to affect {touched:.0%} of the partitions):")
    grown = made(f"{prefix}-grown", ["old.json", "new.json"])
    print(f"ratio of incremental run to full run: {grown.wall_s / full.wall_s:.2f}")
    if tfidf is not None:
        print("tfidf.k changed:")
        made(f"{prefix}-grown", ["old.json", "new.json"], tfidf={"k": 50})
    print("nothing changed:")
    made(f"{prefix}-grown", ["old.json", "new.json"], tfidf={"k": 50} if tfidf is not None else None)


if __name__ == "__main__":
    main()
