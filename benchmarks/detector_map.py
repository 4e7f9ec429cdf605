"""mAP@0.5 of the embedded detector on scenes of a seed not used for training or selection.

    python -m benchmarks.detector_map --scenes 1000 --seed 977005

Prints average precision by kind, the share of objects whose region names one of their attributes by attribute, and, last, the ratio of
the mean average precision to the target (0.90).
"""

from __future__ import annotations

import argparse
import time

import torch

from transforms.engines.detectors.load import detector
from transforms.engines.detectors.settings import DetectorSettings
from transforms.engines.training.detector.quality import attribute_shares, evaluate

WANTED = 0.90


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=977_005)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    engine = detector(DetectorSettings(threads=args.threads))
    quality = evaluate(engine.model, args.seed, args.scenes)
    for name, value in sorted(quality["ap"].items(), key=lambda pair: pair[1]):
        print(f"{name:10s} {value:.4f}")
    for name, value in attribute_shares(engine, args.seed, args.scenes).items():
        print(f"attribute {name:10s} {value:.4f}")
    print(f"mAP@0.5 {quality['map']:.4f} on {args.scenes} scenes of seed {args.seed}, {time.perf_counter() - start:.0f} s")
    print(f"ratio to {WANTED}: {quality['map'] / WANTED:.3f}")


if __name__ == "__main__":
    main()
