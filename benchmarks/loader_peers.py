"""The loader against webdataset, MosaicML Streaming, LitData and `datasets`: pairs in shuffled order, regions included, one process.

    python -m benchmarks.loader_peers WORK [--images 3000] [--batch 64]

Every image has 20 to 52 regions of 2,048 numbers (about 150 kB). The peers live in WORK/peers, an environment of their own that this makes
(Streaming wants numpy < 2.2); one that cannot be installed or fails is skipped, with the reason. Prints rows a second by the clock and a
second of the processor, which other work on the machine disturbs less, and the ratio to the best peer.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.loader_peer import BUCKET, PEERS, rates
from benchmarks.training_corpus import Sizes, write_corpus
from model.data.loader import Batches
from model.data.settings import DataSettings
from schemas.corpus import open_corpus
from schemas.regions import RegionFile

MOST = 52
# Streaming has a folder of its own, since it wants transformers 4, and no clients of clouds: pip searches long for versions that agree.
PACKAGES = {
    "webdataset": ["webdataset"], "litdata": ["litdata"], "datasets": ["datasets>=5,<6"],
    "streaming": ["--no-deps", "mosaicml-streaming", "boto3", "botocore", "s3transfer", "jmespath", "Brotli", "python-snappy", "cramjam",
                  "xxhash", "zstd", "catalogue", "transformers<5", "tokenizers<0.23", "huggingface_hub<1", "safetensors", "regex"],
}


def install(work: Path) -> dict[str, str]:
    """Makes the peers' environment; returns why, for each that cannot be installed."""
    place, failed = work / "peers", {}
    if not (place / "bin" / "python").exists():
        venv.create(place, with_pip=True)
        _pip(place, ["torch", "numpy<2.2", "packaging", "python-dateutil"])
    for name, packages in PACKAGES.items():
        if (place / f".{name}").exists():
            continue
        reason = _pip(place, ["--target", str(_own(work, name)), *packages] if "--no-deps" in packages else [*packages, "numpy<2.2"])
        if reason:
            failed[name] = reason
        else:
            (place / f".{name}").touch()
    return failed


def _own(work: Path, name: str) -> Path:
    """The packages that a peer alone sees."""
    return work / f"packages-{name}"


def _pip(place: Path, packages: list[str]) -> str:
    """Installs; the last line of what pip says when it cannot."""
    try:
        done = subprocess.run([str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages], capture_output=True, text=True,
                              timeout=600)
    except subprocess.TimeoutExpired:
        return "pip found no set of versions in ten minutes"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["pip failed"])[-1]


def export(url: str, raw: Path) -> None:
    """The corpus' rows as plain arrays, for the peers to write in their formats."""
    if (raw / "ids.npy").exists():
        return
    corpus, _ = open_corpus(url)
    raw.mkdir(parents=True, exist_ok=True)
    regions, captions = [], []
    for part in range(corpus.partitions):
        with RegionFile(corpus.table_url("regions", "regions", part)) as file, corpus.open("tokens", "tokens", part) as tokens:
            regions += [file[row] for row in range(len(file))]
            captions += [np.array(row, np.int32) for row in tokens.read()["caption"].to_pylist()]
    np.save(raw / "features.npy", np.concatenate([one.features for one in regions]))
    np.save(raw / "boxes.npy", np.concatenate([one.boxes for one in regions]))
    np.save(raw / "counts.npy", np.array([len(one.boxes) for one in regions]))
    np.save(raw / "lengths.npy", np.array([len(row) for row in captions]))
    np.save(raw / "ids.npy", np.concatenate(captions))


def ours(url: str, size: int) -> dict[str, float]:
    """The loader's rates, with the draws that it always makes, but no companions, which the peers do not have."""
    settings = DataSettings(corpus=url, mix={"pairs": 1}, batch={"pairs": size}, positives=0, siblings=False, negatives={},
                            max_regions=MOST, region_buckets=tuple(range(BUCKET, MOST, BUCKET)), token_buckets=tuple(range(8, 64, 8)))
    batches = Batches(settings, seed=0)

    def epoch(number: int) -> Iterator[Any]:
        return (batches[number * len(batches) + step] for step in range(len(batches)))

    return rates(epoch, size)


def main() -> None:
    """Measures all and prints a line each, then the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=64)
    given = parser.parse_args()
    torch.set_num_threads(1)
    corpus, raw = str(given.work / f"corpus-{given.images}"), given.work / f"raw-{given.images}"
    if not (Path(corpus) / "corpus.json").exists():
        write_corpus(corpus, Sizes(given.images, 1, alone=0, texts=0, partitions=4, features=2048, classes=32, regions=(20, MOST),
                                   positives=0, negatives=0))
    export(corpus, raw)
    failed, found = install(given.work), {"this loader": ours(corpus, given.batch)}
    for name in PEERS:
        if name not in failed:
            command = [str(given.work / "peers" / "bin" / "python"), str(Path(__file__).with_name("loader_peer.py")), name, str(raw),
                       str(given.work / f"{name}-{given.images}"), str(given.batch)]
            done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(_own(given.work, name))})
            if done.returncode:
                failed[name] = (done.stderr.strip().splitlines() or ["no message"])[-1]
            else:
                found[name] = json.loads(done.stdout.strip().splitlines()[-1])
    for name, told in found.items():
        print(f"{name:12} {told['rows_per_second']:8.0f} rows/s {told['rows_per_processor_second']:8.0f} rows/s of the processor")
    for name, reason in failed.items():
        print(f"{name:12} skipped: {reason}")
    for measure in ("rows_per_second", "rows_per_processor_second"):
        best = max((told[measure] for name, told in found.items() if name != "this loader"), default=float("nan"))
        print(f"{measure}: {found['this loader'][measure] / best:.2f} times the best peer")


if __name__ == "__main__":
    main()
