"""Cost of results that depend neither on the batch nor on the CPU: CPU seconds of each engine and each stage, as ratios to the fastest way.

    python -m benchmarks.portable [--texts 240] [--pictures 48] [--scenes 12] [--photos 12] [--rounds 3]

Engines: "mixed" is how one would call them otherwise: translations in batches of all lengths, eight pictures in a batch of the detector,
32 texts of similar lengths in one of the encoder, 64 in one of the parser. "apart": as the stages call them. Stages: tasks of a corpus with
every stage (`benchmarks/same_corpus.py`), after the engines have been loaded. native: the CPU's widest instructions. portable: those of
x86-64-v3. The instructions are chosen when libraries load, so each round runs a process for each, in turn.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transforms.core.instructions import hold, in_force

_WORDS = ("a man", "two women", "a boy in a red shirt", "three children", "rides a horse", "holds a big umbrella", "sits on a bench",
          "eats pizza", "on the beach", "in a park", "next to a parked car", "under a tree", "near the old brick house")  # fmt: skip
_WAYS = ("native", "portable")
Times = dict[str, float]


def texts_of(count: int) -> list[str]:
    """Texts of 5 to 25 words."""
    draw = random.Random(3)
    return [" ".join(draw.sample(_WORDS, draw.randint(2, 6))).capitalize() + "." for _ in range(count)]


def seconds(work: Callable[[], Any]) -> float:
    """CPU seconds."""
    start = time.process_time()
    work()
    return time.process_time() - start


def translated(texts: Sequence[str]) -> Times:
    """Both ways of making batches of texts, there and back."""
    from transforms.engines.translators import ctranslate
    from transforms.engines.translators.base import Decoding
    from transforms.engines.translators.load import translator

    decoding, own = Decoding(6, 6), ctranslate.equally_long
    engines = [translator(f"embedded:{direction}") for direction in ("en-de", "de-en", "en-fr", "fr-en")]
    for engine in engines:
        engine.translate(texts[:8], decoding)
    apart = seconds(lambda: engines[0].translate(texts, decoding))
    ctranslate.equally_long = lambda rows: iter([list(range(len(rows)))])  # CTranslate2 makes batches of all of them
    mixed = seconds(lambda: engines[0].translate(texts, decoding))
    ctranslate.equally_long = own
    return {"translator, mixed": mixed, "translator, apart": apart}


def detected(count: int) -> Times:
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
        mixed = seconds(lambda: [model._detect(ready[start : start + 8]) for start in range(0, count, 8)])
    return {"detector, mixed": mixed, "detector, apart": apart}


def encoded(texts: Sequence[str]) -> Times:
    """sentence-transformers' own batches, and batches of fixed shapes."""
    import torch
    from sentence_transformers import SentenceTransformer

    from transforms.engines.encoders.sentence import model_folder, sentence_encoder

    encoder = sentence_encoder()
    bare = SentenceTransformer(str(model_folder("embedded")), device="cpu", local_files_only=True)
    torch.set_num_threads(1)
    encoder.encode(texts[:8]), bare.encode(list(texts[:8]))
    mixed = seconds(lambda: bare.encode(list(texts), batch_size=32, show_progress_bar=False))
    return {"encoder, mixed": mixed, "encoder, apart": seconds(lambda: encoder.encode(texts))}


def parsed(texts: Sequence[str]) -> Times:
    """The parser, whose batches did not have to change."""
    from transforms.engines.parsers.load import caption_parser

    parser = caption_parser("embedded")
    parser.parse(texts[:8])
    return {"parser": seconds(lambda: parser.parse(texts))}


def staged(config: str, portable: bool) -> Times:
    """Tasks of a corpus by stage, and all that the run costs."""
    from pipelines.config import load_config
    from pipelines.run import run
    from transforms.core import beam

    original, times = beam.run_task, dict[str, float]()

    def timed(context: Any, stage: Any, *rest: Any) -> Any:
        start = time.process_time()
        result = original(context, stage, *rest)
        times[f"  {stage.name}"] = times.get(f"  {stage.name}", 0.0) + time.process_time() - start
        return result

    beam.run_task = timed
    with tempfile.TemporaryDirectory(prefix="cmcl-portable-") as folder:
        spent = seconds(lambda: run(load_config(config, [f"corpus={folder}/corpus", f"portable={str(portable).lower()}"])))
    return times | {"all tasks": sum(times.values()), "the whole run": spent}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=240)
    parser.add_argument("--pictures", type=int, default=48)
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--photos", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=_WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--config", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        hold(args.one == "portable")
        texts = texts_of(args.texts)
        found = translated(texts) | detected(args.pictures) | encoded(texts) | parsed(texts)
        print(f"{args.one}: {in_force()}", file=sys.stderr)
        print(json.dumps(found | staged(args.config, args.one == "portable")))
        return
    times: dict[str, list[Times]] = {how: [] for how in _WAYS}
    hold(False)  # or the native processes would inherit what importing this project has set
    with tempfile.TemporaryDirectory(prefix="cmcl-portable-") as folder:
        from benchmarks.same_corpus import write_input

        write_input(Path(folder), args.scenes, args.photos, 2)
        again = ["--texts", str(args.texts), "--pictures", str(args.pictures), "--config", f"{folder}/config.yaml"]
        for _ in range(args.rounds):
            for how in _WAYS:
                done = subprocess.run([sys.executable, "-m", "benchmarks.portable", "--one", how, *again], capture_output=True, text=True)
                if done.returncode:
                    sys.exit(done.stderr[-3000:])
                times[how].append(json.loads(done.stdout.splitlines()[-1]))
                print(*(line for line in done.stderr.splitlines() if line.startswith(how)), times[how][-1], file=sys.stderr)
    show(times)


def show(times: dict[str, list[Times]]) -> None:
    """Prints medians, and medians of the rounds' ratios."""
    print(f"{'CPU seconds, medians':24s} {'native':>8s} {'portable':>8s} {'ratio':>6s}   of each round")
    rounds = list(zip(*times.values(), strict=True))
    for name in times["native"][0]:
        native, portable = (statistics.median(one[name] for one in times[how]) for how in _WAYS)
        ratios = [two[name] / max(one[name], 1e-9) for one, two in rounds]
        print(f"{name:24s} {native:8.2f} {portable:8.2f} {statistics.median(ratios):6.2f}   {' '.join(f'{ratio:.2f}' for ratio in ratios)}")
    print("\napart / mixed, medians of the rounds\n" + f"{'':24s} {'native':>8s} {'portable':>8s}")
    for engine in ("translator", "detector", "encoder"):
        ratios = [statistics.median(one[f"{engine}, apart"] / one[f"{engine}, mixed"] for one in times[how]) for how in _WAYS]
        print(f"{engine:24s} " + " ".join(f"{ratio:8.2f}" for ratio in ratios))


if __name__ == "__main__":
    main()
