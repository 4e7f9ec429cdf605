"""The sentence encoder of retrieval against bare sentence-transformers: texts per second of processor time, and how far they agree.

    python -m benchmarks.retrieval_embedding TEXTS [--count 1024] [--rounds 3] [--spec embedded]

TEXTS: a file with one text per line, such as captions. Both have the same model, one thread and batches of 64, and take turns.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from transforms.engines.encoders.sentence import model_folder, sentence_encoder


def main() -> None:
    """Prints medians over rounds, after one that warms up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--count", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spec", default="embedded")
    args = parser.parse_args()
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    lines = [line.strip() for line in args.texts.read_text().splitlines()]
    texts = [line for line in lines if line][: args.count]
    ours, theirs = sentence_encoder(args.spec), SentenceTransformer(str(model_folder(args.spec)), device="cpu", local_files_only=True)
    times = np.zeros((args.rounds + 1, 2))
    for turn, some in enumerate([texts[:64], *[texts] * args.rounds]):
        start = time.process_time()
        one = ours.encode(some)
        middle = time.process_time()
        other = theirs.encode(some, batch_size=64, normalize_embeddings=True, show_progress_bar=False)
        times[turn] = middle - start, time.process_time() - middle
    own, bare = np.median(times[1:], axis=0)
    print(
        f"{len(texts)} texts, medians of {args.rounds} rounds: {len(texts) / own:.0f} a second, bare {len(texts) / bare:.0f}, ratio "
        f"{bare / own:.2f}; rounds {', '.join(f'{bare / own:.2f}' for own, bare in times[1:])}; "
        f"least cosine {np.sum(one * other, axis=1).min():.6f}"
    )


if __name__ == "__main__":
    main()
