"""Runs one peer of the loader in a separate environment; started by `benchmarks/loader_peers.py`.

    python loader_peer.py NAME RAW WORK BATCH

Writes the rows of RAW (arrays exported by `loader_peers`) in the fastest form of the peer's format (plain bytes, no compression), then
reads three shuffled epochs of padded batches and prints the best rates as JSON.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

BUCKET = 4  # images are padded to a multiple of this
Row = dict[str, Any]  # features float16 [n, D], boxes float32 [n, 4], ids int32 [t], each as bytes


def raw_rows(raw: Path) -> Iterator[Row]:
    """The exported rows, one at a time."""
    features, boxes, ids = (np.load(raw / f"{name}.npy", mmap_mode="r") for name in ("features", "boxes", "ids"))
    starts, tokens = (np.concatenate([[0], np.cumsum(np.load(raw / f"{name}.npy"))]) for name in ("counts", "lengths"))
    for row in range(len(starts) - 1):
        regions, words = slice(starts[row], starts[row + 1]), slice(tokens[row], tokens[row + 1])
        yield {"features": features[regions].tobytes(), "boxes": boxes[regions].tobytes(), "ids": ids[words].tobytes()}


def collate(rows: list[Row]) -> dict[str, torch.Tensor]:
    """The padded tensors of a batch, as in this project's loader."""
    boxes = [np.frombuffer(row["boxes"], np.float32).reshape(-1, 4) for row in rows]
    ids = [np.frombuffer(row["ids"], np.int32) for row in rows]
    width, long = -(-max(map(len, boxes)) // BUCKET) * BUCKET, max(map(len, ids)) + 2
    dim = len(rows[0]["features"]) // 2 // len(boxes[0])
    batch = {
        "features": torch.empty((len(rows), width, dim), dtype=torch.float16),
        "boxes": torch.zeros((len(rows), width, 4)),
        "ids": torch.zeros((len(rows), long), dtype=torch.int64),
    }
    views = {name: tensor.numpy() for name, tensor in batch.items()}
    for at, row in enumerate(rows):
        count = len(boxes[at])
        views["features"][at, :count] = np.frombuffer(row["features"], np.float16).reshape(count, dim)
        views["features"][at, count:] = 0
        views["boxes"][at, :count] = boxes[at]
        views["ids"][at, 1 : len(ids[at]) + 1] = ids[at]
    return batch


def batched(rows: Iterable[Row], size: int) -> Iterator[dict[str, torch.Tensor]]:
    """Batches of a stream of rows."""
    held: list[Row] = []
    for row in rows:
        held.append(row)
        if len(held) == size:
            yield collate(held)
            held = []


def webdataset(raw: Path, work: Path, size: int) -> Callable[[int], Iterator[Any]]:
    """webdataset: shuffled tar files, and a shuffle buffer of 1,000 rows."""
    import webdataset as wds

    if not list(work.glob("*.tar")):
        with wds.ShardWriter(f"{work}/%05d.tar", maxsize=1 << 27, verbose=0) as writer:
            for number, row in enumerate(raw_rows(raw)):
                writer.write({"__key__": f"{number:08d}", **{f"{name}.bin": data for name, data in row.items()}})
    shards = sorted(map(str, work.glob("*.tar")))

    def epoch(number: int) -> Iterator[Any]:
        rows = wds.WebDataset(shards, shardshuffle=len(shards), seed=number, empty_check=False).shuffle(1000)
        return batched(({name: row[f"{name}.bin"] for name in ("features", "boxes", "ids")} for row in rows), size)

    return epoch


def streaming(raw: Path, work: Path, size: int) -> Callable[[int], Iterator[Any]]:
    """MosaicML Streaming: local MDS files, default shuffle."""
    from streaming import MDSWriter, StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    if not (work / "index.json").exists():
        with MDSWriter(out=str(work), columns={name: "bytes" for name in ("features", "boxes", "ids")}, size_limit=1 << 27) as writer:
            for row in raw_rows(raw):
                writer.write(row)
    clean_stale_shared_memory()
    dataset = StreamingDataset(local=str(work), shuffle=True, batch_size=size)
    return lambda number: batched(dataset, size)


def litdata(raw: Path, work: Path, size: int) -> Callable[[int], Iterator[Any]]:
    """LitData: local chunks, shuffled."""
    from litdata import StreamingDataset
    from litdata.streaming.writer import BinaryWriter

    if not (work / "index.json").exists():
        writer = BinaryWriter(str(work), chunk_bytes=1 << 26)
        for number, row in enumerate(raw_rows(raw)):
            writer[number] = row
        writer.done()
        writer.merge()
    dataset = StreamingDataset(str(work), shuffle=True)
    return lambda number: batched(iter(dataset), size)


def datasets(raw: Path, work: Path, size: int) -> Callable[[int], Iterator[Any]]:
    """Hugging Face `datasets`: memory-mapped Arrow, a shuffled row index, zero-copy buffers."""
    import datasets as hf
    import pyarrow as pa

    if not (work / "saved").exists():
        kinds = hf.Features({name: hf.Value("large_binary") for name in ("features", "boxes", "ids")})
        made = hf.Dataset.from_generator(raw_rows, gen_kwargs={"raw": raw}, features=kinds, cache_dir=str(work / "cache"))
        made.save_to_disk(str(work / "saved"))
        shutil.rmtree(work / "cache")
    held = hf.load_from_disk(str(work / "saved")).with_format("arrow")

    def rows_of(table: pa.Table) -> list[Row]:
        return [{name: table[name][row].as_buffer() for name in table.column_names} for row in range(table.num_rows)]

    return lambda number: (
        collate([{name: memoryview(data) for name, data in row.items()} for row in rows_of(table)])
        for table in held.shuffle(seed=number).iter(size, drop_last_batch=True)
    )


PEERS = {"webdataset": webdataset, "streaming": streaming, "litdata": litdata, "datasets": datasets}


def rates(epoch: Callable[[int], Iterator[Any]], size: int) -> dict[str, float]:
    """Rows per wall-clock second and per CPU second, best of three epochs; the first is a warm-up and does not count."""
    found = []
    for number in range(4):
        wall, worked, batches = time.perf_counter(), time.process_time(), 0
        for _ in epoch(number):
            batches += 1
        found.append((batches * size / (time.perf_counter() - wall), batches * size / (time.process_time() - worked)))
    clock, processor = (round(max(column)) for column in zip(*found[1:], strict=True))
    return {"rows_per_second": clock, "rows_per_processor_second": processor}


def main() -> None:
    """Writes, reads and prints the rates."""
    torch.set_num_threads(1)
    name, raw, work, size = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    work.mkdir(parents=True, exist_ok=True)
    print(json.dumps(rates(PEERS[name](raw, work, size), size)))


if __name__ == "__main__":
    main()
