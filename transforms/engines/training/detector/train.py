"""Trains the embedded detector on synthetic scenes and writes checkpoints.

    python -m transforms.engines.training.detector.train --work /tmp/detector --bf16 --until 2250    # the embedded detector
    python -m transforms.engines.training.detector.train --work /tmp/detector --bf16 --resume        # resumes after an interruption

The learning rate warms up, stays constant, and falls linearly to 2 % over the last `--cooldown` share of the steps. A run is a pure
function of its arguments and the number of threads, up to the CPU's rounding; a checkpoint contains weights, moments and step.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.models.detection import FasterRCNN

from schemas.own_folder import claim_folder
from transforms.engines.detectors.compact import CompactSize, compact_detector
from transforms.engines.training.detector.pictures import ATTRIBUTES, CLASSES, Sample, frequencies, sample
from transforms.engines.training.detector.quality import evaluate

log = logging.getLogger(__name__)
EVALUATION_SEED = 977_001  # scenes that no training run sees
_AHEAD = 3  # batches prefetched during training
_WEIGHT = 0.3  # of the attributes' loss, a sum over all of them, so that it does not outweigh torchvision's losses


def rate(step: int, steps: int, peak: float, warmup: int, cooldown: float) -> float:
    """The learning rate at `step`: linear warm-up over `warmup` steps, constant, linear decay over the last share `cooldown`."""
    start = int(steps * (1 - cooldown))
    if step < warmup:
        return peak * (step + 1) / warmup
    if step < start:
        return peak
    return peak * max(0.02, 1 - (step - start) / max(1, steps - start))


def batches(seed: int, first: int, size: int) -> Iterator[list[Sample]]:
    """Batches from number `first`, prefetched by one thread."""
    shares = frequencies(seed, 4000)

    def draw(number: int) -> list[Sample]:
        return [sample(seed, number * size + position, shares) for position in range(size)]

    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(draw, first + ahead) for ahead in range(_AHEAD)]
        number = first + _AHEAD
        while True:
            yield waiting.pop(0).result()
            waiting.append(pool.submit(draw, number))
            number += 1


class Average:
    """An exponential moving average of a network's weights and buffers, which becomes the final model."""

    def __init__(self, network: torch.nn.Module, decay: float):
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: torch.nn.Module, step: int) -> None:
        """Moves the average towards `network`, faster in the early steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)


def make_network(args: argparse.Namespace) -> FasterRCNN:
    """The network with weights initialised from `args.seed`."""
    torch.manual_seed(args.seed)
    return compact_detector(
        CompactSize(classes=len(CLASSES), attributes=len(ATTRIBUTES)),
        rpn_pre_nms_top_n_train=400,
        rpn_post_nms_top_n_train=200,
        rpn_pre_nms_top_n_test=300,
        rpn_post_nms_top_n_test=150,
        rpn_batch_size_per_image=128,
        box_batch_size_per_image=64,
        box_positive_fraction=0.4,
        box_detections_per_img=100,
    )


def losses_of(network: FasterRCNN, samples: list[Sample]) -> dict[str, torch.Tensor]:
    """torchvision's four losses, and that of the attributes: binary cross-entropy on the objects' own boxes, a little displaced.

    Raises ValueError if the network resizes the pictures: the boxes would no longer fit them.
    """
    seen: list[tuple[Any, Any]] = []
    pooling = network.roi_heads.box_roi_pool
    handle = pooling.register_forward_pre_hook(lambda _, inputs: seen.append((inputs[0], inputs[2])))
    try:
        losses: dict[str, torch.Tensor] = network([image for image, _ in samples], [target for _, target in samples])
    finally:
        handle.remove()
    features, sizes = seen[0]
    if any(tuple(size) != tuple(image.shape[-2:]) for size, (image, _) in zip(sizes, samples, strict=True)):
        raise ValueError(f"the network resizes pictures to {sizes[0]}: draw them in that size")
    boxes = [displaced(target["boxes"]) for _, target in samples]
    logits = network.roi_heads.attribute_predictor(network.roi_heads.box_head(pooling(features, boxes, sizes)))
    wanted = torch.cat([target["attributes"] for _, target in samples])
    loss = binary_cross_entropy_with_logits(logits.float(), wanted, reduction="sum") / max(1, len(wanted))
    losses["loss_attributes"] = _WEIGHT * loss
    return losses


def displaced(boxes: torch.Tensor) -> torch.Tensor:
    """Boxes float32 [n, 4] whose edges are moved by up to a tenth of a side, as proposals are not exact."""
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return boxes + (torch.rand_like(boxes) - 0.5) * 0.2 * sides


def train(args: argparse.Namespace) -> None:
    """Runs the remaining steps, with regular checkpoints and evaluations on unseen scenes."""
    work = Path(args.work)
    claim_folder(work, "transforms.engines.training.detector.train")
    torch.set_num_threads(args.threads)
    network = make_network(args).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=args.rate, weight_decay=args.decay)
    average = Average(network, args.average)
    step = 0
    if args.resume:
        held = torch.load(work / "checkpoint.pt", weights_only=True)
        network.load_state_dict(held["network"])
        optimiser.load_state_dict(held["optimiser"])
        average.state, step = held["average"], held["step"]
    last = min(args.steps, args.until or args.steps)
    sums: dict[str, float] = {}
    start, begun = time.time(), time.process_time()
    network.train()
    for samples in batches(args.seed, step, args.batch):
        if step >= last:
            break
        # torchvision samples proposals with the global generator: seeded per step, so a resumed run continues identically.
        torch.manual_seed(args.seed * 1_000_003 + step)
        for group in optimiser.param_groups:
            group["lr"] = rate(step, args.steps, args.rate, args.warmup, args.cooldown)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            losses = losses_of(network, samples)
        loss = sum(losses.values(), torch.zeros(()))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimiser.step()
        step += 1
        average.update(network, step)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        if step % args.report == 0:
            log.info(
                "%s step %d %s %.2f s wall %.2f s cpu a step",
                time.strftime("%H:%M:%S"),
                step,
                " ".join(f"{name.removeprefix('loss_')} {value / args.report:.3f}" for name, value in sums.items()),
                (time.time() - start) / args.report,
                (time.process_time() - begun) / args.report,
            )
            sums, start, begun = {}, time.time(), time.process_time()
        if step % args.checkpoint == 0 or step == last:
            _save(work, network, optimiser, average, step, args)
            start, begun = time.time(), time.process_time()


def _save(work: Path, network: FasterRCNN, optimiser: torch.optim.Optimizer, average: Average, step: int, args: argparse.Namespace) -> None:
    held: dict[str, Any] = {
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "average": average.state,
        "step": step,
        "arguments": {name: value for name, value in vars(args).items() if name not in ("work", "resume")},
    }
    torch.save(held, work / "checkpoint.tmp")
    os.replace(work / "checkpoint.tmp", work / "checkpoint.pt")
    measured = make_network(args)
    measured.load_state_dict(average.state)
    quality = evaluate(measured.eval(), EVALUATION_SEED, args.evaluate)
    log.info(
        "%s step %d mAP@0.5 %.4f on %d unseen scenes; lowest: %s",
        time.strftime("%H:%M:%S"),
        step,
        quality["map"],
        args.evaluate,
        ", ".join(f"{name} {value:.2f}" for name, value in sorted(quality["ap"].items(), key=lambda pair: pair[1])[:6]),
    )
    with open(work / "log.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "map": quality["map"], "ap": quality["ap"]}) + "\n")


def parser() -> argparse.ArgumentParser:
    """The command-line parser."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--work", required=True, help="folder for checkpoints and the log")
    result.add_argument("--resume", action="store_true", help="resume from the checkpoint in --work")
    result.add_argument("--seed", type=int, default=20_120_154)
    result.add_argument("--steps", type=int, default=2800)
    result.add_argument("--until", type=int, help="stop after this step of the schedule set by --steps")
    result.add_argument("--batch", type=int, default=8)
    result.add_argument("--rate", type=float, default=1.5e-3)
    result.add_argument("--decay", type=float, default=0.02)
    result.add_argument("--warmup", type=int, default=100)
    result.add_argument("--cooldown", type=float, default=0.35)
    result.add_argument("--average", type=float, default=0.995)
    result.add_argument("--threads", type=int, default=1)
    result.add_argument("--bf16", action="store_true", help="forward and backward in bfloat16")
    result.add_argument("--report", type=int, default=25)
    result.add_argument("--checkpoint", type=int, default=250)
    result.add_argument("--evaluate", type=int, default=150, help="number of unseen scenes to evaluate at each checkpoint")
    return result


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    train(parser().parse_args())
