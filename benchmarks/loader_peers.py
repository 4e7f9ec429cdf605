"""Compares the loader with webdataset, MosaicML Streaming, LitData and `datasets`: shuffled pairs with regions, one process.

    python -m benchmarks.loader_peers WORK [--images 3000] [--batch 64] [--rounds 5]

Every image has 20 to 52 regions of 2,048 numbers (about 150 kB). This loader is measured as it is used, with rows of similar size in a
batch, so that it copies less padding, and without that (`window: 1`), as shuffled as the peers' rows. The peers are installed in a separate
environment, WORK/peers (Streaming requires numpy < 2.2); one that cannot be installed or fails is skipped, with the reason. In each round
all are measured in turns. Prints medians of rows per wall-clock second and per CPU second, which is more reliable on a busy machine, and
the ratio to the best peer, by the medians and by round.
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
OURS = {"this loader": 64, "unsorted": 1}  # windows
# Streaming has a separate folder, since it requires transformers 4, and no cloud clients: resolving their versions takes pip too long.
PACKAGES = {
    "webdataset": ["webdataset"], "litdata": ["litdata"], "datasets": ["datasets>=5,<6"],
    "streaming": ["--no-deps", "mosaicml-streaming", "boto3", "botocore", "s3transfer", "jmespath", "Brotli", "python-snappy", "cramjam",
                  "xxhash", "zstd", "catalogue", "transformers<5", "tokenizers<0.23", "huggingface_hub<1", "safetensors", "regex"],
}  # fmt: skip


def install(work: Path) -> dict[str, str]:
    """Creates the peers' environment; returns the errors of those that cannot be installed."""
    environment, failed = work / "peers", {}
    if not (environment / "bin" / "python").exists():
        venv.create(environment, with_pip=True)
        _pip(environment, ["torch", "numpy<2.2", "packaging", "python-dateutil"])
    for name, packages in PACKAGES.items():
        if (environment / f".{name}").exists():
            continue
        reason = _pip(environment, ["--target", str(_own(work, name)), *packages] if "--no-deps" in packages else [*packages, "numpy<2.2"])
        if reason:
            failed[name] = reason
        else:
            (environment / f".{name}").touch()
    return failed


def _own(work: Path, name: str) -> Path:
    """The folder of packages visible to one peer only."""
    return work / f"packages-{name}"


def _pip(environment: Path, packages: list[str]) -> str:
    """Installs packages; returns the last line of pip's output on failure, else ""."""
    try:
        python = str(environment / "bin" / "python")
        done = subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired:
        return "pip did not resolve the versions within ten minutes"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["pip failed"])[-1]


def export(url: str, raw: Path) -> None:
    """Writes the corpus's rows as plain arrays, which the peers convert to their formats."""
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


def ours(url: str, size: int, window: int) -> dict[str, float]:
    """The loader's rates, including its usual sampling but without positives, negatives and matches, which the peers lack."""
    settings = DataSettings(
        corpus=url,
        mix={"pairs": 1},
        batch={"pairs": size},
        window=window,
        positives=0,
        siblings=False,
        negatives={},
        max_regions=MOST,
        region_buckets=tuple(range(BUCKET, MOST, BUCKET)),
        token_buckets=tuple(range(8, 64, 8)),
    )
    batches = Batches(settings, seed=0)

    def epoch(number: int) -> Iterator[Any]:
        return (batches[number * len(batches) + step] for step in range(len(batches)))

    return rates(epoch, size)


def main() -> None:
    """Measures all, prints one line each, then the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    corpus, raw = str(given.work / f"corpus-{given.images}"), given.work / f"raw-{given.images}"
    if not (Path(corpus) / "corpus.json").exists():
        write_corpus(
            corpus,
            Sizes(given.images, 1, alone=0, texts=0, partitions=4, features=2048, classes=32, regions=(20, MOST), positives=0, negatives=0),
        )
    export(corpus, raw)
    failed = install(given.work)
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(given.rounds):
        for name, window in OURS.items():
            found.setdefault(name, []).append(ours(corpus, given.batch, window))
        for name in PEERS:
            if name not in failed:
                done = _peer(given, name, raw)
                if done.returncode:
                    failed[name] = (done.stderr.strip().splitlines() or ["no message"])[-1]
                else:
                    found.setdefault(name, []).append(json.loads(done.stdout.strip().splitlines()[-1]))
    found = {name: rounds for name, rounds in found.items() if name not in failed}
    measures = ("rows_per_second", "rows_per_processor_second")
    rates_of = {name: np.array([[one[measure] for measure in measures] for one in rounds]) for name, rounds in found.items()}
    medians = {name: np.median(own, axis=0) for name, own in rates_of.items()}
    for name, (clock, processor) in medians.items():
        print(f"{name:12} {clock:8.0f} rows/s {processor:8.0f} rows/CPU s")
    for name, reason in failed.items():
        print(f"{name:12} skipped: {reason}")
    if peers := [name for name in found if name not in OURS]:
        for own, (at, measure) in ((own, one) for own in OURS for one in enumerate(measures)):
            best = max(peers, key=lambda name: medians[name][at])
            each = " ".join(f"{ratio:.2f}" for ratio in rates_of[own][:, at] / rates_of[best][:, at])
            print(f"{own}, {measure}: {medians[own][at] / medians[best][at]:.2f} times the best peer, {best}; by round {each}")


def _peer(given: argparse.Namespace, name: str, raw: Path) -> subprocess.CompletedProcess[str]:
    """One round of a peer, in its environment."""
    work = given.work / f"{name}-{given.images}"
    command = [str(given.work / "peers/bin/python"), str(Path(__file__).with_name("loader_peer.py")), name, str(raw), str(work)]
    environment = {**os.environ, "PYTHONPATH": str(_own(given.work, name))}
    return subprocess.run([*command, str(given.batch)], capture_output=True, text=True, env=environment)


if __name__ == "__main__":
    main()
