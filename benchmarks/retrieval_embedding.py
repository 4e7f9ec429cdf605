"""The sentence encoder of retrieval against bare sentence-transformers: texts per second of processor time, and how far they agree.

    python -m benchmarks.retrieval_embedding TEXTS [--count 2048] [--spec embedded]

TEXTS: a file with one text per line, such as captions. Both take one thread and batches of 64, and turns.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from transforms.engines.encoders.sentence import model_folder, sentence_encoder


def main() -> None:
    """Prints the figures of the second turn; the first warms up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--count", type=int, default=2048)
    parser.add_argument("--spec", default="embedded")
    args = parser.parse_args()
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    lines = [line.strip() for line in args.texts.read_text().splitlines()]
    texts = [line for line in lines if line][: args.count]
    ours, theirs = sentence_encoder(args.spec), SentenceTransformer(str(model_folder(args.spec)), device="cpu", local_files_only=True)
    for some in (texts[:128], texts):
        start = time.process_time()
        one = ours.encode(some)
        middle = time.process_time()
        other = theirs.encode(some, batch_size=64, normalize_embeddings=True, show_progress_bar=False)
        end = time.process_time()
    print(
        f"{len(texts)} texts: {len(texts) / (middle - start):.0f} a second, bare {len(texts) / (end - middle):.0f}, ratio "
        f"{(end - middle) / (middle - start):.2f}; least cosine {np.sum(one * other, axis=1).min():.6f}"
    )


if __name__ == "__main__":
    main()
