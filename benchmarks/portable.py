"""Cost of results that depend neither on the batch nor on the CPU: CPU seconds of each engine, as ratios to the fastest way.

    python -m benchmarks.portable [--texts 240] [--pictures 48] [--rounds 3]

together: texts of all lengths, and eight pictures, share a batch. apart: as the stages do it. native: the CPU's widest instructions.
portable: those of x86-64-v3. The instructions are chosen when libraries load, so each round runs a process for each.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from transforms.core.instructions import hold

_WORDS = ("a man", "two women", "a boy in a red shirt", "three children", "rides a horse", "holds a big umbrella", "sits on a bench",
          "eats pizza", "on the beach", "in a park", "next to a parked car", "under a tree", "near the old brick house")  # fmt: skip


def texts_of(count: int) -> list[str]:
    """Texts of 5 to 25 words."""
    draw = random.Random(3)
    return [" ".join(draw.sample(_WORDS, draw.randint(2, 6))).capitalize() + "." for _ in range(count)]


def seconds(work: Callable[[], Any]) -> float:
    """CPU seconds."""
    start = time.process_time()
    work()
    return time.process_time() - start


def translated(texts: Sequence[str]) -> dict[str, float]:
    """Both ways of making batches of texts."""
    from transforms.engines.translators import ctranslate
    from transforms.engines.translators.base import Decoding
    from transforms.engines.translators.load import translator

    engine, decoding, own = translator("embedded:en-de"), Decoding(6, 6), ctranslate.equally_long
    engine.translate(texts[:8], decoding)
    apart = seconds(lambda: engine.translate(texts, decoding))
    ctranslate.equally_long = lambda rows: iter([list(range(len(rows)))])  # CTranslate2 makes batches of all of them
    together = seconds(lambda: engine.translate(texts, decoding))
    ctranslate.equally_long = own
    return {"translator together": together, "translator apart": apart}


def detected(count: int) -> dict[str, float]:
    """Both ways of making batches of pictures."""
    import numpy as np
    import torch
    from PIL import Image

    from transforms.engines.detectors.load import detector
    from transforms.engines.detectors.settings import DetectorSettings

    model: Any = detector(DetectorSettings(device="cpu"))
    noise = np.random.default_rng(3)
    ready = [model.prepare(Image.fromarray(noise.integers(0, 255, (6, 8, 3), np.uint8)).resize((288, 216))) for _ in range(count)]
    model.detect(ready[:8])
    apart = seconds(lambda: model.detect(ready))
    torch.set_num_threads(1)
    with torch.inference_mode():
        model._detect(ready[:8])
        together = seconds(lambda: [model._detect(ready[start : start + 8]) for start in range(0, count, 8)])
    return {"detector together": together, "detector apart": apart}


def read(texts: Sequence[str]) -> dict[str, float]:
    """Encoder and parser, whose batches have not changed."""
    from transforms.engines.encoders.sentence import sentence_encoder
    from transforms.engines.parsers.load import caption_parser

    encoder, parser = sentence_encoder(), caption_parser("embedded")
    encoder.encode(texts[:8]), parser.parse(texts[:8])
    return {"encoder": seconds(lambda: encoder.encode(texts)), "parser": seconds(lambda: parser.parse(texts))}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=240)
    parser.add_argument("--pictures", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=("native", "portable"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        hold(args.one == "portable")
        texts = texts_of(args.texts)
        print(json.dumps(translated(texts) | detected(args.pictures) | read(texts)))
        return
    found: dict[str, dict[str, list[float]]] = {"native": {}, "portable": {}}
    for _ in range(args.rounds):
        for how, times in found.items():
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.portable", "--one", how, "--texts", str(args.texts), "--pictures", str(args.pictures)],
                capture_output=True,
                text=True,
                check=True,
            )
            for name, value in json.loads(done.stdout.splitlines()[-1]).items():
                times.setdefault(name, []).append(value)
    print(f"{'CPU seconds, medians':24s} {'native':>8s} {'portable':>8s} {'ratio':>6s}")
    for name in found["native"]:
        native, portable = (statistics.median(found[how][name]) for how in found)
        print(f"{name:24s} {native:8.2f} {portable:8.2f} {portable / native:6.2f}")


if __name__ == "__main__":
    main()
