"""The network and schedule of each direction, as options of fairseq-train."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PAIRS = ("en-de", "de-en", "en-fr", "fr-en")
# The French models start from the German ones, which already have the English encoder or decoder and English embeddings.
STARTS = {"en-fr": "en-de", "fr-en": "de-en"}
WIDTH, FEED_FORWARD, HEADS, LAYERS = 128, 256, 4, 4
SEED = 1
NETWORK = [
    "--arch", "caption_transformer", "--share-all-embeddings", "--encoder-normalize-before", "--decoder-normalize-before",
    *(word for side in ("encoder", "decoder")
      for word in (f"--{side}-layers", str(LAYERS), f"--{side}-embed-dim", str(WIDTH), f"--{side}-ffn-embed-dim", str(FEED_FORWARD),
                   f"--{side}-attention-heads", str(HEADS)))]  # fmt: skip
TRAINING = ["--criterion", "fused_label_smoothing", "--label-smoothing", "0.1", "--dropout", "0.3", "--optimizer", "muon",
            "--clip-norm", "1", "--max-tokens", "2560", "--seed", str(SEED)]  # fmt: skip
AVERAGED = 4  # checkpoints
EVERY = 200  # updates between two checkpoints


@dataclass(frozen=True)
class Schedule:
    """The learning rate rises linearly to `rate` at update `peak` and falls linearly to 0 at update `until`."""

    peak: int
    until: int
    rate: str = "3e-3"


def schedule(pair: str) -> Schedule:
    """The schedule of a direction. Raises ValueError for one not in PAIRS."""
    if pair not in PAIRS:
        raise ValueError(f"no recipe for {pair!r}: expected one of {', '.join(PAIRS)}")
    return Schedule(100, 2500) if pair in STARTS else Schedule(250, 7000)


def command(pair: str, data: Path, out: Path, start: Path | None) -> list[str]:
    """The options of fairseq-train, which resumes from the last checkpoint in `out`, else starts from the weights in `start`."""
    source, _, target = pair.partition("-")
    rate = schedule(pair)
    return [
        str(data),
        "--cpu",
        "-s",
        source,
        "-t",
        target,
        "--task",
        "translation",
        "--user-dir",
        str(Path(__file__).parent / "fairseq_user"),
        *NETWORK,
        *TRAINING,
        "--lr",
        rate.rate,
        "--lr-scheduler",
        "polynomial_decay",
        "--warmup-updates",
        str(rate.peak),
        "--total-num-update",
        str(rate.until),
        "--max-update",
        str(rate.until),
        *(() if start is None else ("--finetune-from-model", str(start))),
        "--save-dir",
        str(out),
        "--save-interval-updates",
        str(EVERY),
        "--keep-interval-updates",
        str(AVERAGED + 2),
        "--validate-interval-updates",
        str(2 * EVERY),
        "--validate-interval",
        "1000",
        "--no-epoch-checkpoints",
        "--num-workers",
        "0",
        "--no-progress-bar",
        "--log-interval",
        "25",
    ]


def environment() -> dict[str, str]:
    """One thread, no GPU, and malloc settings that keep large blocks instead of page-faulting them in again at each update."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
        "MALLOC_TOP_PAD_": str(1 << 26),
    }
