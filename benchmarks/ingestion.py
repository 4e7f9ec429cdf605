"""Ingestion speed: COCO captions and Flickr8k with pixels, and the same photos as tar shards.

    python -m benchmarks.ingestion ../shared/data [--against CHECKOUT] [--rounds 5]

Each round makes both corpora (ingestion only, one worker) with this checkout and, with --against, with another one, alternating so that
both run under the same load. Prints the median CPU seconds and their ratio, this checkout's over the other's.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the test data folder")
    parser.add_argument("--against", type=Path, help="another checkout of the project")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        _shards(args.data / "flickr8k", Path(folder))
        for name, pairs in _collections(args.data.resolve(), folder).items():
            seconds: dict[Path, list[float]] = {}
            for _ in range(args.rounds):
                for checkout in filter(None, (here, args.against and args.against.resolve())):
                    seconds.setdefault(checkout, []).append(_measured(checkout, pairs, folder))
            medians = {checkout: statistics.median(found) for checkout, found in seconds.items()}
            for checkout, median in medians.items():
                print(f"{name}: {median:.2f} CPU s with {checkout} ({', '.join(f'{one:.2f}' for one in seconds[checkout])})")
            if args.against:
                print(f"{name}: ratio {medians[here] / medians[args.against.resolve()]:.3f}")


def _collections(data: Path, folder: str) -> dict[str, list[dict[str, Any]]]:
    return {
        "COCO captions + Flickr8k with pixels": [
            {
                "format": "coco",
                "name": "coco",
                "captions": str(data / "coco_val2017/captions_val2017.json"),
                "missing_images": "exclude",
                "images": str(data / "coco_val2017/images"),
            },
            {"format": "csv", "name": "flickr8k", "captions": str(data / "flickr8k/captions.csv"), "images": str(data / "flickr8k/images")},
        ],
        "tar shards": [{"format": "webdataset", "name": "shards", "shards": f"{folder}/*.tar"}],
    }


def _shards(flickr: Path, folder: Path) -> None:
    """Writes Flickr8k's photos four times over, as shards in img2dataset's format."""
    photos = sorted((flickr / "images").iterdir())
    for shard in range(4):
        with tarfile.open(folder / f"{shard:05d}.tar", "w", format=tarfile.GNU_FORMAT) as tar:
            for number, photo in enumerate(photos):
                caption = f"photo {number} of shard {shard}"
                facts = json.dumps({"caption": caption, "key": f"{shard:05d}{number:04d}", "status": "success", "error_message": None})
                for extension, data in (("jpg", photo.read_bytes()), ("txt", caption.encode()), ("json", facts.encode())):
                    info = tarfile.TarInfo(f"{shard:05d}{number:04d}.{extension}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))


def _measured(checkout: Path, pairs: list[dict[str, Any]], folder: str) -> float:
    """CPU seconds that a checkout takes to make one corpus."""
    corpus = Path(folder) / "made" / "corpus"
    shutil.rmtree(corpus.parent, ignore_errors=True)
    corpus.parent.mkdir()
    config = Path(folder) / "config.json"  # JSON is YAML
    config.write_text(json.dumps({"corpus": str(corpus), "pairs": pairs, "tfidf": None, "partitions": 4}))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "run", str(config), "--quiet"],
        check=True,
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
