"""Blind accuracy of a corpus's swaps against how many are left, for several tolerances.

    python -m benchmarks.blind CORPUS [--tolerances 9,6,4] [--per-kind 20] [--encoder embedded] [--sample 4000] [--show 30] [--seed 0]

CORPUS was built with `swaps: {balance: {}}`. Its candidates are selected again for each tolerance, cell by cell; with an encoder, sentence
embeddings are balanced as well. Two linear rankers are trained on half of the images and judged on the other half: one on n-grams (words 1
to 3, characters 3 to 5), one on sentence embeddings. 0.5 is chance. As flows cancel over both halves together, an accuracy may lie below
it. Then prints random swaps and counterparts that the first tolerance keeps.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.corpus import Corpus, open_corpus
from schemas.ids import partition_of, placements
from transforms.balance.cells import cells_of
from transforms.balance.select import select
from transforms.swaps.settings import BalanceSettings, SwapSettings
from transforms.truth.evidence import LENGTH
from transforms.truth.stage import JUDGE, vectors_in


def cells(corpus: Corpus, size: int) -> Iterator[tuple[pa.Table, pa.Table, np.ndarray | None]]:
    """The candidates and the pairs of each cell, and the pairs' embeddings, float32 [n, width], if the corpus has the judge's."""
    pairs, candidates = (
        pa.concat_tables(corpus.open(stage, table, partition).read() for partition in range(corpus.partitions))
        for stage, table in (("pairs", "pairs"), ("swap_candidates", "candidates"))
    )
    tables = [corpus.open(*JUDGE, part).read() for part in range(corpus.partitions)] if corpus.manifest(JUDGE[0]) else []
    vectors = np.concatenate([vectors_in(table) for table in tables]) / np.float32(LENGTH) if tables else None
    count = cells_of(pairs.num_rows, size)
    places = partition_of(placements(pairs["image_id"].to_pylist()), count)
    for cell in range(count):
        own = pairs.filter(pa.array(places == cell))
        found = candidates.filter(pc.is_in(candidates["pair_id"], own["pair_id"].combine_chunks())).combine_chunks()
        yield found, own, None if vectors is None else vectors[places == cell]


def show(kept: pa.Table, captions: pa.Table, count: int, seed: int) -> None:
    """Prints random swaps, and two thirds as many random counterparts, below their captions."""
    caption_of = dict(zip(captions["pair_id"].to_pylist(), captions["caption"].to_pylist(), strict=True))
    rng = random.Random(seed)
    denials = kept.filter(kept["true_text"].is_valid())
    for title, table, column, many in (("swaps", kept, "text", count), ("counterparts", denials, "true_text", count * 2 // 3)):
        print(f"\n{title}")
        for row in rng.sample(range(table.num_rows), min(many, table.num_rows)):
            found: dict[str, Any] = table.slice(row, 1).to_pylist()[0]
            print(f"{found['kind']}: {caption_of[found['pair_id']]}\n    -> {found[column]}")


def main() -> None:
    """Prints the frontier, then examples."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("corpus")
    options.add_argument("--tolerances", default="9,6,4", help="the first one's swaps are shown")
    options.add_argument("--per-kind", type=int, default=SwapSettings().per_kind)
    options.add_argument("--cell", type=int, default=BalanceSettings().cell)
    options.add_argument("--encoder")
    options.add_argument("--sample", type=int, default=4000)
    options.add_argument("--show", type=int, default=30)
    options.add_argument("--seed", type=int, default=0)
    arguments = options.parse_args()
    corpus, _ = open_corpus(arguments.corpus)
    for number, tolerance in enumerate(float(value) for value in arguments.tolerances.split(",")):
        balance = BalanceSettings(tolerance=tolerance, cell=arguments.cell, sample=arguments.sample, encoder=arguments.encoder)
        settings = SwapSettings(per_kind=arguments.per_kind, balance=balance)
        for cell, (candidates, pairs, vectors) in enumerate(cells(corpus, arguments.cell)):
            found = select(candidates, pairs, settings, measured=True, vectors=vectors)
            for kind, figures in found.figures.items():
                values = "  ".join(f"{name} {value}" for name, value in figures.items())
                print(f"tolerance {tolerance:g}  cell {cell}  {kind:9}  {values}", flush=True)
            print(f"tolerance {tolerance:g}  cell {cell}  swaps per caption {found.kept.sum() / max(1, pairs.num_rows):.2f}", flush=True)
            if not number and not cell:
                show(candidates.filter(pa.array(found.kept)), pairs, arguments.show, arguments.seed)


if __name__ == "__main__":
    main()
