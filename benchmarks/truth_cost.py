"""Rows a second of the judge of truth, beside the bare sentence encoder: the same texts, in turns.

    python -m benchmarks.truth_cost [--images 200] [--rounds 3] [--data ../shared/data]

Each caption of COCO's first images is judged for the image of the next. "Judge" encodes the texts, looks up the evidence and scores; "with
parsing" parses them as well. CPU seconds of this process, one thread; each round's ratio to the encoder is printed, and the median.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from transforms.engines.encoders.sentence import sentence_encoder
from transforms.engines.parsers.load import caption_parser
from transforms.graphs.stage import graph_batch
from transforms.truth.claims import read_claims
from transforms.truth.corpora import captions_in
from transforms.truth.evidence import Captioned, Texts, evidence_of, whole
from transforms.truth.judge import judge_of
from transforms.truth.words import Words


def parsed(texts: list[str]) -> pa.Table:
    """The scene graphs of texts."""
    graphs = list(caption_parser("embedded").parse(texts))
    return pa.Table.from_batches([graph_batch(pa.array([str(at) for at in range(len(graphs))]), graphs)])


def judged(texts: list[str], starts: np.ndarray, vectors: np.ndarray, graphs: pa.Table) -> np.ndarray:
    """The probability of each text for the next image, float32 [n]."""
    words, rows = Words(), np.arange(len(texts))
    own = Texts(vectors, read_claims(graphs, rows, texts, words))
    image = np.repeat((np.arange(len(starts) - 1) + 1) % (len(starts) - 1), np.diff(starts))
    order = np.argsort(image, kind="stable")
    evidence = evidence_of(Captioned(starts, own), own, words, image[order], rows[order])
    return judge_of().score(evidence | {"cosine": np.zeros(len(texts), np.int32)})


def main() -> None:
    """Prints rows a second and ratios."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=int, default=200)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--data", type=Path, default=Path(os.environ.get("CMCL_DATA", "../shared/data")))
    arguments = options.parse_args()
    images = list(captions_in(arguments.data / "coco_val2017" / "captions_val2017.json").values())[: arguments.images]
    texts = [text for own in images for text in own]
    starts = np.concatenate([[0], np.cumsum([len(own) for own in images])]).astype(np.int64)
    encoder = sentence_encoder("embedded")
    encoder.encode(texts[:20])
    judged(texts[:10], np.array([0, 5, 10]), whole(encoder.encode(texts[:10])), parsed(texts[:10]))
    ratios = []
    for _ in range(arguments.rounds):
        began = time.process_time()
        encoder.encode(texts)
        bare = time.process_time() - began
        began = time.process_time()
        vectors = whole(encoder.encode(texts))
        encoded = time.process_time() - began
        graphs = parsed(texts)
        parsing = time.process_time() - began - encoded
        judged(texts, starts, vectors, graphs)
        judging = time.process_time() - began - parsing
        ratios.append((bare / judging, bare / (judging + parsing), len(texts) / (judging - encoded)))
        rates = f"encoder {len(texts) / bare:.0f}, judge {len(texts) / judging:.0f}, with parsing {len(texts) / (judging + parsing):.0f}"
        print(f"{len(texts)} rows; a second: {rates}; judging alone {ratios[-1][2]:.0f}; ratios {ratios[-1][0]:.3f}, {ratios[-1][1]:.3f}")
    print("medians: judge {:.3f}, with parsing {:.3f} of the encoder's rows a second".format(*np.median(ratios, axis=0)[:2]))


if __name__ == "__main__":
    main()
