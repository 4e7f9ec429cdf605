"""Images per second of the whole stage relative to the model's bare forward pass on preloaded tensors, in the same batches.

    python -m benchmarks.regions_throughput --images ../shared/data/coco_val2017 --count 48
    python -m benchmarks.regions_throughput --model embedded --scenes 512

`torchvision:` models get random weights, which do not affect speed. The two measurements alternate, so that other load affects both. On a
GPU, its utilisation is printed as well. The last line has the ratio (1: everything except the forward pass is free).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torchvision.models import get_model_builder

from schemas.corpus import Corpus
from schemas.tables import IMAGES
from transforms.core.task import Task
from transforms.engines.detectors.faster_rcnn import FasterRcnnDetector
from transforms.engines.detectors.load import detector
from transforms.engines.detectors.settings import DetectorSettings
from transforms.engines.torch_threads import kernel_threads
from transforms.ingest.images.probe import open_image
from transforms.regions.detect import DetectRegions, RegionParams


class _Noting:
    """A detector that records its batches, to replay them without the stage."""

    def __init__(self, engine: FasterRcnnDetector):
        self._engine, self.batches = engine, []
        self.info, self.shape, self.prepare, self.device_kind = engine.info, engine.shape, engine.prepare, engine.device_kind

    def detect(self, batch: Any) -> Any:
        self.batches.append(list(batch))
        return self._engine.detect(batch)


def images_table(paths: list[str]) -> Any:
    """An `images` table of these files."""
    import pyarrow as pa

    rows = []
    for path in paths:
        with open_image(path) as image:
            rows.append({"image_id": f"b/{path}", "source": "b", "uri": path, "width": image.width, "height": image.height})
    return pa.Table.from_pylist(rows, schema=IMAGES)


def run_stage(stage: DetectRegions, corpus: Corpus) -> float:
    """Seconds that one task of the stage takes, including writing its file."""
    start = time.perf_counter()
    Task(corpus, stage, 0, 0).run()
    return time.perf_counter() - start


def run_bare(engine: FasterRcnnDetector, tensors: list[list[torch.Tensor]], threads: int) -> float:
    """Seconds that torchvision's own call takes on preloaded tensors."""
    precision = getattr(torch, engine.settings.precision)
    start = time.perf_counter()
    with torch.inference_mode(), kernel_threads(threads), torch.autocast(engine.device.type, precision, enabled=precision != torch.float32):
        for batch in tensors:
            engine.model(batch)
        if engine.device.type == "cuda":
            torch.cuda.synchronize()
    return time.perf_counter() - start


def busy_share(stop: threading.Event) -> Iterator[float]:
    """The GPU's utilisation as reported by the driver, in percent, ten times a second."""
    while not stop.wait(0.1):
        yield float(torch.cuda.utilization())


def settings_of(args: argparse.Namespace, folder: str) -> DetectorSettings:
    """The engine's settings; weights of torchvision models are made in `folder`."""
    common = {"threads": args.threads, "batch": args.batch, "precision": args.precision, "readers": args.readers, "window": args.window}
    if args.model == "embedded":
        return DetectorSettings(**common)
    torch.manual_seed(0)
    path = f"{folder}/weights.pth"
    torch.save(get_model_builder(args.model)(weights=None, weights_backbone=None, num_classes=91).state_dict(), path)
    return DetectorSettings(detector=f"torchvision:{args.model}@{path}", **common)


def sources(args: argparse.Namespace, folder: str) -> list[str]:
    """Paths of the images: the given ones, or newly drawn scenes."""
    if args.images:
        return [str(path) for path in sorted(Path(args.images).rglob("*.jpg"))][: args.count]
    from transforms.scenes import encode, render, sample_scene

    paths = []
    for index in range(args.scenes):
        path = f"{folder}/{index:05d}.jpg"
        Path(path).write_bytes(encode(render(sample_scene(31, index))))
        paths.append(path)
    return paths


def main() -> None:
    """Runs the benchmark."""
    args = parser().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(args, folder)
        paths = sources(args, folder)
        engine: Any = detector(settings)
        stage = DetectRegions(RegionParams(detector=settings))
        corpus = Corpus(folder, 1)
        write_images(corpus, images_table(paths))
        noting = _Noting(engine)
        import transforms.regions.detect as module

        module.detector = lambda _: noting  # type: ignore[assignment]
        run_stage(stage, corpus)
        module.detector = lambda _: engine  # type: ignore[assignment]
        tensors = preloaded(engine, noting.batches, paths)
        whole, bare, shares = [], [], []
        for _ in range(args.repeats):
            bare.append(run_bare(engine, tensors, args.threads))
            stop, seen = threading.Event(), []
            watcher = threading.Thread(target=lambda stop=stop, seen=seen: seen.extend(busy_share(stop)))
            if engine.device.type == "cuda":
                watcher.start()
            whole.append(run_stage(stage, corpus))
            stop.set()
            if engine.device.type == "cuda":
                watcher.join()
                shares.append(statistics.mean(seen))
    report(args, engine, len(paths), whole, bare, shares)


def write_images(corpus: Corpus, table: Any) -> None:
    """Writes the table where the stage expects it."""
    from schemas.store import TableWriter

    with TableWriter(corpus.table_url("pairs", "images", 0), table.schema) as writer:
        writer.write(table)


def preloaded(engine: Any, batches: list[list[Any]], paths: list[str]) -> list[list[torch.Tensor]]:
    """The stage's batches as plain image tensors, float32 [3, H, W] in 0..1, on the engine's device; images are matched by size only."""
    import numpy as np

    waiting: dict[tuple[int, int], list[str]] = {}
    for path in paths:
        with open_image(path) as image:
            waiting.setdefault(image.size, []).append(path)
    result = []
    for batch in batches:
        group = []
        for one in batch:
            path = waiting[one.width, one.height].pop(0)
            group.append((torch.from_numpy(np.array(open_image(path))).permute(2, 0, 1).float() / 255).contiguous().to(engine.device))
        result.append(group)
    return result


def report(args: argparse.Namespace, engine: Any, count: int, whole: list[float], bare: list[float], shares: list[float]) -> None:
    """Prints medians and the ratio of each round."""
    ratios = [without / within for without, within in zip(bare, whole, strict=True)]
    print(
        f"{args.model} on {engine.device}, {count} images, batches of {args.batch}, {args.threads} threads, {args.readers} readers, "
        f"{args.precision}, {len(ratios)} rounds"
    )
    print(f"bare forward pass {count / statistics.median(bare):.2f} images/s, whole stage {count / statistics.median(whole):.2f} images/s")
    if shares:
        print(f"GPU busy {statistics.mean(shares):.0f} % of the stage's time")
    print(f"ratio {statistics.median(ratios):.3f} (each round: {', '.join(f'{ratio:.3f}' for ratio in ratios)})")


def parser() -> argparse.ArgumentParser:
    """The command-line parser."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--model", default="fasterrcnn_mobilenet_v3_large_320_fpn", help="embedded, or one of torchvision's detectors")
    result.add_argument("--images", help="folder of .jpg files (default: newly drawn scenes)")
    result.add_argument("--count", type=int, default=64, help="images taken from the folder")
    result.add_argument("--scenes", type=int, default=256)
    result.add_argument("--batch", type=int, default=8)
    result.add_argument("--threads", type=int, default=1)
    result.add_argument("--readers", type=int, default=2)
    result.add_argument("--window", type=int, default=64)
    result.add_argument("--precision", default="float32")
    result.add_argument("--repeats", type=int, default=5)
    return result


if __name__ == "__main__":
    main()
