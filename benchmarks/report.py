"""Thumbnails per second of `cmcl report`, compared with bare Pillow in a pool of as many processes, by processor time and wall time.

    python -m benchmarks.report PHOTOS [--workers 2] [--repeats 3]

PHOTOS: a folder of images. Both write JPEG files of the same size and quality; the report also checks limits and hashes every file.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from pathlib import Path

from PIL import Image

from pipelines.report import thumbnails
from pipelines.report.thumbnails import SIDE, Photo, make_thumbnails
from transforms.ingest.images.probe import ImageLimits


def bare(work: list[tuple[str, str]]) -> None:
    """Thumbnails as Pillow's documentation makes them."""
    for source, target in work:
        with Image.open(source) as image:
            image.thumbnail((SIDE, SIDE))
            image.convert("RGB").save(target, "JPEG", quality=80)


def bare_pool(work: list[tuple[str, str]], workers: int) -> None:
    """`bare` in a pool."""
    pieces = [work[start : start + 32] for start in range(0, len(work), 32)]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(bare, pieces))


def seconds(action: Callable[[], object]) -> tuple[float, float]:
    """Processor seconds, of child processes too, and wall seconds."""
    before, start = _used(), time.perf_counter()
    action()
    return _used() - before, time.perf_counter() - start


def _used() -> float:
    return sum(one.ru_utime + one.ru_stime for one in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def main() -> None:
    """Prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("photos", metavar="PHOTOS", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--times", type=int, default=4, help="how often each photo is taken")
    args = parser.parse_args()
    thumbnails.FEW = 0
    paths = [path for path in sorted(args.photos.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg", ".png")] * args.times
    sums = {path: sha256(path.read_bytes()).digest() for path in set(paths)}
    ours, theirs = [], []
    for _ in range(args.repeats):
        with tempfile.TemporaryDirectory() as folder:
            names = [os.path.join(folder, "bare", f"{at}.jpg") for at in range(len(paths))]
            os.mkdir(os.path.join(folder, "bare"))
            theirs.append(seconds(lambda: bare_pool(list(zip(map(str, paths), names, strict=True)), args.workers)))  # noqa: B023
            photos = [Photo(str(path), None, None, sums[path], f"{folder}/own/{at}.jpg") for at, path in enumerate(paths)]
            ours.append(seconds(lambda: make_thumbnails(photos, ImageLimits(), args.workers)))  # noqa: B023
            assert len(os.listdir(f"{folder}/own")) == len(paths)
    for at, what in enumerate(("processor", "wall")):
        own, bare_s = (statistics.median(one[at] for one in held) for held in (ours, theirs))
        print(f"{len(paths):,} photos, {what} seconds: report {own:.2f}, bare Pillow {bare_s:.2f}; ratio {bare_s / own:.2f}")


if __name__ == "__main__":
    main()
